package lm_test

import (
	"testing"

	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
)

// openWithStates opens a model that has states beside keys and values.
func openWithStates(t *testing.T) *lm.Model {
	t.Helper()
	files, err := seeded.Files("../testdata/goldens/qwen3_next")
	if err != nil {
		t.Fatal(err)
	}
	m, err := lm.OpenFS(t.Context(), files, "qwen3_next", lm.Compute(lm.Float32))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A model with states computes what prompts share once too: a state is kept where
// they will part, and where a prompt ends. Where paths part at a token that nobody
// expected, the tokens before it are computed once more, and then no more.
func TestStatesAreKeptWherePathsPartAndEnd(t *testing.T) {
	model := openWithStates(t).Cached(100_000)
	prompt := func(n int, end ...int) lm.Input { return lm.Input{Tokens: append(make([]int, n), end...)} }
	forward := func(inputs ...lm.Input) int {
		t.Helper()
		usage, err := model.Forward(t.Context(), inputs, lm.ForwardOptions{Logits: func(int, int, []float32) {}})
		if err != nil {
			t.Fatal(err)
		}
		return usage.Computed
	}
	last := func(in lm.Input) lm.Input {
		in.Read = []int{len(in.Tokens) - 1}
		return in
	}
	write := func(inputs ...lm.Input) int {
		t.Helper()
		b, err := model.NewBatch(lm.BatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, in := range inputs {
			if _, err := b.Add(t.Context(), in, lm.GenerateOptions{MaxTokens: 3, IgnoreEnd: true, Temperature: 1, Seed: in.Seed}); err != nil {
				t.Fatal(err)
			}
		}
		for b.Open() > 0 {
			if err := b.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return b.Usage().Computed
	}
	for _, step := range []struct {
		name     string
		computed int
		want     int
	}{
		{"prompts that part at 20 and at 30", forward(last(prompt(20, 1, 1)), last(prompt(30, 2)), last(prompt(30, 3, 3)), last(prompt(30, 2, 4, 4))), 20 + 2 + 10 + 3 + 2},
		{"one more that parts at 20", forward(last(prompt(20, 5, 5, 5))), 3},
		{"one more that parts at 30", forward(last(prompt(30, 6))), 1},
		{"one that parts at 25 is computed from 20 on", forward(last(prompt(25, 7))), 5 + 1},
		{"the next that parts there is not", forward(last(prompt(25, 8, 8))), 2},
		{"a text", write(prompt(10, 9, 10, 11, 12)), 10 + 4 + 2},
		{"another of the same prompt", write(lm.Input{Tokens: prompt(10, 9, 10, 11, 12).Tokens, Seed: 1}), 1 + 2},
	} {
		if step.computed != step.want {
			t.Errorf("%s: %d tokens are computed, want %d", step.name, step.computed, step.want)
		}
		if err := model.CheckCache(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
}
