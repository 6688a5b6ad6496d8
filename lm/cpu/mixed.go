package cpu

import (
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// mixed is attention whose queries and output projection are experts. Each expert
// that a token uses has one query head for each key: head j of key h, for a
// token's j-th expert, is query h*PerToken+j.
type mixed struct {
	route            mlp       // the router alone
	queries, outputs []*linear // by expert [key/value heads*head size, hidden] and the other way
	bias             []float32 // [hidden]; nil: none
}

func (l *loader) mixed(a *arch.Attention, hidden int) *mixed {
	e := a.Experts
	if e == nil {
		return nil
	}
	m := &mixed{route: mlp{MLP: &arch.MLP{Experts: e}, router: l.exactly(e.Router, e.Count, hidden)}, bias: l.optional(e.Bias, hidden)}
	width := a.KVHeads * a.HeadSize
	queries, outputs := l.source(a.Query, e.Count, width, hidden), l.source(a.Output, e.Count, hidden, width)
	for i := 0; i < e.Count && l.err == nil; i++ {
		m.queries, m.outputs = append(m.queries, l.expert(queries, i)), append(m.outputs, l.expert(outputs, i))
	}
	return m
}

// output reads the output projection that all tokens share; nil where experts have it.
func (l *loader) output(a *arch.Attention, hidden int) *linear {
	if a.Experts != nil || a.Heads == 0 {
		return nil
	}
	return l.linear(a.Output, hidden, a.OutputWidth())
}

// mixQueries writes the queries, keys and values of every node, the queries by
// the experts that it chooses. The choice is kept for the output.
func (p *pass) mixQueries(a *arch.Attention, b *block) {
	e, nodes, hidden := a.Experts, len(p.Tokens), p.model.decoder.Hidden
	chosen := p.choose(p.input, nodes, &b.mixed.route)
	p.mixed = append(p.mixed[:0], chosen...)
	groups, width := place(p.mixed, e.Count), a.KVHeads*a.HeadSize
	gathered, given := size(&p.gathered, len(chosen)*hidden), size(&p.expert, len(chosen)*width)
	each(nodes, func(i int) {
		for _, c := range p.mixed[i*e.PerToken : (i+1)*e.PerToken] {
			copy(gathered[c.row*hidden:(c.row+1)*hidden], p.input[i*hidden:])
		}
	})
	p.perGroup(groups, b.mixed.queries, given, gathered)
	p.product(&p.latent, p.input, b.queryKeyValue)
	all := size(&p.qkv, nodes*(a.Heads+2*a.KVHeads)*a.HeadSize)
	each(nodes, func(i int) {
		row := all[i*(a.Heads+2*a.KVHeads)*a.HeadSize:]
		for j, c := range p.mixed[i*e.PerToken : (i+1)*e.PerToken] {
			for h := range a.KVHeads {
				copy(row[(h*e.PerToken+j)*a.HeadSize:][:a.HeadSize], given[c.row*width+h*a.HeadSize:])
			}
		}
		copy(row[a.Heads*a.HeadSize:][:2*width], p.latent[i*2*width:])
	})
}

// mixOutput projects each expert's heads with its own matrix and adds them up,
// weighted, in the experts' order.
func (p *pass) mixOutput(a *arch.Attention, m *mixed) {
	e, rows, hidden, width := a.Experts, p.rows(), p.model.decoder.Hidden, a.KVHeads*a.HeadSize
	chosen := p.mixed
	if p.kept != nil {
		chosen = nil
		for _, node := range p.kept {
			chosen = append(chosen, p.mixed[node*e.PerToken:(node+1)*e.PerToken]...)
		}
	}
	groups := place(chosen, e.Count)
	gathered, given := size(&p.gathered, len(chosen)*width), size(&p.expert, len(chosen)*hidden)
	each(rows, func(r int) {
		for j, c := range chosen[r*e.PerToken : (r+1)*e.PerToken] {
			for h := range a.KVHeads {
				copy(gathered[c.row*width+h*a.HeadSize:][:a.HeadSize], p.heads[(r*a.Heads+h*e.PerToken+j)*a.HeadSize:])
			}
		}
	})
	p.perGroup(groups, m.outputs, given, gathered)
	sum := size(&p.sublayer, rows*hidden)
	each(rows, func(r int) {
		to := sum[r*hidden : (r+1)*hidden]
		clear(to)
		if m.bias != nil {
			copy(to, m.bias)
		}
		for _, c := range chosen[r*e.PerToken : (r+1)*e.PerToken] {
			kernel.AddScaled(to, given[c.row*hidden:], c.weight)
		}
	})
}

// perGroup multiplies the rows of each group with its expert's matrix.
func (p *pass) perGroup(groups []group, experts []*linear, dst, x []float32) {
	calls := p.calls[:0]
	for _, g := range groups {
		l := experts[g.expert]
		calls = append(calls, l.call(dst[g.from*l.weight.Out:], x[g.from*l.weight.In:], g.rows))
	}
	kernel.Products(calls...)
	clear(calls)
	p.calls = calls
}
