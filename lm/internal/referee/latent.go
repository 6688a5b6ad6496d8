package referee

import (
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
)

// latent is latent attention, computed as its authors define it: with a key and a
// value for every head.
type latent struct {
	*arch.Latent
	queryDown, queryUp, down *linear // queryDown nil: none
	queryNorm, norm          *norm
	keyUp, valueUp           []*linear // [heads]
}

func (l *loader) latent(a *arch.Attention, hidden int) *latent {
	if a.Latent == nil {
		return nil
	}
	d := a.Latent
	m := &latent{
		Latent: d, queryDown: l.linear(d.QueryDown, d.QueryRank, hidden), down: l.linear(d.Down, d.Rank+d.RopeSize, hidden),
		norm: l.norm(d.Norm, d.Rank),
	}
	in := hidden
	if m.queryDown != nil {
		in, m.queryNorm = d.QueryRank, l.norm(d.QueryNorm, d.QueryRank)
	}
	m.queryUp = l.linear(d.QueryUp, a.Heads*(d.KeySize+d.RopeSize), in)
	if d.KeyUp != "" {
		for h := range a.Heads {
			of := func(name string, turned bool) arch.Linear {
				return arch.Linear{Weight: strings.ReplaceAll(name, "{head}", strconv.Itoa(h)), Transposed: turned}
			}
			m.keyUp = append(m.keyUp, l.linear(of(d.KeyUp, true), d.KeySize, d.Rank))
			m.valueUp = append(m.valueUp, l.linear(of(d.ValueUp, false), d.ValueSize, d.Rank))
		}
		return m
	}
	up := l.linear(d.Up, a.Heads*(d.KeySize+d.ValueSize), d.Rank)
	for h := range a.Heads {
		from := h * (d.KeySize + d.ValueSize)
		m.keyUp = append(m.keyUp, up.part(numbers(from, d.KeySize)...))
		m.valueUp = append(m.valueUp, up.part(numbers(from+d.KeySize, d.ValueSize)...))
	}
	return m
}

// latent returns a query, a key and a value for each head.
func (t *token) latent(a *arch.Attention, l *latent, x []float64) (queries [][]float64, own cached) {
	short := t.model.product(l.down, x)
	row := scaled(l.norm.of(short[:l.Rank]), orOne(l.Scale))
	turning := t.rotated(a, [][]float64{slices.Clone(short[l.Rank:])})[0]
	if l.queryDown != nil {
		x = l.queryNorm.of(t.model.product(l.queryDown, x))
	}
	for query := range slices.Chunk(t.model.product(l.queryUp, x), l.KeySize+l.RopeSize) {
		t.rotated(a, [][]float64{query[l.KeySize:]})
		queries = append(queries, query)
	}
	for h := range a.Heads {
		own.keys = append(own.keys, slices.Concat(t.model.product(l.keyUp[h], row), turning))
		own.values = append(own.values, t.model.product(l.valueUp[h], row))
	}
	return queries, own
}
