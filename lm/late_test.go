package lm_test

import (
	"context"
	"slices"
	"testing"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/engine"
)

// late is an engine that finds out after its logits are given that a context has
// ended, as it may.
type late struct{ engine.Engine }

func (l late) NewSession() engine.Session { return lateSession{l.Engine.NewSession()} }

type lateSession struct{ engine.Session }

func (s lateSession) Run(ctx context.Context, run *engine.Run) error {
	if err := s.Session.Run(context.WithoutCancel(ctx), run); err != nil {
		return err
	}
	return ctx.Err()
}

// A step that failed after its logits were given is done again, and what is drawn
// is what would have been.
func TestADrawIsNotLostWithTheStep(t *testing.T) {
	model, err := lm.Open(t.Context(), gpt2, lm.OnEngine(func(ctx context.Context, source engine.Source, dtype lm.DType) (engine.Engine, error) {
		e, err := cpu.Open(ctx, source, dtype)
		return late{e}, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	write := func(failing int) []int {
		b, err := model.NewBatch(lm.BatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		s, err := b.Add(t.Context(), lm.Input{Tokens: []int{51, 106}}, lm.GenerateOptions{MaxTokens: 12, Temperature: 3, IgnoreEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		for step := 0; b.Open() > 0; step++ {
			if failing > 0 && step%failing == 0 && b.Step(cancelled) == nil {
				t.Fatal("a step whose context had ended did not fail")
			}
			if err := b.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return s.Generation().IDs
	}
	want := write(0)
	for _, failing := range []int{1, 3} {
		if got := write(failing); !slices.Equal(got, want) {
			t.Errorf("with a failure every %d steps it wrote %v, without %v", failing, got, want)
		}
	}
}
