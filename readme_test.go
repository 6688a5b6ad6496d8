package steer_test

import (
	"context"
	"fmt"
	"log"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// The README's example: train a vector, keep it, and steer with it.
func Example_train() {
	ctx := context.Background()
	model, err := lm.Open(ctx, "HuggingFaceTB/SmolLM2-135M")
	check(err)

	samples, err := pairs.Open("pairs.jsonl")
	check(err)
	vector, err := steer.Train(ctx, model, samples, steer.TrainOptions{})
	check(err)
	check(vector.Save("mood.safetensors"))

	edit, err := vector.Edit(steer.EditOptions{Multiplier: new(0.5), Tokens: steer.Response()})
	check(err)
	prompt, err := model.Tokenize("One day, Ben lost his toy. He was")
	check(err)
	steered, err := model.With(edit)
	check(err)
	out, err := steered.Generate(ctx, []lm.Input{{Tokens: prompt}}, lm.GenerateOptions{MaxTokens: 40})
	check(err)
	fmt.Println(out[0].Text)
}
