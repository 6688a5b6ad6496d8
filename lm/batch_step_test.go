package lm_test

import (
	"context"
	"testing"

	"github.com/steervec/steer/lm"
)

// A step that is cancelled loses its own tokens, not what was computed before.
func TestACancelledStepCostsNoMoreThanItself(t *testing.T) {
	model := open(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	computed := func(failing bool) (tokens, steps int) {
		b, err := model.NewBatch(lm.BatchOptions{RunTokens: 3})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, tokens := range [][]int{{51, 106, 220, 154, 7, 8, 9, 10}, {51, 106, 220, 154, 7, 3, 3, 3, 3}, {9, 8, 7}} {
			if _, err := b.Add(t.Context(), lm.Input{Tokens: tokens}, lm.GenerateOptions{MaxTokens: 4, IgnoreEnd: true}); err != nil {
				t.Fatal(err)
			}
		}
		for ; b.Open() > 0 && steps < 100; steps++ {
			if failing && b.Step(cancelled) == nil {
				t.Fatal("a step whose context had ended did not fail")
			}
			if err := b.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return b.Usage().Computed, steps
	}
	tokens, steps := computed(false)
	if got, in := computed(true); got != tokens || in != steps {
		t.Errorf("with cancelled steps between, %d tokens in %d steps; without, %d in %d", got, in, tokens, steps)
	}
}

// However little of prompts is computed in a step, those who write do not keep a
// prompt waiting.
func TestPromptsGoOnBesideThoseThatWrite(t *testing.T) {
	b, err := open(t).NewBatch(lm.BatchOptions{RunTokens: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	add := func(most int, tokens ...int) *lm.Sequence {
		s, err := b.Add(t.Context(), lm.Input{Tokens: tokens}, lm.GenerateOptions{MaxTokens: most, IgnoreEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	long := add(60, 51)
	short := add(1, 9, 8, 7)
	for range 10 {
		if err := b.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !short.Done() || long.Done() {
		t.Errorf("after 10 steps of one prompt token each, a prompt of 3 tokens is answered: %v, the other text has ended: %v", short.Done(), long.Done())
	}
}

// A function that is told of one sequence's token may remove another.
func TestARemovedSequenceWritesNothingMore(t *testing.T) {
	b, err := open(t).NewBatch(lm.BatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var second *lm.Sequence
	opts := lm.GenerateOptions{MaxTokens: 5, IgnoreEnd: true}
	opts.Token = func(sequence, _ int, _ string) {
		switch {
		case sequence == 0:
			b.Remove(second)
		case second.Done():
			t.Error("a removed sequence is told of a token")
		}
	}
	for _, token := range []int{51, 9} {
		if second, err = b.Add(t.Context(), lm.Input{Tokens: []int{token}}, opts); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if g := second.Generation(); len(g.IDs) > 0 || g.Finish != lm.FinishCancelled {
		t.Errorf("it wrote %v and ended: %q", g.IDs, g.Finish)
	}
}
