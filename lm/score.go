package lm

import (
	"context"
	"fmt"
	"slices"

	"github.com/steervec/steer/lm/cpu/kernel"
)

// Continuation is text whose probability after a prompt is asked for.
type Continuation struct {
	Prompt []int
	Tokens []int // of the continuation
	Edits  []Edit
}

// Score returns the natural log-probability of each token of each continuation,
// given all before it. Prompts that continuations share are computed once.
func (m *Model) Score(ctx context.Context, continuations []Continuation) ([][]float64, error) {
	inputs := make([]Input, len(continuations))
	out := make([][]float64, len(continuations))
	for i, c := range continuations {
		if len(c.Prompt) == 0 {
			return nil, fmt.Errorf("score: continuation %d: the prompt has no tokens", i)
		}
		if len(c.Tokens) == 0 {
			return nil, fmt.Errorf("score: continuation %d: it has no tokens", i)
		}
		if err := m.checkTokens(c.Tokens); err != nil {
			return nil, fmt.Errorf("score: continuation %d: %w", i, err)
		}
		// The last token is predicted, never computed.
		inputs[i] = Input{Tokens: slices.Concat(c.Prompt, c.Tokens[:len(c.Tokens)-1]), Prompt: len(c.Prompt), Edits: c.Edits}
		for k := range c.Tokens {
			inputs[i].Read = append(inputs[i].Read, len(c.Prompt)-1+k)
		}
		out[i] = make([]float64, len(c.Tokens))
	}
	_, err := m.Forward(ctx, inputs, ForwardOptions{Logits: func(input, position int, logits []float32) {
		c := continuations[input]
		k := position - len(c.Prompt) + 1
		out[input][k] = float64(logits[c.Tokens[k]] - kernel.LogSumExp(logits))
	}})
	if err != nil {
		return nil, fmt.Errorf("score: %w", err)
	}
	return out, nil
}
