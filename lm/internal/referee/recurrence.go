package referee

import (
	"math"
	"slices"

	"github.com/steervec/steer/lm/arch"
)

// recurrence is [arch.Recurrence] with its weights. What is stored group by group is
// kept role by role.
type recurrence struct {
	*arch.Recurrence
	parts                 [arch.Roles]*linear       // nil: the recurrence lacks it
	taps                  map[arch.Role][][]float64 // [elements of the part][taps]
	bias                  map[arch.Role][]float64
	rates, stepBias, skip []float64 // [heads]
	normWeight, normBias  []float64 // [width], or of a part
	output                *linear
}

// remembered is a state: the inputs of the convolution at the tokens before, the
// latest last, and a matrix for each head.
type remembered struct {
	inputs map[arch.Role][][]float64
	memory [][][]float64 // [heads][key size][value size]
}

func (l *loader) recurrence(d *arch.Recurrence, hidden int) *recurrence {
	if d == nil {
		return nil
	}
	r := &recurrence{Recurrence: d, output: l.linear(d.Output, hidden, d.Width), taps: map[arch.Role][][]float64{}, bias: map[arch.Role][]float64{}}
	for _, in := range d.In {
		group := 0
		for _, p := range in.Parts {
			group += p.Size
		}
		all, at := l.linear(in.Linear, in.Groups*group, hidden), 0
		for _, p := range in.Parts {
			var outputs []int
			for g := range in.Groups {
				outputs = append(outputs, numbers(g*group+at, p.Size)...)
			}
			r.parts[p.Role] = all.part(outputs...)
			at += p.Size
		}
	}
	if c := d.Convolution; c != nil {
		channels := d.Channels()
		weights := slices.Collect(slices.Chunk(l.tensor(c.Weight, channels, 1, c.Taps), c.Taps))
		bias := l.optional(c.Bias, channels)
		for _, role := range c.Order {
			n := d.Size(role)
			r.taps[role], weights = weights[:n], weights[n:]
			if bias != nil {
				r.bias[role], bias = bias[:n], bias[n:]
			}
		}
	}
	if n := d.Norm; n != nil {
		width := d.Width
		if d.NormShared {
			width /= max(d.NormParts, 1)
		}
		r.normWeight, r.normBias = l.optional(n.Weight, width), l.optional(n.Bias, width)
	}
	if m := d.Memory; m != nil {
		r.rates, r.stepBias, r.skip = l.optional(m.Rates, m.Heads), l.optional(m.Bias, m.Heads), l.optional(m.Skip, m.Heads)
	}
	return r
}

// empty is the state of no tokens.
func (r *recurrence) empty() *remembered {
	s := &remembered{inputs: map[arch.Role][][]float64{}}
	if r.Convolution != nil {
		for role := range r.taps {
			for range r.Convolution.Taps - 1 {
				s.inputs[role] = append(s.inputs[role], make([]float64, r.Size(role)))
			}
		}
	}
	if m := r.Memory; m != nil {
		for range m.Heads {
			s.memory = append(s.memory, make([][]float64, m.KeySize))
			for i := range m.KeySize {
				s.memory[len(s.memory)-1][i] = make([]float64, m.ValueSize)
			}
		}
	}
	return s
}

// clone copies a state that another token changes.
func (s *remembered) clone() *remembered {
	c := &remembered{inputs: map[arch.Role][][]float64{}}
	for role, rows := range s.inputs {
		c.inputs[role] = slices.Clone(rows)
	}
	for _, matrix := range s.memory {
		var rows [][]float64
		for _, row := range matrix {
			rows = append(rows, slices.Clone(row))
		}
		c.memory = append(c.memory, rows)
	}
	return c
}

