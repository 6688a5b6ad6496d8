// Command corpus writes what the demonstration model is trained on into a
// folder: tokenizer.json, the texts as token ids (train.bin and heldout.bin,
// little-endian 16-bit) and some held-out stories to read.
//
//	go run ./lm/demo/training/corpus FOLDER
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/steervec/steer/lm/demo/stories"
	"github.com/steervec/steer/lm/tokenizer"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: corpus FOLDER")
	}
	if err := write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// What is written. The seeds keep the parts apart.
const (
	trainSeed      = 1
	heldOutSeed    = 2
	trainTexts     = 300_000
	heldOutTexts   = 2000
	tokenizerTexts = 30_000 // of those trained on
	vocabulary     = 1280
)

func write(folder string) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	train := texts(trainSeed, trainTexts, nil)
	known := make(map[string]bool, len(train))
	for _, t := range train {
		known[t] = true
	}
	heldOut := texts(heldOutSeed, heldOutTexts, known)
	description := stories.Tokenizer(train[:tokenizerTexts], vocabulary)
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

// texts writes stories and, after every other one, a question; none that is known.
func texts(seed uint64, n int, known map[string]bool) []string {
	w := stories.NewWriter(seed)
	var out []string
	for len(out) < n {
		text := w.Story("").String()
		if len(out)%3 == 2 {
			text = w.Question().String()
		}
		if !known[text] {
			out = append(out, text)
		}
	}
	return out
}
