package referee

import (
	"slices"

	"github.com/steervec/steer/lm/arch"
)

// mixed is attention of which every expert has queries and an output projection.
type mixed struct {
	router           router
	queries, outputs []*linear // [experts]
}

func (l *loader) mixed(a *arch.Attention, hidden int) *mixed {
	if a.Experts == nil {
		return nil
	}
	width := a.KVHeads * a.HeadSize
	return &mixed{
		router:  l.router(a.Experts, hidden),
		queries: l.experts(a.Query, a.Experts.Count, width, hidden), outputs: l.experts(a.Output, a.Experts.Count, hidden, width),
	}
}

// queriesOf returns the queries of the chosen experts. Those that share a key
// stand together, in the experts' order.
func (t *token) queriesOf(a *arch.Attention, m *mixed, chosen []choice, x []float64) [][]float64 {
	queries := make([][]float64, a.Heads)
	for j, c := range chosen {
		for key, query := range heads(a, t.model.product(m.queries[c.expert], x)) {
			queries[key*len(chosen)+j] = query
		}
	}
	return queries
}

// outputsOf adds up what the chosen experts make of their heads, weighted.
func (t *token) outputsOf(a *arch.Attention, m *mixed, chosen []choice, gathered [][]float64) []float64 {
	out := make([]float64, t.model.decoder.Hidden)
	for j, c := range chosen {
		var own [][]float64
		for key := range a.KVHeads {
			own = append(own, gathered[key*len(chosen)+j])
		}
		out = sum(out, scaled(t.model.product(m.outputs[c.expert], slices.Concat(own...)), c.weight))
	}
	return sum(out, m.router.bias)
}