// recurrence gives what a token makes of what its path remembers, which it changes.
func (t *token) recurrence(layer int, r *recurrence, x []float64) []float64 {
	var parts [arch.Roles][]float64
	for _, in := range r.In {
		for _, p := range in.Parts {
			parts[p.Role] = scaled(t.model.product(r.parts[p.Role], x), orOne(p.Scale))
		}
	}
	if r.Memory == nil {
		for i, v := range parts[arch.Key] {
			parts[arch.Value][i] *= v
		}
	}
	for role := range arch.Gate { // queries, keys, values
		parts[role] = r.convolved(role, t.states[layer], parts[role])
		if r.Activation != "" && (r.Memory != nil || role == arch.Value) {
			for i, v := range parts[role] {
				parts[role][i] = activated(r.Activation, v)
			}
		}
	}
	y := parts[arch.Value]
	if r.Memory != nil {
		y = nil
		for h := range r.Memory.Heads {
			y = append(y, r.head(h, t.states[layer], parts)...)
		}
	}
	if r.NormBeforeGate {
		y = r.normed(y)
	}
	for i, v := range parts[arch.Gate] {
		if r.GateActivation != "" {
			v = activated(r.GateActivation, v)
		}
		y[i] *= v
	}
	if !r.NormBeforeGate {
		y = r.normed(y)
	}
	if t.model.blocks[layer].Attention.Heads == 0 {
		t.reach(layer, arch.AttnHeads, y)
	}
	return t.model.product(r.output, y)
}

// convolved is the convolution of a part with what it was at the tokens before.
func (r *recurrence) convolved(role arch.Role, s *remembered, x []float64) []float64 {
	taps := r.taps[role]
	if taps == nil {
		return x
	}
	all := append(slices.Clone(s.inputs[role]), x)
	s.inputs[role] = all[1:]
	y := make([]float64, len(x))
	for i := range y {
		for t, w := range taps[i] {
			y[i] += w * all[t][i]
		}
		if bias := r.bias[role]; bias != nil {
			y[i] += bias[i]
		}
	}
	return y
}

// head takes one head's matrix on and reads it.
func (r *recurrence) head(h int, s *remembered, parts [arch.Roles][]float64) []float64 {
	m, matrix := r.Memory, s.memory[h]
	key := h * m.KeyHeads / m.Heads
	of := func(role arch.Role, n, size int) []float64 { return slices.Clone(parts[role][n*size : (n+1)*size]) }
	q, k, v := of(arch.Query, key, m.KeySize), of(arch.Key, key, m.KeySize), of(arch.Value, h, m.ValueSize)
	if m.UnitKeys {
		q, k = scaled(q, 1/math.Sqrt(dot(q, q)+1e-6)), scaled(k, 1/math.Sqrt(dot(k, k)+1e-6))
	}
	var fade float64
	written := slices.Clone(v)
	step := 1.0
	if m.Rates == "" {
		fade = math.Exp(-float64(m.Slopes[h]))
	} else {
		step = softplus(parts[arch.Step][h] + r.stepBias[h])
		fade = math.Exp(-math.Exp(r.rates[h]) * step)
	}
	for i, row := range matrix {
		matrix[i] = scaled(row, fade)
		if m.Delta {
			add(written, matrix[i], -k[i])
		}
	}
	if m.StepWrites {
		written = scaled(written, step)
	}
	if strength := parts[arch.Strength]; strength != nil {
		written = scaled(written, sigmoid(strength[h]))
	}
	y := make([]float64, m.ValueSize)
	for i, row := range matrix {
		add(row, written, k[i])
		add(y, row, q[i]*orOne(m.Scale))
	}
	if r.skip != nil {
		add(y, v, r.skip[h])
	}
	return y
}

// normed is the norm of a result, part by part.
func (r *recurrence) normed(y []float64) []float64 {
	if r.Norm == nil {
		return y
	}
	var out []float64
	n := r.Width / max(r.NormParts, 1)
	for at := 0; at < len(y); at += n {
		one := &norm{Norm: r.Norm, weight: r.normWeight, bias: r.normBias}
		if !r.NormShared {
			if one.weight != nil {
				one.weight = r.normWeight[at : at+n]
			}
			if one.bias != nil {
				one.bias = r.normBias[at : at+n]
			}
		}
		out = append(out, one.of(y[at:at+n])...)
	}
	return out
}
