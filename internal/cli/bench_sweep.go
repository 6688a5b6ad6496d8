package cli

import (
	"fmt"
	"time"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// What a sweep measures: questions of so many tokens with two answers that differ
// in their second token of three, as "(A)" and "(B)" do, at so many multipliers of
// every layer. Fewer questions do where the prompt is steered, which takes a
// hundred times as long.
const (
	sweepPrompt      = 100
	sweepQuestions   = 64
	sweepQuestionsIn = 8
	sweepMultipliers = 7
	sweepTogether    = 128 // points in one call, as eval groups them
)

// sweep compares the whole grid, as eval computes it, with single points: computed
// alone, where the two answers of a question share its prompt, and with nothing
// shared at all. Every point takes the same time so, and is taken at the middle
// layer.
func (b *bench) sweep(s shape) error {
	m, err := b.open(s, lm.Auto, gguf.F32)
	if err != nil {
		return err
	}
	for _, scope := range []struct {
		name      string
		tokens    lm.Tokens
		questions int
	}{{"response", steer.Response(), sweepQuestions}, {"all", nil, sweepQuestionsIn}} {
		var grid, ratios, pointRatios []float64
		var usage lm.Usage
		for range max(1, b.rounds/5) {
			middle, err := s.steered(m, s.layers/2, 1, scope.tokens)
			if err != nil {
				return err
			}
			apart, err := b.scoreTime(m, s.choices(scope.questions, []*lm.Steering{middle}, true), nil)
			if err != nil {
				return err
			}
			alone, err := b.scoreTime(m, s.choices(scope.questions, []*lm.Steering{middle}, false), nil)
			if err != nil {
				return err
			}
			took, points := 0.0, 0
			usage = lm.Usage{}
			var some []*lm.Steering
			for layer := range s.layers {
				for k := range sweepMultipliers {
					steering, err := s.steered(m, layer, float64(k+1), scope.tokens)
					if err != nil {
						return err
					}
					some, points = append(some, steering), points+1
				}
				if len(some)+sweepMultipliers <= sweepTogether && layer+1 < s.layers {
					continue
				}
				seconds, err := b.scoreTime(m, s.choices(scope.questions, some, false), &usage)
				if err != nil {
					return err
				}
				took, some = took+seconds, nil
			}
			grid = append(grid, took)
			ratios = append(ratios, apart*float64(points)/took)
			pointRatios = append(pointRatios, alone*float64(points)/took)
		}
		f := figure{Part: "sweep", Model: s.name, Case: "scope " + scope.name, Seconds: median(grid), Ratio: median(ratios),
			GivenTokens: usage.Given, ComputedTokens: usage.Computed}
		f.SecondsUnshared = f.Ratio * f.Seconds
		b.tell(f, "scope %-8s %d questions × %d layers × %d multipliers: %.1f s; %.0f s with nothing shared, %.1f times as long, %.1f times point by point; %.1f %% of the token-layers",
			scope.name+":", scope.questions, s.layers, sweepMultipliers, f.Seconds, f.SecondsUnshared, f.Ratio, median(pointRatios),
			100*float64(usage.ComputedLayers)/float64(usage.GivenLayers))
	}
	return nil
}

// steered is one point of the grid.
func (s shape) steered(m *lm.Model, layer int, multiplier float64, tokens lm.Tokens) (*lm.Steering, error) {
	vector := make([]float32, s.hidden)
	for i := range vector {
		vector[i] = float32(1e-3 * multiplier * float64(i%7-3))
	}
	return m.Steering(lm.Edit{Layers: map[int][]float32{layer: vector}, Operator: steer.Add(), Tokens: tokens})
}

// choices are questions with two answers each, under some steerings. Questions
// that are apart share nothing, not even with their own other answer.
func (s shape) choices(questions int, steerings []*lm.Steering, apart bool) []lm.Continuation {
	var out []lm.Continuation
	for q := range questions {
		for answer := range 2 {
			prompt := s.someTokens(sweepPrompt, q+2)
			prompt[0] = q % s.vocabulary
			if apart {
				prompt[0] = (2*q + answer) % s.vocabulary
			}
			for _, steering := range steerings {
				out = append(out, lm.Continuation{Prompt: lm.Input{Tokens: prompt, Steering: steering}, Tokens: []int{11, 12 + answer, 14}})
			}
		}
	}
	return out
}

func (b *bench) scoreTime(m *lm.Model, asked []lm.Continuation, usage *lm.Usage) (float64, error) {
	begin := time.Now()
	var options []lm.ScoreOption
	if usage != nil {
		options = append(options, lm.CountTo(usage))
	}
	scores, err := m.Score(b.ctx, asked, options...)
	if err == nil && len(scores) != len(asked) {
		err = fmt.Errorf("%d of %d are scored", len(scores), len(asked))
	}
	return time.Since(begin).Seconds(), err
}
