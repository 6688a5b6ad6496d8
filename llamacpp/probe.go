package llamacpp

import (
	"context"
	"math"
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// probed are the tokens that are computed to learn what a graph is like.
var probed = []int{0, 1}

// probe computes a few tokens on a session of their own.
func (m *Model) probe(ctx context.Context, run *engine.Run, prepare func(*Session)) error {
	s := m.NewSession().(*Session)
	defer s.Close()
	if err := s.grow(len(probed)+batchRows, m.sequences(1)); err != nil {
		return err
	}
	if prepare != nil {
		prepare(s)
	}
	run.Tokens = probed
	run.Slots, run.States = len(probed), 1
	run.Segments = []engine.Segment{{Nodes: len(probed), Path: forest.Path{{Slot: 0, Len: len(probed)}}, Length: len(probed), After: 1}}
	run.LogitRows = []int{0, 1}
	return s.Run(ctx, run)
}

// look finds the sites in the graph.
func (m *Model) look(ctx context.Context) error {
	graph := map[string]int{}
	err := m.probe(ctx, &engine.Run{Logits: func(int, []float32) {}}, func(s *Session) {
		s.watch.each = func(name string, t tensor) {
			if _, twice := graph[name]; !twice {
				graph[name] = m.library.ggml.elements(t)
			}
		}
	})
	m.findSites(graph, len(probed))
	return err
}

// controls reports whether llama.cpp's control vectors do what edits in the callback
// do, from layer 1 on: whether the graph adds them, and at the same place. It is found
// out once, by steering every layer in both ways.
func (m *Model) controls() bool {
	m.controlled.Do(func() {
		var steered [2][]float32
		for i, by := range []bool{true, false} {
			err := m.probe(context.Background(), &engine.Run{
				Edits:  m.everywhere(),
				Logits: func(_ int, logits []float32) { steered[i] = append(steered[i], logits...) },
			}, func(s *Session) { s.byControl = func() bool { return by } })
			if err != nil {
				return
			}
		}
		m.equalControl = slices.EqualFunc(steered[0], steered[1], func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
	})
	return m.equalControl
}

// everywhere adds something to every layer from the second one on.
func (m *Model) everywhere() []engine.Edit {
	var edits []engine.Edit
	for layer := 1; layer < len(m.decoder.Blocks); layer++ {
		vector := make([]float32, m.decoder.Hidden)
		for i := range vector {
			vector[i] = float32(math.Sin(float64(i+layer))) / 8
		}
		edits = append(edits, engine.Edit{Layer: layer, Site: arch.DecoderBlock, Rows: []int{0, 1}, Operator: addition{}, Vector: vector})
	}
	return edits
}

// addition is the operator that control vectors are.
type addition struct{}

func (addition) Name() string                                       { return "add" }
func (addition) Prepare(vector []float32, _ int) ([]float32, error) { return vector, nil }
func (addition) Delta(delta, _, vector []float32)                   { copy(delta, vector) }
