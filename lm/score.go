package lm

import (
	"context"
	"errors"
	"slices"

	"github.com/steervec/steer/lm/cpu/kernel"
)

// Continuation is text whose probability after a prompt is asked for.
type Continuation struct {
	Prompt Input  // its own prompt's length, where it has one, holds for selections of tokens
	Text   string // of the continuation; or
	Tokens []int
}

// Score returns the natural log-probability of each token of each continuation,
// given all before it. Prompts that continuations share are computed once. What
// is wrong with a continuation is an [InputError].
func (m *Model) Score(ctx context.Context, continuations []Continuation) ([][]float64, error) {
	inputs := make([]Input, len(continuations))
	tokens := make([][]int, len(continuations))
	out := make([][]float64, len(continuations))
	for i, c := range continuations {
		var err error
		if inputs[i], tokens[i], err = m.continued(ctx, c); err != nil {
			return nil, &InputError{i, err}
		}
		out[i] = make([]float64, len(tokens[i]))
	}
	_, err := m.Forward(ctx, inputs, ForwardOptions{Logits: func(input, position int, logits []float32) {
		k := position - inputs[input].Read[0]
		out[input][k] = logprob(logits[tokens[input][k]], kernel.LogSumExp(logits))
	}})
	return out, err
}

// continued returns the input that computes all but the last token of a
// continuation, which is predicted and never computed, and its tokens.
func (m *Model) continued(ctx context.Context, c Continuation) (Input, []int, error) {
	in, tokens := c.Prompt, c.Tokens
	prompt, err := m.tokensOf(ctx, in)
	if err != nil {
		return in, nil, err
	}
	if c.Text != "" {
		if tokens != nil {
			return in, nil, errors.New("the continuation is given as text and as tokens")
		}
		if tokens, err = m.TokenizeContinuation(c.Text); err != nil {
			return in, nil, err
		}
	}
	if len(tokens) == 0 {
		return in, nil, errors.New("the continuation is empty")
	}
	if err := m.checkTokens(tokens); err != nil {
		return in, nil, err
	}
	if in.Prompt == 0 {
		in.Prompt = len(prompt)
	}
	in.Text, in.Messages, in.Mean, in.Read = "", nil, Span{}, make([]int, len(tokens))
	in.Tokens = slices.Concat(prompt, tokens[:len(tokens)-1])
	for k := range tokens {
		in.Read[k] = len(prompt) - 1 + k
	}
	return in, tokens, nil
}
