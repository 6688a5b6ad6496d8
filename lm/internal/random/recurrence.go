package random

import (
	"fmt"
	"slices"

	"github.com/steervec/steer/lm/arch"
)

// recurrence draws a mixer with a state: a short convolution, or a memory.
func (d *drawing) recurrence() *arch.Recurrence {
	r := &arch.Recurrence{}
	if d.note(d.chance(25), "recurrence: convolution alone") {
		r.Width = oneOf(d, 6, 20, 48)
		d.project(r, arch.Part{Role: arch.Key, Size: r.Width}, arch.Part{Role: arch.Value, Size: r.Width})
		d.convolution(r, arch.Value)
	} else {
		d.memory(r)
	}
	if r.Size(arch.Gate) > 0 {
		r.GateActivation = oneOf(d, "", arch.SiLU, arch.Logistic, arch.GELU)
		d.note(true, "recurrence: gate %q", r.GateActivation)
	}
	if d.note(d.chance(50), "recurrence: normalised") {
		r.NormParts = oneOf(d, 0, 2)
		if m := r.Memory; m != nil && d.note(d.chance(40), "recurrence: norm by head") {
			r.NormParts = m.Heads
		}
		width := r.Width
		if r.NormShared = d.note(d.chance(50), "recurrence: parts share the norm"); r.NormShared {
			width /= max(r.NormParts, 1)
		}
		r.Norm, r.NormBeforeGate = d.norm("recurrence.norm", width), d.note(d.chance(50), "recurrence: norm before the gate")
	}
	r.Output = d.linear("recurrence.out", d.Decoder.Hidden, r.Width)
	return r
}

// project gives a recurrence its projections, of these parts and maybe a gate, in
// one tensor or two.
func (d *drawing) project(r *arch.Recurrence, parts ...arch.Part) {
	if d.note(d.chance(70), "recurrence: gated") {
		parts = append(parts, arch.Part{Role: arch.Gate, Size: r.Width})
	}
	for i := range parts {
		if d.note(d.chance(15), "recurrence: a part is scaled") {
			parts[i].Scale = d.between(0.3, 1.5)
		}
	}
	d.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	tensors := [][]arch.Part{parts}
	if d.note(d.chance(50), "recurrence: two projections") {
		at := 1 + d.IntN(len(parts)-1)
		tensors = [][]arch.Part{parts[:at], parts[at:]}
	}
	for i, parts := range tensors {
		in := arch.Projection{Groups: 1, Parts: parts}
		if m := r.Memory; m != nil && d.note(d.chance(40), "recurrence: projected in groups") {
			in.Groups = m.KeyHeads
		}
		width := 0
		for i := range parts {
			width += parts[i].Size
			parts[i].Size /= in.Groups
		}
		in.Linear = d.linear(fmt.Sprintf("recurrence.in%d", i), width, d.Decoder.Hidden)
		r.In = append(r.In, in)
	}
}

func (d *drawing) convolution(r *arch.Recurrence, over ...arch.Role) {
	c := &arch.Convolution{Taps: 1 + d.IntN(5), Order: slices.Clone(over)}
	d.Shuffle(len(over), func(i, j int) { c.Order[i], c.Order[j] = c.Order[j], c.Order[i] })
	c.Weight = d.small("recurrence.conv", 0.3, r.Channels(), 1, c.Taps)
	if d.note(d.chance(50), "recurrence: convolution with bias") {
		c.Bias = d.vector("recurrence.conv_bias", r.Channels(), 0)
	}
	r.Convolution = c
	if d.note(d.chance(70), "recurrence: activated") {
		r.Activation = oneOf(d, arch.SiLU, arch.GELU, arch.ReLU)
	}
}

func (d *drawing) memory(r *arch.Recurrence) {
	m := &arch.Memory{KeyHeads: oneOf(d, 1, 2, 3), KeySize: oneOf(d, 2, 5, 8, 16), ValueSize: oneOf(d, 2, 4, 10, 16)}
	m.Heads = m.KeyHeads * oneOf(d, 1, 2, 3)
	r.Memory, r.Width = m, m.Heads*m.ValueSize
	parts := []arch.Part{{Role: arch.Query, Size: m.KeyHeads * m.KeySize}, {Role: arch.Key, Size: m.KeyHeads * m.KeySize}, {Role: arch.Value, Size: r.Width}}
	if d.note(d.chance(70), "memory: fades by steps") {
		parts = append(parts, arch.Part{Role: arch.Step, Size: m.Heads})
		m.Rates, m.Bias = d.vector("recurrence.rates", m.Heads, 0), d.vector("recurrence.step_bias", m.Heads, 0)
		m.StepWrites = d.note(d.chance(50), "memory: steps write")
	} else {
		for range m.Heads {
			m.Slopes = append(m.Slopes, d.between(0, 0.9))
		}
	}
	// A key that is not of length 1 would make the delta rule overshoot and grow.
	m.UnitKeys = d.note(d.chance(50), "memory: unit keys")
	if m.UnitKeys && !m.StepWrites && d.note(d.chance(60), "memory: delta rule") {
		m.Delta = true
	}
	if d.note(d.chance(50), "memory: strengths") {
		parts = append(parts, arch.Part{Role: arch.Strength, Size: m.Heads})
	}
	if d.note(d.chance(50), "memory: queries are scaled") {
		m.Scale = d.between(0.2, 1)
	}
	if d.note(d.chance(40), "memory: values are added") {
		m.Skip = d.vector("recurrence.skip", m.Heads, 0.5)
	}
	d.project(r, parts...)
	if d.note(d.chance(60), "recurrence: convolved") {
		d.convolution(r, arch.Query, arch.Key, arch.Value)
	}
}
