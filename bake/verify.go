package bake

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/steervec/steer/lm"
)

// Verification is how far the baked checkpoint is from steering at run time.
type Verification struct {
	Prompts int `json:"prompts"`
	Tokens  int `json:"tokens"` // of all prompts, whose logits were compared

	// Difference is the largest between two logits of a token, and Logit the largest
	// logit that was seen. Effect is the largest difference that the steering makes.
	Difference float64 `json:"largest_difference"`
	Logit      float64 `json:"largest_logit"`
	Effect     float64 `json:"largest_effect"`
	DType      string  `json:"dtype"` // in which both were computed
}

// sentences are what is compared where no prompts are given.
var sentences = []string{
	"The weather in the mountains changes quickly, so",
	"How do I open a door whose key I have lost?",
	"One day, a little girl named Lily found a red ball. She",
	"def mean(values):\n    return",
}

// verify computes the prompts with the model at ref, steered by the edits, and with
// the baked checkpoint in dir, and compares the logits of all tokens.
func (r *Result) verify(ctx context.Context, ref, dir string, edits []lm.Edit, opts Options) error {
	plain, err := lm.Open(ctx, ref, lm.Compute(opts.DType), lm.Checkpoint(opts.Checkpoint))
	if err != nil {
		return err
	}
	inputs := opts.Prompts
	if len(inputs) == 0 {
		for _, text := range sentences {
			inputs = append(inputs, lm.Input{Text: text})
		}
	}
	steered, err := plain.With(edits...)
	if err != nil {
		return err
	}
	baked, err := lm.Open(ctx, dir, lm.Compute(opts.DType))
	if err != nil {
		return fmt.Errorf("open what was written: %w", err)
	}
	r.Fingerprint, r.DType, r.Prompts = baked.Fingerprint(), baked.Description().DType, len(inputs)
	for _, in := range inputs { // one by one, so that few logits are in memory
		want, err := logits(ctx, steered, in)
		if err != nil {
			return err
		}
		for _, other := range []struct {
			model *lm.Model
			worst *float64
		}{{baked, &r.Difference}, {plain, &r.Effect}} {
			got, err := logits(ctx, other.model, in)
			if err != nil {
				return err
			}
			for i, row := range want {
				for k, v := range row {
					*other.worst = max(*other.worst, math.Abs(float64(v)-float64(got[i][k])))
					r.Logit = max(r.Logit, math.Abs(float64(v)))
				}
			}
		}
		r.Tokens += len(want)
	}
	return nil
}

// logits returns those of every token [tokens][vocabulary].
func logits(ctx context.Context, model *lm.Model, in lm.Input) ([][]float32, error) {
	var out [][]float32
	_, err := model.Forward(ctx, []lm.Input{in}, lm.ForwardOptions{Logits: func(_, position int, row []float32) {
		for len(out) <= position {
			out = append(out, nil)
		}
		out[position] = slices.Clone(row)
	}})
	return out, err
}
