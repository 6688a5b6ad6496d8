package random

import (
	"slices"
	"strings"

	"github.com/steervec/steer/lm/arch"
)

func (d *drawing) mlp(name string) arch.MLP {
	m := d.dense(name)
	if !d.note(d.chance(30), "mlp: experts") {
		return m
	}
	e := d.experts(name)
	for _, part := range []*arch.Linear{&m.Gate, &m.Up, &m.Down, &m.GateUp} {
		d.ofExperts(part, e.Count)
	}
	if e.Groups == 0 && d.note(d.chance(25), "experts: idle ones") {
		e.Idle = 1 + d.IntN(3)
		e.Router = d.linear(name+"router", e.Choices(), d.Decoder.Hidden)
	}
	if e.Scoring != arch.SparseMixer && d.note(d.chance(30), "experts: corrected scores") {
		e.Correction = d.small(name+"correction", 0, oneOf(d, []int{e.Choices()}, []int{1, e.Choices()})...)
	}
	e.WeighInput = d.note(d.chance(25), "experts: the input is weighed")
	if d.note(d.chance(50), "experts: shared") {
		shared := d.dense(name + "shared.")
		e.Shared = &shared
		if d.note(d.chance(50), "experts: shared behind a gate") {
			e.SharedGate = d.linear(name+"shared_gate", 1, d.Decoder.Hidden)
		}
	}
	m.Experts = e
	return m
}

func (d *drawing) dense(name string) arch.MLP {
	hidden := d.Decoder.Hidden
	m := arch.MLP{Activation: oneOf(d, arch.SiLU, arch.GELU, arch.GELUTanh, arch.ReLU, arch.ReLU2, arch.QuickGELU, arch.LearnedIELU), Inner: oneOf(d, 6, 16, 30, 64, 100)}
	d.note(true, "mlp: %s", m.Activation)
	if m.Activation == arch.LearnedIELU {
		constant := func(of string, centre float64) string {
			return d.small(name+of, centre, oneOf(d, []int{}, []int{1})...)
		}
		m.XIELU = &arch.XIELU{Positive: constant("positive", 0.5), Negative: constant("negative", 0.5), Beta: constant("beta", 0.5), Epsilon: constant("epsilon", 0)}
		// The function jumps at zero by about this constant. It is so small that rounding
		// to the other side is no difference, and large enough that it matters.
		epsilon := d.tensors[m.XIELU.Epsilon]
		epsilon.centre, epsilon.spread = -0.01, 0
		d.tensors[m.XIELU.Epsilon] = epsilon
	}
	m.Down = d.linear(name+"down", hidden, m.Inner)
	if d.note(d.chance(15), "mlp: scaled") {
		m.Scale = d.between(0.3, 1.5)
	}
	switch {
	case !d.note(d.chance(60), "mlp: gated"):
		m.Up = d.linear(name+"up", m.Inner, hidden)
		return m
	case d.note(d.chance(40), "mlp: gate and up fused"):
		m.GateUp = d.linear(name+"gate_up", 2*m.Inner, hidden)
		m.Alternating = d.note(d.chance(40), "mlp: gate and up alternate")
	default:
		m.Gate, m.Up = d.linear(name+"gate", m.Inner, hidden), d.linear(name+"up", m.Inner, hidden)
	}
	if d.note(d.chance(15), "mlp: sparse gates") {
		m.Sparsity = d.between(0.1, 0.9)
	}
	if d.note(d.chance(20), "mlp: limited") {
		m.GateLimit = d.between(0.3, 2)
	}
	if d.note(d.chance(15), "mlp: gate scaled") {
		m.GateScale = d.between(0.3, 1.5)
	}
	if d.note(d.chance(20), "mlp: up with an offset") {
		m.UpOffset = d.between(-1, 1)
	}
	return m
}

// experts draws how a token chooses its experts.
func (d *drawing) experts(name string) *arch.Experts {
	e := &arch.Experts{Count: 2 + d.IntN(5), Scoring: oneOf(d, arch.Softmax, arch.Softmax, arch.Sigmoid, arch.SparseMixer)}
	d.note(true, "experts: scoring %d", e.Scoring)
	if e.Scoring != arch.SparseMixer {
		e.Normalize = d.note(d.chance(50), "experts: normalised")
		if d.note(d.chance(25), "experts: scaled") {
			e.Scale = d.between(0.5, 2)
		}
		if d.note(d.chance(30), "experts: in groups") {
			e.GroupByTwo = d.note(d.chance(50), "experts: groups by two")
			e.Groups = oneOf(d, 2, 3, 4)
			e.GroupsPerToken = 1 + d.IntN(e.Groups)
			e.Count = e.Groups * oneOf(d, 2, 3)
		}
	}
	e.PerToken = 1 + d.IntN(e.Count)
	if e.Groups > 0 {
		e.PerToken = 1 + d.IntN(e.GroupsPerToken*e.Count/e.Groups)
	}
	e.Router = d.linear(name+"router", e.Count, d.Decoder.Hidden)
	if d.note(d.chance(25), "experts: a bias of all") {
		e.Bias = d.vector(name+"bias", d.Decoder.Hidden, 0)
	}
	return e
}

// ofExperts makes a part one of each expert: tensors of their own, or one for
// all, or one of numbers of four bits.
func (d *drawing) ofExperts(part *arch.Linear, experts int) {
	if part.Weight == "" {
		return
	}
	if d.note(d.chance(50), "experts: stacked") {
		d.stack(part, experts)
		return
	}
	for _, full := range []*string{&part.Weight, &part.Bias} {
		if *full == "" {
			continue
		}
		t := d.tensors[*full]
		delete(d.tensors, *full)
		name := strings.TrimPrefix(*full, d.prefix) + ".{expert}"
		d.each(name, "{expert}", experts, t)
		*full = d.prefix + name
	}
}

func (d *drawing) stack(part *arch.Linear, experts int) {
	if part.Bias != "" {
		t := d.tensors[part.Bias]
		t.shape = slices.Concat([]int{experts}, t.shape)
		d.tensors[part.Bias] = t
	}
	t := d.tensors[part.Weight]
	out, in := t.shape[0], t.shape[1]
	if part.Transposed {
		out, in = in, out
	}
	if in%32 == 0 && d.note(d.chance(40), "experts: numbers of four bits") {
		delete(d.tensors, part.Weight)
		d.tensors[part.Weight+"_blocks"] = tensor{shape: []int{experts, out, in / 32, 16}, bytes: 256}
		d.tensors[part.Weight+"_scales"] = tensor{shape: []int{experts, out, in / 32}, bytes: 3, lowest: 121}
		return
	}
	if d.note(d.chance(40), "experts: stacked in two dimensions") {
		t.shape = []int{experts * t.shape[0], t.shape[1]}
	} else {
		t.shape = slices.Concat([]int{experts}, t.shape)
	}
	d.tensors[part.Weight] = t
}
