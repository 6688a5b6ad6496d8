// Command demodata writes the data of the demonstration's sweep into a folder:
// stories that neither the model nor its vector has seen, in the forms that people
// have data in.
//
//	go run ./internal/demodata docs/demo
//
//	pairs.jsonl      beginnings that end in the one mood or the other, to train on
//	held-out.jsonl   beginnings with what follows in either mood, steering-bench's way
//	neutral.txt      stories in the other moods, a paragraph each, on which the cost is measured
package main

import (
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm/demo/stories"
	"github.com/steervec/steer/pairs"
)

// Where the seeds begin: apart from those of the model's own training.
const (
	trainSeed   = 31 << 32
	heldOutSeed = 32 << 32
	neutralSeed = 33 << 32
)

const trained, heldOut, neutral = 64, 96, 12

type side struct {
	Prompt   string `json:"prompt"`
	Response string `json:"response"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: demodata FOLDER")
	}
	if err := write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func write(dir string) error {
	var samples []steer.Sample
	for _, p := range stories.Pairs(trainSeed, trained, "happy", "sad") {
		samples = append(samples, steer.Sample{Positive: p.Beginning + " " + p.PositiveStatement, Negative: p.Beginning + " " + p.NegativeStatement})
	}
	if err := pairs.Save(filepath.Join(dir, "pairs.jsonl"), samples); err != nil {
		return err
	}
	var lines strings.Builder
	encoder := json.NewEncoder(&lines)
	for _, p := range stories.Pairs(heldOutSeed, heldOut, "happy", "sad") {
		err := encoder.Encode(struct {
			Positive side `json:"positive"`
			Negative side `json:"negative"`
		}{side{p.Beginning, p.Positive.String()}, side{p.Beginning, p.Negative.String()}})
		if err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "held-out.jsonl"), []byte(lines.String()), 0o666); err != nil {
		return err
	}
	var text strings.Builder
	for _, p := range stories.Pairs(neutralSeed, neutral, "calm", "angry") {
		text.WriteString(p.Beginning + " " + p.Positive.String() + "\n\n" + p.Beginning + " " + p.Negative.String() + "\n\n")
	}
	return os.WriteFile(filepath.Join(dir, "neutral.txt"), []byte(text.String()), 0o666)
}
