package cpu

import (
	"math"

	"github.com/steervec/steer/lm/cpu/kernel"
)

// mlp writes down(activation(gate(x))*up(x)) or down(activation(up(x))) of
// x [rows, hidden] into dst, or the mixture of experts.
func (p *pass) mlp(dst *[]float32, x []float32, rows int, m *mlp) {
	if m.router != nil {
		p.mixture(dst, x, rows, m)
		return
	}
	p.experts([]share{{m, 0, rows}}, size(dst, rows*m.down.weight.Out), x)
}

// share is the part of some rows that one dense MLP computes.
type share struct {
	*mlp
	from, rows int
}

// experts computes MLPs of one shape, each on its own rows of x [rows, hidden],
// into the same rows of dst. All their products go side by side.
func (p *pass) experts(shares []share, dst, x []float32) {
	first := shares[0].mlp
	hidden, inner := first.up.weight.In, first.inner
	last := shares[len(shares)-1]
	rows := last.from + last.rows
	up := size(&p.up, rows*inner)
	gate := up
	if first.gate != nil {
		gate = size(&p.gate, rows*inner)
	}
	calls := p.calls[:0]
	for _, s := range shares {
		in, of := x[s.from*hidden:], s.from*inner
		if first.gate != nil {
			calls = append(calls, s.gate.call(gate[of:], in, s.rows))
		}
		calls = append(calls, s.up.call(up[of:], in, s.rows))
	}
	kernel.Products(calls...)
	each(rows, func(i int) {
		first.activate(gate[i*inner:(i+1)*inner], up[i*inner:(i+1)*inner])
	})
	calls = calls[:0]
	for _, s := range shares {
		calls = append(calls, s.down.call(dst[s.from*s.down.weight.Out:], gate[s.from*inner:], s.rows))
	}
	kernel.Products(calls...)
	clear(calls)
	p.calls = calls
	if first.Scale != 0 {
		each(rows, func(i int) { kernel.Scale(dst[i*hidden:(i+1)*hidden], first.Scale) })
	}
}

// activate turns a row of the hidden layer, gate and up, into what the last
// product reads, in place of the gate. Without a gate both are one.
func (m *mlp) activate(gate, up []float32) {
	if m.GateScale != 0 {
		kernel.Scale(gate, m.GateScale)
	}
	if m.Sparsity > 0 {
		cut(gate, m.cutoff)
	}
	if m.GateLimit > 0 {
		kernel.Clamp(gate, float32(math.Inf(-1)), m.GateLimit)
		kernel.Clamp(up, -m.GateLimit, m.GateLimit)
	}
	if m.UpOffset != 0 {
		for i := range up {
			up[i] += m.UpOffset
		}
	}
	switch {
	case m.xielu != nil:
		m.xielu.Activate(gate)
		if m.gate != nil {
			for i, v := range up {
				gate[i] *= v
			}
		}
	case m.gate != nil:
		kernel.ActivateGated(m.activation, gate, up)
	default:
		kernel.Activate(m.activation, up)
	}
}

// cut takes from a row its mean and so many of its deviations, and closes what is
// below zero.
func cut(row []float32, deviations float64) {
	mean, squares := 0.0, 0.0
	for _, v := range row {
		mean += float64(v)
	}
	mean /= float64(len(row))
	for _, v := range row {
		squares += (float64(v) - mean) * (float64(v) - mean)
	}
	limit := float32(mean + deviations*math.Sqrt(squares/float64(len(row))))
	for i, v := range row {
		row[i] = max(v-limit, 0)
	}
}

func (l *linear) call(dst, x []float32, rows int) kernel.Call {
	return kernel.Call{Dst: dst, X: x, Rows: rows, W: l.weight, Bias: l.bias}
}

// choice is a token's use of one expert.
type choice struct {
	expert int
	weight float32
	row    int // among the rows that are gathered for the experts
}

// mixture gathers the rows that chose each expert, runs the experts on theirs,
// and adds up what they give, weighted (Shazeer et al. 2017). Experts add in
// their own order, so a row's bits do not depend on the others.
func (p *pass) mixture(dst *[]float32, x []float32, rows int, m *mlp) {
	hidden, perToken := p.model.decoder.Hidden, m.Experts.PerToken
	chosen := p.choose(x, rows, m)
	var shares []share
	for _, g := range place(chosen, m.Experts.Choices()) {
		if g.expert < m.Experts.Count { // the others give what they read
			shares = append(shares, share{&m.experts[g.expert], g.from, g.rows})
		}
	}
	gathered, given := size(&p.gathered, len(chosen)*hidden), size(&p.expert, len(chosen)*hidden)
	each(rows, func(r int) {
		for _, c := range chosen[r*perToken : (r+1)*perToken] {
			row := gathered[c.row*hidden : (c.row+1)*hidden]
			copy(row, x[r*hidden:])
			if m.Experts.WeighInput {
				kernel.Scale(row, c.weight)
			}
		}
	})
	if len(shares) > 0 {
		p.experts(shares, given, gathered)
	}
	sum := size(dst, rows*hidden)
	each(rows, func(r int) {
		to := sum[r*hidden : (r+1)*hidden]
		clear(to)
		if m.bias != nil {
			copy(to, m.bias)
		}
		for _, c := range chosen[r*perToken : (r+1)*perToken] {
			weight := c.weight
			if m.Experts.WeighInput {
				weight = 1
			}
			from := given
			if c.expert >= m.Experts.Count {
				from = gathered
			}
			kernel.AddScaled(to, from[c.row*hidden:], weight)
		}
	})
	if m.shared == nil {
		return
	}
	p.mlp(&p.expert, x, rows, m.shared)
	gate := make([]float32, rows)
	if m.sharedGate != nil {
		kernel.Product(gate, x, rows, m.sharedGate.weight, m.sharedGate.bias)
	}
	each(rows, func(i int) {
		weight := float32(1)
		if m.sharedGate != nil {
			weight = sigmoid(gate[i])
		}
		kernel.AddScaled(sum[i*hidden:(i+1)*hidden], p.expert[i*hidden:], weight)
	})
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

// group is the rows of one expert among those that are gathered.
type group struct{ expert, from, rows int }

// place gives each choice its row among the gathered ones, expert by expert, and
// returns the groups of the experts that were chosen.
func place(chosen []choice, experts int) []group {
	counts := make([]int, experts)
	for _, c := range chosen {
		counts[c.expert]++
	}
	var groups []group
	next, from := make([]int, experts), 0
	for e, n := range counts {
		next[e] = from
		if n > 0 {
			groups = append(groups, group{e, from, n})
		}
		from += n
	}
	for i := range chosen {
		c := &chosen[i]
		c.row = next[c.expert]
		next[c.expert]++
	}
	return groups
}
