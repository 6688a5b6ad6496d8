package cli

import (
	"time"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// quantisedKinds are the types that quantised measures; F32 stands for bfloat16
// weights, with which they are compared.
var quantisedKinds = []gguf.Type{gguf.F32, gguf.Q8_0, gguf.Q6_K, gguf.Q5_0, gguf.Q4_0, gguf.Q4_K}

// quantised measures decoding and prefill with weights in blocks, in turns.
func (b *bench) quantised(s shape) error {
	type measured struct {
		name                     string
		model                    *lm.Model
		bytes                    float64
		steps, fills             []float64
		shares, stepRatio, ratio []float64
	}
	var all []*measured
	for _, kind := range quantisedKinds {
		m, err := b.open(s, lm.BFloat16, kind)
		if err != nil {
			return err
		}
		all = append(all, &measured{name: m.Description().DType, model: m, bytes: s.bytes(kind)})
	}
	input := []lm.Input{{Tokens: s.someTokens(b.tokens, 1), Read: []int{b.tokens - 1}}}
	opts := lm.ForwardOptions{Logits: func(int, int, []float32) {}, RunTokens: b.tokens}
	for round := range b.rounds + 1 {
		for _, m := range all {
			bound := kernel.MeasurePeak(peakTime).Read
			step, err := b.steps(m.model, s, 1, 12)
			if err != nil {
				return err
			}
			begin := time.Now()
			if _, err := m.model.Forward(b.ctx, input, opts); err != nil {
				return err
			}
			fill := time.Since(begin).Seconds()
			if round == 0 {
				continue // memory is taken for the first time
			}
			m.steps, m.fills = append(m.steps, step), append(m.fills, fill)
			m.shares = append(m.shares, m.bytes/step/bound)
			m.stepRatio = append(m.stepRatio, all[0].steps[round-1]/step)
			m.ratio = append(m.ratio, all[0].fills[round-1]/fill)
		}
	}
	for _, m := range all {
		step, fill := median(m.steps), median(m.fills)
		f := figure{Part: "quantised", Model: s.name, Case: m.name + " decode", Seconds: step, TokensPerSecond: 1 / step, Rate: m.bytes / step, ShareOfPeak: finite(median(m.shares)), Ratio: median(m.stepRatio)}
		b.tell(f, "%-14s decode %6.1f tokens/s, %.2f times bf16; reads %s of weights, %s of the peak", m.name, f.TokensPerSecond, f.Ratio, rateOf(f.Rate, "B/s"), percent(f.ShareOfPeak))
		f = figure{Part: "quantised", Model: s.name, Case: m.name + " prefill", Seconds: fill, TokensPerSecond: float64(b.tokens) / fill, Ratio: median(m.ratio)}
		b.tell(f, "%-14s prefill %5.0f tokens/s, %.2f times bf16", m.name, f.TokensPerSecond, f.Ratio)
	}
	return nil
}

// bytes returns the memory of the weights that a decoding step reads.
func (s shape) bytes(kind gguf.Type) float64 {
	of := func(elements, width int) float64 {
		if fitting, ok := kind.Fitting(width); ok {
			together, bytes := fitting.Block()
			return float64(elements) * float64(bytes) / float64(together)
		}
		return 2 * float64(elements)
	}
	down := s.layers * s.hidden * s.inner
	return of(down, s.inner) + of(int(s.linear())-down+s.hidden*s.vocabulary, s.hidden)
}
