package steer_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Train a vector on pairs of a file, keep it, and steer with it: the README's
// example, on the model that is part of the program.
func Example() {
	ctx := context.Background()
	model, err := lm.Open(ctx, "demo")
	check(err)

	file, err := pairs.Open("testdata/mood.jsonl")
	check(err)
	vector, err := steer.Train(ctx, model, file.Samples, steer.TrainOptions{Layers: []int{3}, Read: file.Read})
	check(err)
	folder, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(folder)
	check(vector.Save(filepath.Join(folder, "mood.safetensors")))

	prompt := []lm.Input{{Text: "Sam was a farmer. One day"}}
	for _, multiplier := range []float64{-0.6, 0.6} {
		edit, err := vector.Edit(multiplier, steer.OnTokens(steer.Response()))
		check(err)
		steered, err := model.With(edit)
		check(err)
		out, err := steered.Generate(ctx, prompt, lm.GenerateOptions{MaxTokens: 28})
		check(err)
		fmt.Printf("%+.1f: %s%s\n", multiplier, prompt[0].Text, out[0].Text)
	}
	// Output:
	// -0.6: Sam was a farmer. One day, Sam took the red book to the mill. Sam was very sad. There was nobody at the harbor. Tears ran down his face.
	// +0.6: Sam was a farmer. One day, Sam walked along the road to the well. Sam was very happy. It was his birthday, and Liam had made milk. Sam laughed
}
