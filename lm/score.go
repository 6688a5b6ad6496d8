package lm

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/steervec/steer/lm/cpu/kernel"
)

// Continuation is text whose probability after a prompt is asked for.
type Continuation struct {
	Prompt Input  // its own prompt's length, where it has one, holds for selections of tokens
	Text   string // of the continuation; or
	Tokens []int
}

// ScoreOption says how continuations are scored.
type ScoreOption func(*scoreOptions)

type scoreOptions struct {
	usage    *Usage
	progress func(done, total int)
}

// CountTo adds to a count what is given and computed.
func CountTo(usage *Usage) ScoreOption { return func(o *scoreOptions) { o.usage = usage } }

// TellProgress calls a function with the tokens that are computed of all.
func TellProgress(progress func(done, total int)) ScoreOption {
	return func(o *scoreOptions) { o.progress = progress }
}

// Score returns the natural log-probability of each token of each continuation,
// given all before it. Prompts that continuations share are computed once, and so
// are the layers below the first edited one of a continuation that is steered in
// many ways, as in [Model.Forward]. What is wrong with a continuation is an
// [InputError].
func (m *Model) Score(ctx context.Context, continuations []Continuation, options ...ScoreOption) ([][]float64, error) {
	var o scoreOptions
	for _, option := range options {
		option(&o)
	}
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
	usage, err := m.Forward(ctx, inputs, ForwardOptions{Progress: o.progress, logitsOfRow: func(readers []int, position int, logits []float32) {
		sum := kernel.LogSumExp(logits)
		for _, input := range readers {
			k := position - inputs[input].Read[0]
			out[input][k] = logprob(logits[tokens[input][k]], sum)
		}
	}})
	if o.usage != nil {
		*o.usage = o.usage.Add(usage)
	}
	return out, err
}

// LogProbabilities writes the natural logarithms of the probabilities that logits
// stand for, [vocabulary] both. The two may be the same slice.
func LogProbabilities(out, logits []float32) {
	sum := kernel.LogSumExp(logits)
	for i, l := range logits {
		out[i] = l - sum
	}
}

// Divergence returns the Kullback-Leibler divergence, in nats, of one distribution
// of the next token from another, both given as log-probabilities, [vocabulary]:
// the sum of p·(log p - log q), 0 where the two are equal. It is computed from
// float32 and means nothing below some 1e-6.
func Divergence(p, q []float32) float64 {
	scratch := probabilities.Get().(*[]float32)
	defer probabilities.Put(scratch)
	*scratch = append((*scratch)[:0], p...)
	kernel.Softmax(*scratch)
	var sums [4]float64 // independent, so that the additions overlap
	for i, share := range *scratch {
		sums[i%4] += float64(share) * float64(p[i]-q[i])
	}
	return max(0, (sums[0]+sums[1])+(sums[2]+sums[3]))
}

var probabilities = sync.Pool{New: func() any { return new([]float32) }}

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
