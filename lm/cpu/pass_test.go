package cpu_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

func tiny(t *testing.T) engine.Engine {
	t.Helper()
	m, err := cpu.Open(t.Context(), engine.Noise(`{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "num_hidden_layers": 3,
		"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "vocab_size": 50, "hidden_act": "silu",
		"rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 64, "tie_word_embeddings": true}`), engine.Auto)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// chain is a run of the tokens as one sequence.
func chain(tokens ...int) *engine.Run {
	return &engine.Run{Tokens: tokens, Slots: 64, Segments: []engine.Segment{{
		Nodes: len(tokens), Path: forest.Path{{Slot: 0, Len: len(tokens)}}, Length: len(tokens),
	}}}
}

// change is an operator that is made of a function.
type change func(delta, activation []float32)

func (change) Name() string                                       { return "change" }
func (change) Prepare(vector []float32, _ int) ([]float32, error) { return vector, nil }
func (c change) Delta(delta, activation, vector []float32)        { c(delta, activation) }

// counted returns an edit of all rows that changes nothing and counts them.
func counted(layer int, site arch.Site, rows int, count *atomic.Int32) engine.Edit {
	e := engine.Edit{Layer: layer, Site: site, Operator: change(func(_, _ []float32) { count.Add(1) })}
	for r := range rows {
		e.Rows = append(e.Rows, r)
	}
	return e
}

func TestNothingIsComputedThatNobodyReads(t *testing.T) {
	m := tiny(t)
	for _, test := range []struct {
		name   string
		tap    *engine.Tap
		logits []int
		counts [3]int32 // rows of each layer's mlp that are computed
	}{
		{"up to the tapped layer, for the tapped rows", &engine.Tap{Layer: 1, Site: arch.DecoderBlock, Rows: []int{2, 4}}, nil, [3]int32{5, 2, 0}},
		{"a site before the mlp needs no mlp", &engine.Tap{Layer: 1, Site: arch.SelfAttn, Rows: []int{4}}, nil, [3]int32{5, 0, 0}},
		{"at the last layer the rows whose logits are read", nil, []int{4}, [3]int32{5, 5, 1}},
		{"rows that are tapped or whose logits are read", &engine.Tap{Layer: 2, Site: arch.DecoderBlock, Rows: []int{0}}, []int{4}, [3]int32{5, 5, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := chain(3, 1, 4, 1, 5)
			var counts [3]atomic.Int32
			for layer := range counts {
				run.Edits = append(run.Edits, counted(layer, arch.MLPOutput, 5, &counts[layer]))
			}
			var read []int
			if test.tap != nil {
				test.tap.Read = func(row int, _ []float32) { read = append(read, row) }
				run.Taps = []engine.Tap{*test.tap}
			}
			var logits []int
			if test.logits != nil {
				run.LogitRows = test.logits
				run.Logits = func(row int, _ []float32) { logits = append(logits, row) }
			}
			if err := m.NewSession().Run(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			for layer, want := range test.counts {
				if got := counts[layer].Load(); got != want {
					t.Errorf("layer %d computes %d rows past attention, want %d", layer, got, want)
				}
			}
			if test.tap != nil && !slices.Equal(read, test.tap.Rows) || !slices.Equal(logits, test.logits) {
				t.Errorf("rows %v are read and logits of %v, want %v and %v", read, logits, test.tap, test.logits)
			}
		})
	}
}

func TestAnEditIsSeenByTapsAndByWhatFollows(t *testing.T) {
	m := tiny(t)
	last := func(edits ...engine.Edit) (block, logits []float32) {
		run := chain(3, 1, 4)
		run.Edits = edits
		run.Taps = []engine.Tap{{Layer: 0, Site: arch.DecoderBlock, Rows: []int{1}, Read: func(_ int, a []float32) { block = slices.Clone(a) }}}
		run.LogitRows = []int{2}
		run.Logits = func(_ int, l []float32) { logits = slices.Clone(l) }
		if err := m.NewSession().Run(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		return block, logits
	}
	block, logits := last()
	edited, changed := last(engine.Edit{Layer: 0, Site: arch.DecoderBlock, Rows: []int{1}, Operator: change(func(delta, _ []float32) { delta[7] = 2 })})
	for i := range block {
		want := block[i]
		if i == 7 {
			want += 2
		}
		if edited[i] != want {
			t.Errorf("element %d is %v, want %v", i, edited[i], want)
		}
	}
	if slices.Equal(logits, changed) {
		t.Error("a later token's logits do not see the edit")
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	m := tiny(t)
	ctx, cancel := context.WithCancel(t.Context())
	run := chain(3, 1, 4)
	run.LogitRows, run.Logits = []int{2}, func(int, []float32) { t.Error("logits are given") }
	var later atomic.Int32
	run.Edits = []engine.Edit{
		{Layer: 0, Site: arch.MLPOutput, Rows: []int{0}, Operator: change(func(_, _ []float32) { cancel() })},
		counted(1, arch.SelfAttn, 3, &later),
	}
	if err := m.NewSession().Run(ctx, run); !errors.Is(err, context.Canceled) || later.Load() > 0 {
		t.Errorf("error %v after %d rows of the next layer", err, later.Load())
	}
}

// logitsOf computes a run and returns the logits of one of its rows.
func logitsOf(t *testing.T, s engine.Session, run *engine.Run, row int) (out []float32) {
	t.Helper()
	run.LogitRows, run.Logits = []int{row}, func(_ int, l []float32) { out = slices.Clone(l) }
	if err := s.Run(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	return out
}

// A path may lie in any slots, and a run may begin anywhere on it.
func TestAPathGivesTheSameBitsWhereverItLies(t *testing.T) {
	m := tiny(t)
	tokens := []int{3, 1, 4, 1, 5, 9, 2, 6}
	want := logitsOf(t, m.NewSession(), chain(tokens...), 7)

	scattered := forest.Path{{Slot: 37, Len: 2}, {Slot: 3, Len: 1}, {Slot: 15, Len: 3}, {Slot: 60, Len: 2}}
	s := m.NewSession()
	logitsOf(t, s, chain(8, 8, 8), 2) // what others have written
	first := &engine.Run{Tokens: tokens[:5], Slots: 64, Segments: []engine.Segment{{Nodes: 5, Path: forest.Path{scattered[0], scattered[1], {Slot: 15, Len: 2}}, Length: 8}}}
	logitsOf(t, s, first, 4)
	rest := &engine.Run{Tokens: tokens[5:], Slots: 64, Segments: []engine.Segment{{Nodes: 3, Position: 5, Path: scattered, Length: 8}}}
	if got := logitsOf(t, s, rest, 2); !slices.Equal(got, want) {
		t.Error("the logits have other bits")
	}
}

// Below the first edited layer a steered sequence equals its unsteered twin: a
// run that begins there, with the twin's residual stream, keys and values, gives
// what the whole pass gives, also to tokens that come later.
func TestARunThatBeginsAtALayerEqualsTheWholePass(t *testing.T) {
	m := tiny(t)
	tokens := []int{3, 1, 4, 1, 5}
	const first = 2
	edit := func(rows ...int) engine.Edit {
		return engine.Edit{Layer: first, Site: arch.SelfAttn, Rows: rows, Operator: change(func(delta, activation []float32) { delta[7] = activation[3] + 2 })}
	}
	later := func(path forest.Path) *engine.Run {
		return &engine.Run{Tokens: []int{9}, Slots: 64, Segments: []engine.Segment{{Nodes: 1, Position: 5, Path: path, Length: 6}}}
	}
	whole := m.NewSession()
	run := chain(tokens...)
	run.Edits = []engine.Edit{edit(2, 3, 4)}
	want := logitsOf(t, whole, run, 4)
	wantLater := logitsOf(t, whole, later(forest.Path{{Slot: 0, Len: 6}}), 0)

	s := m.NewSession()
	twin := chain(tokens...)
	var residual []float32
	twin.Taps = []engine.Tap{{Layer: first - 1, Site: arch.DecoderBlock, Rows: []int{2, 3, 4}, Read: func(_ int, a []float32) { residual = append(residual, a...) }}}
	logitsOf(t, s, twin, 4)
	// The first two tokens are the twin's own, the others have slots of their own.
	path := forest.Path{{Slot: 0, Len: 2}, {Slot: 30, Len: 3}}
	steered := &engine.Run{
		Tokens: tokens[2:], Slots: 64, First: first, Residual: residual, Edits: []engine.Edit{edit(0, 1, 2)},
		Segments: []engine.Segment{{Nodes: 3, Position: 2, Path: path, Length: 5, Twin: forest.Path{{Slot: 2, Len: 3}}}},
	}
	if got := logitsOf(t, s, steered, 2); !slices.Equal(got, want) {
		t.Error("the logits have other bits")
	}
	if got := logitsOf(t, s, later(append(path, forest.Span{Slot: 40, Len: 1})), 0); !slices.Equal(got, wantLater) {
		t.Error("the logits of a later token have other bits")
	}
	steered.Taps = []engine.Tap{{Layer: first - 1, Site: arch.DecoderBlock, Rows: []int{0}}}
	if err := s.Run(t.Context(), steered); err == nil {
		t.Error("a layer is read that is not computed")
	}
}

// Weights that mean nothing can be made for every family.
func TestEveryFamilyRunsWithRandomWeights(t *testing.T) {
	configs, err := filepath.Glob("../../testdata/goldens/*/config.json")
	if err != nil || len(configs) == 0 {
		t.Fatalf("no goldens are there: %v", err)
	}
	for _, path := range configs {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			config, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m, err := cpu.Open(t.Context(), engine.Noise(config), engine.Auto)
			if err != nil {
				t.Fatal(err)
			}
			run := chain(3, 1, 4)
			given := 0
			run.LogitRows, run.Logits = []int{0, 2}, func(_ int, logits []float32) { given += len(logits) }
			if err := m.NewSession().Run(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			if given != 2*m.Decoder().Vocabulary {
				t.Errorf("%d logits, want %d", given, 2*m.Decoder().Vocabulary)
			}
		})
	}
}
