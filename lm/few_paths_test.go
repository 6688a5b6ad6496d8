package lm_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/engine"
)

// fewPaths is an engine that keeps a few paths, each run of which begins at the first
// block. It refuses what goes beyond that, as it finds out by what it is told.
type fewPaths struct {
	engine.Engine
	ends int
	most *int // paths that a run had
}

func (l fewPaths) Limits() engine.Limits { return engine.Limits{Ends: l.ends} }

func (l fewPaths) NewSession() engine.Session {
	return &pathCounter{l.Engine.NewSession(), l, map[int]int{}}
}

type pathCounter struct {
	engine.Session
	fewPaths
	parents map[int]int // slot -> that of the node before it, -1: none
}

func (s *pathCounter) Run(ctx context.Context, run *engine.Run) error {
	if run.First != 0 {
		return fmt.Errorf("the run begins at block %d", run.First)
	}
	for _, span := range run.Freed {
		for slot := span.Slot; slot < span.Slot+span.Len; slot++ {
			delete(s.parents, slot)
		}
	}
	for _, segment := range run.Segments {
		before := -1
		for i := range segment.Path.Len() {
			slot := segment.Path.Slot(i)
			parent, known := s.parents[slot]
			if !known && i < segment.Position {
				return fmt.Errorf("slot %d was freed and is needed", slot)
			}
			if known && parent != before {
				return fmt.Errorf("slot %d follows on %d and on %d", slot, parent, before)
			}
			s.parents[slot] = before
			before = slot
		}
	}
	ends := len(s.parents)
	parents := map[int]bool{}
	for _, parent := range s.parents {
		if parent >= 0 && !parents[parent] {
			parents[parent] = true
			ends--
		}
	}
	*s.most = max(*s.most, ends)
	if ends > s.ends {
		return fmt.Errorf("%d paths are kept, of at most %d", ends, s.ends)
	}
	return s.Session.Run(ctx, run)
}

func (s *pathCounter) Close() { s.Session.Close() }

// An engine that keeps a few paths only gives what one without a limit gives, and
// never has to keep more.
func TestAnEngineMayKeepFewPaths(t *testing.T) {
	most := 0
	open := func(ends int) *lm.Model {
		m, err := lm.Open(t.Context(), gpt2, lm.OnEngine(func(ctx context.Context, source engine.Source, dtype lm.DType) (engine.Engine, error) {
			e, err := cpu.Open(ctx, source, dtype)
			if ends == 0 {
				return e, err
			}
			return fewPaths{e, ends, &most}, err
		}))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	var inputs []lm.Input
	for first := range 5 {
		for second := range 7 {
			inputs = append(inputs, lm.Input{Tokens: []int{3, 10 + first, 70, 20 + second, 9}}, lm.Input{Tokens: []int{3, 10 + first}})
		}
	}
	compute := func(m *lm.Model) (out []string) {
		read := make([]string, len(inputs))
		_, err := m.Forward(t.Context(), inputs, lm.ForwardOptions{
			Taps:       []lm.Address{{Layer: 1, Site: lm.DecoderBlock}},
			Activation: func(input, position int, _ lm.Address, a []float32) { read[input] += fmt.Sprint(position, a[:3]) },
		})
		if err != nil {
			t.Fatal(err)
		}
		written, err := m.Generate(t.Context(), inputs[:30], lm.GenerateOptions{MaxTokens: 6, IgnoreEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range written {
			out = append(out, fmt.Sprint(g.IDs))
		}
		return append(out, read...)
	}
	want := compute(open(0))
	for _, ends := range []int{2, 8, 64} {
		for name, m := range map[string]*lm.Model{"without a cache": open(ends), "with a cache": open(ends).Cached(100_000)} {
			t.Run(fmt.Sprintf("%d paths, %s", ends, name), func(t *testing.T) {
				most = 0
				for range 2 {
					if got := compute(m); !slices.Equal(got, want) {
						t.Error("the results differ from those without a limit")
					}
				}
				t.Logf("%d paths were kept at most", most)
			})
		}
	}
}
