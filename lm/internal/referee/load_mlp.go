package referee

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
)

func (l *loader) mlp(p *arch.MLP, hidden int) mlp {
	e := p.Experts
	if e == nil {
		return l.dense(p, 1, hidden)[0]
	}
	m := mlp{MLP: p, router: l.router(e, hidden), experts: l.dense(p, e.Count, hidden)}
	if e.Shared != nil {
		shared := l.mlp(e.Shared, hidden)
		m.shared, m.sharedGate = &shared, l.linear(e.SharedGate, 1, hidden)
	}
	return m
}

func (l *loader) router(e *arch.Experts, hidden int) router {
	r := router{Experts: e, product: l.linear(e.Router, e.Choices(), hidden), bias: l.optional(e.Bias, hidden)}
	if t, ok := l.find(e.Correction); ok && len(t.Shape) == 2 {
		r.correction = l.tensor(e.Correction, 1, e.Choices())
	} else {
		r.correction = l.optional(e.Correction, e.Choices())
	}
	return r
}

// dense reads MLPs of one shape: one, or all experts of a mixture.
func (l *loader) dense(p *arch.MLP, count, hidden int) []mlp {
	read := func(part arch.Linear, out, in int) []*linear {
		if p.Experts != nil {
			return l.experts(part, count, out, in)
		}
		return []*linear{l.linear(part, out, in)}
	}
	all := make([]mlp, count)
	down := read(p.Down, hidden, p.Inner)
	gate, up, both := read(p.Gate, p.Inner, hidden), read(p.Up, p.Inner, hidden), read(p.GateUp, 2*p.Inner, hidden)
	constants := l.constants(p.XIELU)
	for i := range all {
		all[i] = mlp{MLP: p, ielu: constants, down: down[i], gate: gate[i], up: up[i]}
		if both[i] == nil {
			continue
		}
		gates, ups := numbers(0, p.Inner), numbers(p.Inner, p.Inner)
		if p.Alternating {
			for n := range p.Inner {
				gates[n], ups[n] = 2*n, 2*n+1
			}
		}
		all[i].gate, all[i].up = both[i].part(gates...), both[i].part(ups...)
	}
	return all
}

func (l *loader) constants(x *arch.XIELU) *ielu {
	if x == nil {
		return nil
	}
	return &ielu{l.scalar(x.Positive), l.scalar(x.Negative), l.scalar(x.Beta), l.scalar(x.Epsilon)}
}

// experts reads a part of every expert: tensors of their own, or one for all.
// Those of a part that is absent are nil.
func (l *loader) experts(part arch.Linear, count, out, in int) []*linear {
	all := make([]*linear, count)
	if part.Weight == "" {
		return all
	}
	if strings.Contains(part.Weight, "{expert}") {
		for i := range all {
			one := part
			one.Weight = strings.ReplaceAll(part.Weight, "{expert}", strconv.Itoa(i))
			one.Bias = strings.ReplaceAll(part.Bias, "{expert}", strconv.Itoa(i))
			all[i] = l.linear(one, out, in)
		}
		return all
	}
	rows := l.stacked(&part, count, out, in)
	var biases [][]float64
	if part.Bias != "" {
		biases = l.matrix(part.Bias, count, out)
	}
	for i := range all {
		n := len(rows) / count
		all[i] = l.made(part, rows[i*n:(i+1)*n], nil)
		if biases != nil {
			all[i].bias = biases[i]
		}
	}
	return all
}

// stacked reads the rows of all experts, one expert after the other. Those of
// MXFP4 are never transposed.
func (l *loader) stacked(part *arch.Linear, count, out, in int) [][]float64 {
	height, width := out, in
	if part.Transposed {
		height, width = in, out
	}
	t, ok := l.find(part.Weight)
	if _, blocks := l.find(part.Weight + "_blocks"); blocks && !ok {
		part.Transposed = false
		return l.fourBits(part.Weight, count, out, in)
	}
	if len(t.Shape) == 2 {
		return l.matrix(part.Weight, count*height, width)
	}
	return slices.Collect(slices.Chunk(l.tensor(part.Weight, count, height, width), width))
}

// fourBits reads MXFP4 (Open Compute Project 2023, section 5): blocks of 32
// numbers that share a power of two, each with a sign, two bits of exponent, whose
// bias is 1, and one of fraction. A byte holds two, the lower half first.
func (l *loader) fourBits(name string, count, out, in int) [][]float64 {
	const together = 32
	numbers, _ := l.find(name + "_blocks")
	scales, _ := l.find(name + "_scales")
	n := count * out * in
	if len(numbers.Data) != n/2 || len(scales.Data) != n/together {
		if l.err == nil {
			l.err = fmt.Errorf("tensor %q in blocks has %d and %d bytes", name, len(numbers.Data), len(scales.Data))
		}
		return slices.Collect(slices.Chunk(make([]float64, n), in))
	}
	values := make([]float64, n)
	for i := range values {
		four := int(numbers.Data[i/2]) >> (i % 2 * 4) & 15
		fraction, exponent := float64(four&1)/2, four>>1&3
		if exponent == 0 { // below the normal numbers
			exponent = 1
		} else {
			fraction++
		}
		values[i] = math.Ldexp(fraction, exponent-1+int(scales.Data[i/together])-127)
		if four&8 != 0 {
			values[i] = -values[i]
		}
	}
	l.parameters += n
	return slices.Collect(slices.Chunk(values, in))
}
