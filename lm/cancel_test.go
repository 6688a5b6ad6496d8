package lm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/engine"
)

// garbling is an engine that, when its context has ended, leaves in the slots of
// nodes that were not computed before what other tokens would have left there.
type garbling struct{ engine.Engine }

func (g garbling) NewSession() engine.Session {
	return &garblingSession{g.Engine.NewSession(), map[int]bool{}}
}

type garblingSession struct {
	engine.Session
	computed map[int]bool // slots
}

func (s *garblingSession) Run(ctx context.Context, run *engine.Run) error {
	err := s.Session.Run(ctx, run)
	other, row := *run, 0
	// Edits stay: what is computed once more must keep what its slot holds.
	other.Tokens, other.Taps, other.LogitRows = slices.Clone(run.Tokens), nil, nil
	other.Logits = func(int, []float32) {}
	for _, segment := range run.Segments {
		for i := range segment.Nodes {
			slot := segment.Path.Slot(segment.Position + i)
			switch {
			case err == nil:
				s.computed[slot] = true
			case !s.computed[slot]:
				other.Tokens[row] = 3
			}
			row++
		}
	}
	if err == nil {
		return nil
	}
	return errors.Join(err, s.Session.Run(context.WithoutCancel(ctx), &other))
}

// Whenever a context ends within a step or a forward pass, the cache stays sound
// and what is computed afterwards is right.
func TestACallMayEndAtAnyMoment(t *testing.T) {
	plain := open(t)
	model, err := lm.Open(t.Context(), gpt2, lm.OnEngine(func(ctx context.Context, source engine.Source, dtype lm.DType) (engine.Engine, error) {
		e, err := cpu.Open(ctx, source, dtype)
		return garbling{e}, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	prompts := [][]int{{51, 106, 220, 154}, {51, 106, 220, 154, 7, 8, 9}, {51, 106, 3}, {9, 9, 9, 9, 9}}
	opts := lm.GenerateOptions{MaxTokens: 5, Temperature: 1.5, IgnoreEnd: true}
	alone := make([]lm.Generation, len(prompts))
	for i, p := range prompts {
		out, err := plain.Generate(t.Context(), []lm.Input{{Tokens: p}}, opts)
		if err != nil {
			t.Fatal(err)
		}
		alone[i] = out[0]
	}
	logits := func(ctx context.Context, m *lm.Model) (map[string][]float32, error) {
		out, inputs := map[string][]float32{}, make([]lm.Input, len(prompts))
		for i := range inputs {
			inputs[i] = lm.Input{Tokens: prompts[i]}
		}
		_, err := m.Forward(ctx, inputs, lm.ForwardOptions{RunTokens: 4, Logits: func(input, position int, logits []float32) {
			out[fmt.Sprint(input, position)] = slices.Clone(logits)
		}})
		return out, err
	}
	want, err := logits(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	sound := func(m *lm.Model) {
		t.Helper()
		if err := m.CheckCache(); err != nil {
			t.Fatal(err)
		}
	}
	ended := 0
	for capacity, most := range map[int]int{0: 24, 40: 24, 1000: 24} {
		for moment := range int64(most) {
			m := model.Cached(capacity)
			b, err := m.NewBatch(lm.BatchOptions{RunTokens: 6})
			if err != nil {
				t.Fatal(err)
			}
			sequences := make([]*lm.Sequence, len(prompts))
			for i, p := range prompts {
				if sequences[i], err = b.Add(t.Context(), lm.Input{Tokens: p}, opts); err != nil {
					t.Fatal(err)
				}
			}
			for step := 0; b.Open() > 0; step++ {
				ctx := context.Context(t.Context())
				if step%2 == 0 {
					f := &fuse{Context: ctx}
					f.left.Store(moment)
					ctx = f
				}
				if err := b.Step(ctx); err != nil {
					ended++
					if !errors.Is(err, context.Canceled) || step%2 > 0 {
						t.Fatal(err)
					}
				}
				sound(m)
				if step == 3 {
					f := &fuse{Context: t.Context()}
					f.left.Store(moment)
					if _, err := logits(f, m); err != nil && !errors.Is(err, context.Canceled) {
						t.Fatal(err)
					}
					sound(m)
				}
			}
			for i, s := range sequences {
				if got := s.Generation(); !slices.Equal(got.IDs, alone[i].IDs) {
					t.Errorf("capacity %d, moment %d: sequence %d wrote %v, alone %v", capacity, moment, i, got.IDs, alone[i].IDs)
				}
			}
			b.Close()
			got, err := logits(t.Context(), m)
			if err != nil || len(got) != len(want) {
				t.Fatal(len(got), err)
			}
			for key, values := range want {
				if !slices.Equal(got[key], values) {
					t.Errorf("capacity %d, moment %d: the logits of input and position %s have other bits", capacity, moment, key)
				}
			}
			sound(m)
		}
	}
	if ended < 50 {
		t.Errorf("only %d steps have ended early", ended)
	}
}
