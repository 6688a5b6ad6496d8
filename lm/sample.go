package lm

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// sampler chooses a token from logits.
type sampler struct {
	opts   *GenerateOptions
	random *rand.Rand

	// The last number drawn, and for which position: a step that failed after it is
	// done again with the same.
	number   float64
	position int
}

type candidate struct {
	token int
	p     float64 // logit, then probability
}

// choose picks the next token given the logits [vocabulary] and the tokens so
// far, of which the first ones were given. Among equal logits the lowest token
// comes first.
func (s *sampler) choose(logits []float32, tokens []int, given int) int {
	logits = s.opts.penalized(logits, tokens, given)
	if s.opts.Temperature == 0 {
		best := 0
		for t, v := range logits {
			if v > logits[best] {
				best = t
			}
		}
		return best
	}
	return s.draw(s.candidates(logits), len(tokens))
}

// penalized returns the logits with what the options do to single tokens: those
// of tokens that are there are divided where they are positive and else
// multiplied, then penalties are taken off and biases added. The logits
// themselves stay as they are.
func (o *GenerateOptions) penalized(logits []float32, tokens []int, given int) []float32 {
	divides := o.RepetitionPenalty != 0 && o.RepetitionPenalty != 1
	takes := o.PresencePenalty != 0 || o.FrequencyPenalty != 0
	if !divides && !takes && len(o.LogitBias) == 0 {
		return logits
	}
	logits = slices.Clone(logits)
	if divides {
		for t := range counts(tokens) {
			if logits[t] > 0 {
				logits[t] /= float32(o.RepetitionPenalty)
			} else {
				logits[t] *= float32(o.RepetitionPenalty)
			}
		}
	}
	if takes {
		for t, n := range counts(tokens[given:]) {
			logits[t] -= float32(o.PresencePenalty + float64(n)*o.FrequencyPenalty)
		}
	}
	for t, bias := range o.LogitBias {
		logits[t] += float32(bias)
	}
	return logits
}

// counts returns how often each token is there.
func counts(tokens []int) map[int]int {
	n := map[int]int{}
	for _, t := range tokens {
		n[t]++
	}
	return n
}

// candidates returns the tokens that the limits leave, likeliest first, with
// their probabilities.
func (s *sampler) candidates(logits []float32) []candidate {
	// Logits are taken relative to the largest, so that the smallest temperature
	// divides nothing beyond what a number can be.
	largest := slices.Max(logits)
	all := make([]candidate, len(logits))
	for t, v := range logits {
		all[t] = candidate{t, float64(v-largest) / s.opts.Temperature}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.p, a.p), cmp.Compare(a.token, b.token))
	})
	if k := s.opts.TopK; k > 0 && k < len(all) {
		all = all[:k]
	}
	var sum float64
	for i := range all {
		all[i].p = math.Exp(all[i].p)
		sum += all[i].p
	}
	for i := range all {
		all[i].p /= sum
	}
	if limit := s.opts.TopP; limit > 0 && limit < 1 {
		total := 0.0
		for i, c := range all {
			if total += c.p; total >= limit {
				all = all[:i+1]
				break
			}
		}
	}
	if s.opts.MinP > 0 {
		for i, c := range all {
			if c.p < s.opts.MinP*all[0].p {
				all = all[:i]
				break
			}
		}
	}
	return all
}

func (s *sampler) draw(candidates []candidate, position int) int {
	if s.position != position {
		s.number, s.position = s.random.Float64(), position
	}
	var sum float64
	for _, c := range candidates {
		sum += c.p
	}
	left := s.number * sum
	for _, c := range candidates {
		if left -= c.p; left < 0 {
			return c.token
		}
	}
	return candidates[len(candidates)-1].token
}
