package cpu

import (
	"math"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// difference reads the λ of differential attention; 0 for other attention.
func (l *loader) difference(a *arch.Attention) float32 {
	d := a.Differential
	if d == nil {
		return 0
	}
	exponential := func(query, key string) float32 {
		q, k := l.vector(query, a.HeadSize), l.vector(key, a.HeadSize)
		sum := 0.0
		for i := range q {
			if l.err == nil {
				sum += float64(q[i]) * float64(k[i])
			}
		}
		return float32(math.Exp(sum))
	}
	return exponential(d.Query1, d.Key1) - exponential(d.Query2, d.Key2) + d.Initial
}

// subtract is attend for differential attention. Every head gathers the values of
// the first half of the key/value heads, then those of the second.
func (p *pass) subtract(layer int) {
	a := &p.model.blocks[layer].Attention
	rows, width, pairs := p.rows(), a.Heads*a.HeadSize, a.KVHeads/2
	both := size(&p.gathered, 2*rows*width)
	for side := range 2 {
		p.gather(layer, both[side*rows*width:(side+1)*rows*width], func(h int) int {
			if pairs == 0 { // one head, which belongs to both halves
				return h
			}
			return h%pairs + side*pairs
		})
	}
	heads := size(&p.heads, rows*width)
	lambda, norm := p.model.blocks[layer].difference, norm{Norm: a.Differential.Norm}
	each(rows, func(r int) {
		for h := range a.Heads / 2 {
			row := heads[r*width+2*h*a.HeadSize:][:2*a.HeadSize]
			for side := range 2 {
				of := both[(side*rows+r)*width:]
				to := row[side*a.HeadSize : (side+1)*a.HeadSize]
				copy(to, of[h*a.HeadSize:])
				kernel.AddScaled(to, of[(h+a.Heads/2)*a.HeadSize:], -lambda)
			}
			norm.apply(row, row)
			kernel.Scale(row, 1-a.Differential.Initial)
		}
	})
}
