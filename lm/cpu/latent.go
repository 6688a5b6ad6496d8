package cpu

import (
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// latent is the loaded form of [arch.Latent]. A score is the inner product of a
// query with a key Up·c of the latent c, and so that of Upᵀ·query with c itself:
// no head's keys nor values are ever made of what is cached.
type latent struct {
	*arch.Latent
	queryDown, queryUp, down *linear // queryDown nil: none
	queryNorm, norm          *norm
	keys                     []*kernel.Matrix // by head [rank, key size]: brings a query to the latent
	values                   []*kernel.Matrix // by head [value size, rank]
}

func (l *loader) latent(a *arch.Attention, hidden int) *latent {
	d := a.Latent
	if d == nil {
		return nil
	}
	m := &latent{Latent: d, down: l.linear(d.Down, d.Rank+d.RopeSize, hidden), norm: l.norm(d.Norm, d.Rank)}
	in := hidden
	if m.queryDown = l.linear(d.QueryDown, d.QueryRank, hidden); m.queryDown != nil {
		m.queryNorm, in = l.norm(d.QueryNorm, d.QueryRank), d.QueryRank
	}
	m.queryUp = l.linear(d.QueryUp, a.Heads*(d.KeySize+d.RopeSize), in)
	if d.KeyUp != "" {
		for h := 0; h < a.Heads && l.err == nil; h++ {
			of := func(name string) arch.Linear {
				return arch.Linear{Weight: strings.ReplaceAll(name, "{head}", strconv.Itoa(h))}
			}
			if key, value := l.weight(of(d.KeyUp), d.Rank, d.KeySize), l.weight(of(d.ValueUp), d.ValueSize, d.Rank); l.err == nil {
				m.keys, m.values = append(m.keys, l.pack(key)), append(m.values, l.pack(value))
			}
		}
		return m
	}
	up := l.numbers(d.Up, a.Heads*(d.KeySize+d.ValueSize), d.Rank)
	for h := 0; h < a.Heads && l.err == nil; h++ {
		key := up.Slice(h*(d.KeySize+d.ValueSize), d.KeySize)
		value := up.Slice(h*(d.KeySize+d.ValueSize)+d.KeySize, d.ValueSize)
		key.Rows, key.Cols, key.RowStride, key.ColStride = key.Cols, key.Rows, key.ColStride, key.RowStride
		m.keys, m.values = append(m.keys, l.pack(key)), append(m.values, l.pack(value))
	}
	return m
}

// projectLatent writes for every node its queries, brought to the latent, then
// what is cached of it, which is its key and its value.
func (p *pass) projectLatent(layer int, l *latent) {
	a := &p.model.blocks[layer].Attention
	nodes, angles := len(p.Tokens), p.angles[a.Rope]
	input := p.input
	if l.queryDown != nil {
		p.product(&p.latent, input, l.queryDown)
		each(nodes, func(i int) {
			row := p.latent[i*l.QueryRank : (i+1)*l.QueryRank]
			l.queryNorm.apply(row, row)
		})
		input = p.latent
	}
	p.product(&p.queries, input, l.queryUp)
	p.product(&p.latent, p.input, l.down)

	// by head, so that each head's rows lie together: [heads, nodes, …]
	query, width := l.KeySize+l.RopeSize, a.Heads*a.HeadSize+a.Stored()
	gathered := size(&p.gathered, a.Heads*nodes*l.KeySize)
	brought := size(&p.expert, a.Heads*nodes*l.Rank)
	each(nodes, func(i int) {
		for h := range a.Heads {
			copy(gathered[(h*nodes+i)*l.KeySize:][:l.KeySize], p.queries[(i*a.Heads+h)*query:])
		}
	})
	p.perHead(l.keys, brought, gathered, nodes)

	rows := size(&p.qkv, nodes*width)
	each(nodes, func(i int) {
		row := rows[i*width : (i+1)*width]
		turn := func(x []float32) {
			if a.Rope != nil {
				half := a.Rope.Size / 2
				kernel.Rope(x, angles.cos[i*half:][:half], angles.sin[i*half:][:half], a.Rope.Interleaved)
			}
		}
		for h := range a.Heads {
			to := row[h*a.HeadSize : (h+1)*a.HeadSize]
			copy(to[:l.Rank], brought[(h*nodes+i)*l.Rank:])
			copy(to[l.Rank:], p.queries[(i*a.Heads+h)*query+l.KeySize:])
			turn(to[l.Rank:])
		}
		key := row[a.Heads*a.HeadSize:]
		copy(key, p.latent[i*a.HeadSize:])
		l.norm.apply(key[:l.Rank], key[:l.Rank])
		if l.Scale != 0 {
			kernel.Scale(key[:l.Rank], l.Scale)
		}
		turn(key[l.Rank:])
	})
}

// expandLatent makes each head's values of the latents that it gathered.
func (p *pass) expandLatent(a *arch.Attention, l *latent) {
	rows := p.rows()
	gathered := size(&p.gathered, a.Heads*rows*l.Rank)
	values := size(&p.expert, a.Heads*rows*l.ValueSize)
	each(rows, func(i int) {
		for h := range a.Heads {
			copy(gathered[(h*rows+i)*l.Rank:][:l.Rank], p.heads[(i*a.Heads+h)*a.HeadSize:])
		}
	})
	p.perHead(l.values, values, gathered, rows)
	heads := size(&p.heads, rows*a.OutputWidth())
	each(rows, func(i int) {
		for h := range a.Heads {
			copy(heads[(i*a.Heads+h)*l.ValueSize:][:l.ValueSize], values[(h*rows+i)*l.ValueSize:])
		}
	})
}

// perHead multiplies each head's rows of x [heads, rows, in] with its matrix.
func (p *pass) perHead(matrices []*kernel.Matrix, dst, x []float32, rows int) {
	calls := p.calls[:0]
	for h, w := range matrices {
		calls = append(calls, kernel.Call{Dst: dst[h*rows*w.Out:], X: x[h*rows*w.In:], Rows: rows, W: w})
	}
	kernel.Products(calls...)
	clear(calls)
	p.calls = calls
}
