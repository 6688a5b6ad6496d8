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
)

func tiny(t *testing.T) *cpu.Model {
	t.Helper()
	decoder, err := arch.Parse([]byte(`{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "num_hidden_layers": 3,
		"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "vocab_size": 50, "hidden_act": "silu",
		"rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 64, "tie_word_embeddings": true}`))
	if err != nil {
		t.Fatal(err)
	}
	m, err := cpu.Random(t.Context(), decoder, cpu.Auto)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// chain is a run of the tokens as one sequence.
func chain(c *cpu.Cache, tokens ...int) *cpu.Run {
	return &cpu.Run{Tokens: tokens, Segments: []cpu.Segment{{
		Nodes: len(tokens), Path: cpu.Path{}.With(c.Reserve(len(tokens)), len(tokens)), Length: len(tokens),
	}}}
}

// counted returns an edit of all rows that changes nothing and counts them.
func counted(layer int, site arch.Site, rows int, count *atomic.Int32) cpu.Edit {
	e := cpu.Edit{Layer: layer, Site: site, Delta: func(_, _ []float32) { count.Add(1) }}
	for r := range rows {
		e.Rows = append(e.Rows, r)
	}
	return e
}

func TestNothingIsComputedThatNobodyReads(t *testing.T) {
	m := tiny(t)
	for _, test := range []struct {
		name   string
		tap    *cpu.Tap
		logits []int
		counts [3]int32 // rows of each layer's mlp that are computed
	}{
		{"up to the tapped layer, for the tapped rows", &cpu.Tap{Layer: 1, Site: arch.DecoderBlock, Rows: []int{2, 4}}, nil, [3]int32{5, 2, 0}},
		{"a site before the mlp needs no mlp", &cpu.Tap{Layer: 1, Site: arch.SelfAttn, Rows: []int{4}}, nil, [3]int32{5, 0, 0}},
		{"at the last layer the rows whose logits are read", nil, []int{4}, [3]int32{5, 5, 1}},
		{"rows that are tapped or whose logits are read", &cpu.Tap{Layer: 2, Site: arch.DecoderBlock, Rows: []int{0}}, []int{4}, [3]int32{5, 5, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cache := m.NewCache()
			run := chain(cache, 3, 1, 4, 1, 5)
			var counts [3]atomic.Int32
			for layer := range counts {
				run.Edits = append(run.Edits, counted(layer, arch.MLPOutput, 5, &counts[layer]))
			}
			var read []int
			if test.tap != nil {
				test.tap.Read = func(row int, _ []float32) { read = append(read, row) }
				run.Taps = []cpu.Tap{*test.tap}
			}
			var logits []int
			if test.logits != nil {
				run.LogitRows = test.logits
				run.Logits = func(row int, _ []float32) { logits = append(logits, row) }
			}
			if err := m.Run(t.Context(), cache, run); err != nil {
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
	last := func(edits ...cpu.Edit) (block, logits []float32) {
		cache := m.NewCache()
		run := chain(cache, 3, 1, 4)
		run.Edits = edits
		run.Taps = []cpu.Tap{{Layer: 0, Site: arch.DecoderBlock, Rows: []int{1}, Read: func(_ int, a []float32) { block = slices.Clone(a) }}}
		run.LogitRows = []int{2}
		run.Logits = func(_ int, l []float32) { logits = slices.Clone(l) }
		if err := m.Run(t.Context(), cache, run); err != nil {
			t.Fatal(err)
		}
		return block, logits
	}
	block, logits := last()
	edited, changed := last(cpu.Edit{Layer: 0, Site: arch.DecoderBlock, Rows: []int{1}, Delta: func(delta, _ []float32) { delta[7] = 2 }})
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
	cache := m.NewCache()
	run := chain(cache, 3, 1, 4)
	run.LogitRows, run.Logits = []int{2}, func(int, []float32) { t.Error("logits are given") }
	var later atomic.Int32
	run.Edits = []cpu.Edit{
		{Layer: 0, Site: arch.MLPOutput, Rows: []int{0}, Delta: func(_, _ []float32) { cancel() }},
		counted(1, arch.SelfAttn, 3, &later),
	}
	if err := m.Run(ctx, cache, run); !errors.Is(err, context.Canceled) || later.Load() > 0 {
		t.Errorf("error %v after %d rows of the next layer", err, later.Load())
	}
}

// A cache that keeps a path computes what follows as if nothing had been kept.
func TestAKeptPathGivesTheSameBits(t *testing.T) {
	m := tiny(t)
	tokens := []int{3, 1, 4, 1, 5, 9, 2, 6}
	logitsOf := func(cache *cpu.Cache, run *cpu.Run, row int) (out []float32) {
		run.LogitRows, run.Logits = []int{row}, func(_ int, l []float32) { out = slices.Clone(l) }
		if err := m.Run(t.Context(), cache, run); err != nil {
			t.Fatal(err)
		}
		return out
	}
	whole := m.NewCache()
	want := logitsOf(whole, chain(whole, tokens...), 7)

	cache := m.NewCache()
	other := chain(cache, 8, 8, 8) // what is forgotten
	logitsOf(cache, other, 2)
	first := chain(cache, tokens[:5]...)
	logitsOf(cache, first, 4)
	path := cache.Keep(first.Segments[0].Path)
	rest := &cpu.Run{Tokens: tokens[5:], Segments: []cpu.Segment{{Nodes: 3, Position: 5, Path: path.With(cache.Reserve(3), 3), Length: 8}}}
	if got := logitsOf(cache, rest, 2); !slices.Equal(got, want) {
		t.Error("the logits have other bits")
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
			decoder, err := arch.Parse(config)
			if err != nil {
				t.Fatal(err)
			}
			m, err := cpu.Random(t.Context(), decoder, cpu.Auto)
			if err != nil {
				t.Fatal(err)
			}
			cache := m.NewCache()
			run := chain(cache, 3, 1, 4)
			given := 0
			run.LogitRows, run.Logits = []int{0, 2}, func(_ int, logits []float32) { given += len(logits) }
			if err := m.Run(t.Context(), cache, run); err != nil {
				t.Fatal(err)
			}
			if given != 2*decoder.Vocabulary {
				t.Errorf("%d logits, want %d", given, 2*decoder.Vocabulary)
			}
		})
	}
}
