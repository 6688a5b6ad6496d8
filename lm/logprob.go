package lm

import (
	"slices"

	"github.com/steervec/steer/lm/cpu/kernel"
)

// Logprob is how likely a token was at its place, and which would have been the
// likeliest there: of the logits as the model gives them, before penalties,
// biases and temperature.
type Logprob struct {
	Token   int
	Logprob float64 // natural
	Top     []Alternative
}

// Alternative is a token that a model could have written.
type Alternative struct {
	Token   int
	Logprob float64
}

// logprobs are what a sequence keeps of how likely its tokens were.
type logprobs struct {
	opts    *GenerateOptions
	prompt  []Logprob // [given], where they are asked for
	next    Logprob   // of the token that a step has chosen
	written []Logprob
}

func newLogprobs(opts *GenerateOptions, prompt []int) logprobs {
	l := logprobs{opts: opts}
	if opts.Echo {
		l.prompt = make([]Logprob, len(prompt))
		l.prompt[0].Token = prompt[0]
	}
	return l
}

// given reads the logits for a position of the prompt.
func (l *logprobs) given(position, token int, logits []float32) {
	l.prompt[position] = l.of(token, logits)
}

// chosen reads the logits that a token was chosen from.
func (l *logprobs) chosen(token int, logits []float32) {
	if l.opts.Logprobs {
		l.next = l.of(token, logits)
	}
}

// accept keeps what the last step chose.
func (l *logprobs) accept() {
	if l.opts.Logprobs {
		l.written = append(l.written, l.next)
	}
}

func (l *logprobs) of(token int, logits []float32) Logprob {
	total := kernel.LogSumExp(logits)
	out := Logprob{Token: token, Logprob: logprob(logits[token], total)}
	for _, t := range likeliest(logits, l.opts.TopLogprobs) {
		out.Top = append(out.Top, Alternative{t, logprob(logits[t], total)})
	}
	return out
}

// logprob returns a token's natural log-probability, given its logit and the
// [kernel.LogSumExp] of all.
func logprob(logit, total float32) float64 { return float64(logit - total) }

// likeliest returns the n tokens with the largest logits, the largest first, and
// of equal ones the lowest token.
func likeliest(logits []float32, n int) []int {
	best := make([]int, 0, n+1)
	for t, v := range logits {
		if len(best) == n && (n == 0 || v <= logits[best[n-1]]) {
			continue
		}
		at := len(best)
		for at > 0 && v > logits[best[at-1]] {
			at--
		}
		best = slices.Insert(best, at, t)
		best = best[:min(len(best), n)]
	}
	return best
}
