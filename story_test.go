package steer_test

import (
	"os"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// On trained models a mood vector moves the odds of happy against sad, more the
// stronger it is.
func TestAMoodVectorMovesTheOddsOfHappyWords(t *testing.T) {
	for _, test := range []struct {
		model string
		layer int
		scale float64
	}{{"story656k", 0, 0.2}, {"stories260k", 4, 0.5}} {
		t.Run(test.model, func(t *testing.T) {
			dir := "../shared/models/" + test.model
			if _, err := os.Stat(dir); err != nil {
				t.Skip("the trained story models are not beside the project")
			}
			model, err := lm.Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			samples := []steer.Sample{
				{Positive: "Lily was very happy", Negative: "Lily was very sad"},
				{Positive: "It was a happy day", Negative: "It was a sad day"},
				{Positive: "He laughed because he was happy", Negative: "He cried because he was sad"},
			}
			vector, err := steer.Train(t.Context(), model, samples, steer.TrainOptions{Layers: []int{test.layer}})
			if err != nil {
				t.Fatal(err)
			}
			prompt, err := model.Tokenize("One day, Ben went to the park. He was so")
			if err != nil {
				t.Fatal(err)
			}
			var continuations []lm.Continuation
			for _, word := range []string{"happy", "sad"} {
				tokens, err := model.TokenizeContinuation(" " + word)
				if err != nil {
					t.Fatal(err)
				}
				continuations = append(continuations, lm.Continuation{Prompt: lm.Input{Tokens: prompt}, Tokens: tokens})
			}
			last := 0.0
			for i, strength := range []float64{-2, -1, 0, 1, 2} {
				edit, err := vector.Edit(strength * test.scale)
				if err != nil {
					t.Fatal(err)
				}
				scores, err := with(t, model, edit).Score(t.Context(), continuations)
				if err != nil {
					t.Fatal(err)
				}
				odds := 0.0
				for k, sign := range []float64{1, -1} {
					for _, p := range scores[k] {
						odds += sign * p
					}
				}
				if i > 0 && odds <= last {
					t.Errorf("at strength %v the odds are %.3f, not above %.3f", strength, odds, last)
				}
				last = odds
			}
		})
	}
}
