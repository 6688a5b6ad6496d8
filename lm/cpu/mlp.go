package cpu

import (
	"cmp"
	"math"
	"slices"

	"github.com/steervec/steer/lm/cpu/kernel"
)

// mlp writes down(activation(gate(x))*up(x)) or down(activation(up(x))) of
// x [rows, hidden] into dst, or the mixture of experts.
func (p *pass) mlp(dst *[]float32, x []float32, rows int, m *mlp) {
	if m.router != nil {
		p.mixture(dst, x, rows, m)
		return
	}
	up := size(&p.up, rows*m.inner)
	kernel.Product(up, x, rows, m.up.weight, m.up.bias)
	inner := up
	if m.gate != nil {
		inner = size(&p.gate, rows*m.inner)
		kernel.Product(inner, x, rows, m.gate.weight, m.gate.bias)
	}
	each(rows, func(i int) {
		if m.gate != nil {
			kernel.ActivateGated(m.activation, inner[i*m.inner:(i+1)*m.inner], up[i*m.inner:])
		} else {
			kernel.Activate(m.activation, inner[i*m.inner:(i+1)*m.inner])
		}
	})
	kernel.Product(size(dst, rows*m.down.weight.Out), inner, rows, m.down.weight, m.down.bias)
}

// choice is a token's use of one expert.
type choice struct {
	row    int
	weight float32
}

// mixture runs each expert on the rows that chose it, gathered, and adds its
// weighted results (Shazeer et al. 2017). Experts add in their own order, so a
// row's bits do not depend on the others.
func (p *pass) mixture(dst *[]float32, x []float32, rows int, m *mlp) {
	hidden := p.model.Decoder.Hidden
	chosen := p.choose(x, rows, m)
	sum := size(dst, rows*hidden)
	clear(sum)
	for e := range m.experts {
		if len(chosen[e]) == 0 {
			continue
		}
		gathered := size(&p.gathered, len(chosen[e])*hidden)
		for i, c := range chosen[e] {
			copy(gathered[i*hidden:(i+1)*hidden], x[c.row*hidden:])
		}
		p.mlp(&p.expert, gathered, len(chosen[e]), &m.experts[e])
		each(len(chosen[e]), func(i int) {
			c := chosen[e][i]
			kernel.AddScaled(sum[c.row*hidden:(c.row+1)*hidden], p.expert[i*hidden:], c.weight)
		})
	}
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
			weight = float32(1 / (1 + math.Exp(-float64(gate[i]))))
		}
		kernel.AddScaled(sum[i*hidden:(i+1)*hidden], p.expert[i*hidden:], weight)
	})
}

// choose routes: for each expert, the rows that use it and with what weight,
// the softmax of the router's scores.
func (p *pass) choose(x []float32, rows int, m *mlp) [][]choice {
	count := len(m.experts)
	scores := make([]float32, rows*count)
	kernel.Product(scores, x, rows, m.router.weight, m.router.bias)
	chosen := make([][]choice, count)
	order := make([]int, count)
	for r := range rows {
		s := scores[r*count : (r+1)*count]
		kernel.Softmax(s)
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(s[b], s[a]) })
		used := order[:m.perToken]
		total := float32(1)
		if m.normalize {
			total = 0
			for _, e := range used {
				total += s[e]
			}
		}
		for _, e := range used {
			chosen[e] = append(chosen[e], choice{r, s[e] / total})
		}
	}
	return chosen
}
