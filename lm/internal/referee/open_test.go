package referee

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
	"github.com/steervec/steer/lm/internal/random"
)

// lacking is a checkpoint in which one tensor is missing or has another shape.
type lacking struct {
	*random.Checkpoint
	name  string
	shape []int
}

func (l lacking) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := l.Checkpoint.Tensor(name)
	if slices.Contains(l.Decoder.Names(l.name), name) {
		t.Shape, ok = l.shape, l.shape != nil
	}
	return t, ok
}

func TestDamagedCheckpointsAreNamed(t *testing.T) {
	c := random.New(1, random.Options{})
	for _, test := range []struct {
		name  string
		shape []int
		want  string
	}{
		{"missing", nil, `"tokens" is missing`},
		{"of another shape", []int{1, 2}, `"tokens"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(t.Context(), c.Decoder, lacking{c, "tokens", test.shape}, engine.Auto)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %s", err, test.want)
			}
		})
	}
}

func TestRunsThatCannotBeComputed(t *testing.T) {
	m, err := Open(t.Context(), engine.Noise(`{"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
		"intermediate_size": 8, "vocab_size": 9, "max_position_embeddings": 16}`), engine.Auto)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name  string
		ctx   context.Context
		first int
		want  error // nil: any
	}{
		{"its context has ended", ended, 0, context.Canceled},
		{"a layer is read that is not computed", t.Context(), 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := m.NewSession()
			defer s.Close()
			err := s.Run(test.ctx, &engine.Run{
				Tokens: []int{3}, Slots: 16, First: test.first, Residual: make([]float32, 8),
				Segments: []engine.Segment{{Nodes: 1, Path: forest.Path{{Slot: 5, Len: 1}}, Length: 1, Twin: forest.Path{{Slot: 4, Len: 1}}}},
				Taps:     []engine.Tap{{Layer: 0, Site: arch.DecoderBlock, Rows: []int{0}, Read: func(int, []float32) { t.Error("an activation is given") }}},
			})
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}
