// Command corpus writes what the demonstration model is trained on into a
// folder: tokenizer.json, the texts as token ids (train.bin and heldout.bin,
// little-endian 16-bit) and some held-out stories to read.
//
//	go run ./internal/stories/corpus FOLDER
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/steervec/steer/internal/stories"
	"github.com/steervec/steer/lm/tokenizer"
)

func main() {
	log.SetFlags(0)
	count := flag.Int("stories", 300_000, "stories to write")
	vocabulary := flag.Int("vocabulary", 1280, "tokens of the tokenizer")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: corpus [-stories N] [-vocabulary N] FOLDER")
	}
	if err := write(flag.Arg(0), *count, *vocabulary); err != nil {
		log.Fatal(err)
	}
}

// The seeds keep the parts apart.
const (
	trainSeed   = 1
	heldOutSeed = 2
)

func write(folder string, n, vocabulary int) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	train := texts(trainSeed, n, nil)
	known := make(map[string]bool, len(train))
	for _, t := range train {
		known[t] = true
	}
	heldOut := texts(heldOutSeed, 2000, known)
	description := stories.Tokenizer(train[:min(len(train), 30_000)], vocabulary)
	if err := os.WriteFile(filepath.Join(folder, "tokenizer.json"), description, 0o666); err != nil {
		return err
	}
	t, err := tokenizer.Load(os.DirFS(folder))
	if err != nil {
		return err
	}
	for name, part := range map[string][]string{"train.bin": train, "heldout.bin": heldOut} {
		var data []byte
		for _, text := range part {
			encoded, err := t.Encode(text, tokenizer.EncodeOptions{})
			if err != nil {
				return err
			}
			for _, id := range append(encoded.IDs, 1) {
				data = binary.LittleEndian.AppendUint16(data, uint16(id))
			}
		}
		fmt.Printf("%s: %d texts, %d tokens\n", name, len(part), len(data)/2)
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o666); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, "heldout.txt"), []byte(strings.Join(heldOut, "\n")+"\n"), 0o666)
}

// texts writes stories and, after every fifth, a question; none that is known.
func texts(seed uint64, n int, known map[string]bool) []string {
	w := stories.NewWriter(seed)
	var out []string
	for len(out) < n {
		text := w.Story("").String()
		if len(out)%6 == 5 {
			text = w.Question().String()
		}
		if !known[text] {
			out = append(out, text)
		}
	}
	return out
}
