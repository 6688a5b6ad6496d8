package cli

import (
	"fmt"
	"time"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// What batch measures: texts of so many tokens after prompts of so many, and how
// many sequences write while others come and go, one in so many steps.
const (
	batchPrompt = 32
	batchTokens = 32
	batchStay   = 15
	batchEvery  = 4
)

// batch measures whole calls of Generate, prompts included, and what it costs
// those that write when another sequence comes and goes in mid-flight.
func (b *bench) batch(s shape) error {
	m, err := b.open(s, lm.Auto, gguf.F32)
	if err != nil {
		return err
	}
	for _, sequences := range []int{1, 16, 64} {
		var prompts []lm.Input
		for i := range sequences {
			prompts = append(prompts, lm.Input{Tokens: s.someTokens(batchPrompt, i+1)})
		}
		var took []float64
		for range b.rounds {
			begin := time.Now()
			if _, err := m.Generate(b.ctx, prompts, lm.GenerateOptions{MaxTokens: batchTokens, IgnoreEnd: true}); err != nil {
				return err
			}
			took = append(took, time.Since(begin).Seconds())
		}
		f := figure{Part: "batch", Model: s.name, Case: fmt.Sprintf("%d at once", sequences), Seconds: median(took)}
		f.TokensPerSecond = float64(sequences*batchTokens) / f.Seconds
		b.tell(f, "%2d at once, %d tokens after %d each: %.3f s, %.1f tokens/s", sequences, batchTokens, batchPrompt, f.Seconds, f.TokensPerSecond)
	}
	return b.comeAndGo(m, s)
}

// comeAndGo compares a step of sequences that write: with one more beside them all
// the time, and with one that comes, writes and goes again and again. The two do
// not differ in how many tokens are decoded, and the steps in which a prompt is read
// are left out, so that what remains is what coming and going costs the others.
func (b *bench) comeAndGo(m *lm.Model, s shape) error {
	var calm, moving, ratios []float64
	for round := range b.rounds {
		still, err := b.stepsBeside(m, s, round, false)
		if err != nil {
			return err
		}
		changed, err := b.stepsBeside(m, s, round, true)
		if err != nil {
			return err
		}
		calm, moving, ratios = append(calm, still), append(moving, changed), append(ratios, changed/still)
	}
	f := figure{Part: "batch", Model: s.name, Case: "one comes and goes", Seconds: median(moving), Ratio: median(ratios)}
	b.tell(f, "%d write while one comes and goes every %d steps: %.2f ms a step, %+.1f %% on %.2f ms", batchStay, batchEvery, 1e3*f.Seconds, 100*(f.Ratio-1), 1e3*median(calm))
	return nil
}

// stepsBeside returns the median seconds of a step.
func (b *bench) stepsBeside(m *lm.Model, s shape, round int, comes bool) (float64, error) {
	batch, err := m.NewBatch(lm.BatchOptions{})
	if err != nil {
		return 0, err
	}
	defer batch.Close()
	add := func(seed int) (*lm.Sequence, error) {
		return batch.Add(b.ctx, lm.Input{Tokens: s.someTokens(batchPrompt, seed)}, lm.GenerateOptions{MaxTokens: 1 << 20, IgnoreEnd: true})
	}
	for i := range batchStay {
		if _, err := add(i + 1); err != nil {
			return 0, err
		}
	}
	other, err := add(batchStay + 1)
	if err != nil {
		return 0, err
	}
	for range 2 { // the prompts, and what is taken for the first time
		if err := batch.Step(b.ctx); err != nil {
			return 0, err
		}
	}
	var took []float64
	for step := range 24 {
		prompt := comes && step%batchEvery == 0
		begin := time.Now()
		if prompt {
			batch.Remove(other)
			if other, err = add(batchStay + 2 + round*24 + step); err != nil {
				return 0, err
			}
		}
		if err := batch.Step(b.ctx); err != nil {
			return 0, err
		}
		if !prompt {
			took = append(took, time.Since(begin).Seconds())
		}
	}
	return median(took), nil
}
