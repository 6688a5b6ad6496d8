package cpu

import (
	"math"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// mlp reads a dense MLP or a mixture.
func (l *loader) mlp(p *arch.MLP, hidden int) mlp {
	m := mlp{MLP: p, inner: p.Inner, activation: activations[p.Activation], cutoff: p.Cutoff()}
	if _, known := activations[p.Activation]; !known && p.XIELU == nil {
		l.fail("the activation %q lacks its constants", p.Activation)
	}
	if p.XIELU != nil {
		m.xielu = l.xielu(p.XIELU)
	}
	e := p.Experts
	if e == nil {
		l.dense(&m, l.sources(p, 0, hidden), 0)
		return m
	}
	m.router = l.exactly(e.Router, e.Choices(), hidden)
	m.correction = l.correction(e.Correction, e.Choices())
	m.bias = l.optional(e.Bias, hidden)
	sources := l.sources(p, e.Count, hidden)
	for i := 0; i < e.Count && l.err == nil; i++ {
		one := mlp{MLP: p, inner: p.Inner, activation: m.activation, xielu: m.xielu, cutoff: m.cutoff}
		l.dense(&one, sources, i)
		m.experts = append(m.experts, one)
	}
	if e.Shared != nil {
		shared := l.mlp(e.Shared, hidden)
		m.shared = &shared
		m.sharedGate = l.exactly(e.SharedGate, 1, hidden)
	}
	return m
}

// sources are where the parts of MLPs of one shape are read from.
type sources struct{ gate, up, down, gateUp source }

func (l *loader) sources(p *arch.MLP, count, hidden int) sources {
	return sources{
		l.source(p.Gate, count, p.Inner, hidden), l.source(p.Up, count, p.Inner, hidden),
		l.source(p.Down, count, hidden, p.Inner), l.source(p.GateUp, count, 2*p.Inner, hidden),
	}
}

// dense packs the MLP of one expert.
func (l *loader) dense(m *mlp, from sources, expert int) {
	m.gate, m.up, m.down = l.expert(from.gate, expert), l.expert(from.up, expert), l.expert(from.down, expert)
	if from.gateUp == nil {
		return
	}
	both := from.gateUp(expert)
	if l.err == nil {
		m.gate, m.up = l.half(both, m.inner, m.Alternating, 0), l.half(both, m.inner, m.Alternating, 1)
	}
}

// source gives the stored form of a part by the number of the expert; nil: the
// part is absent.
type source func(expert int) stored

// stored is a linear as the checkpoint has it.
type stored struct {
	weight kernel.View // [out, in]
	bias   []float32   // [out]; nil: none
}

// half packs the first or the second half of the rows, or every other row.
func (l *loader) half(s stored, n int, alternating bool, which int) *linear {
	v, bias := s.weight, s.bias
	if !alternating {
		v = v.Slice(which*n, n)
		if bias != nil {
			bias = bias[which*n : (which+1)*n]
		}
		return &linear{l.pack(v), bias}
	}
	var every []float32
	for i := which; i < len(bias); i += 2 {
		every = append(every, bias[i])
	}
	return &linear{l.pack(v.Every(which, 2, n)), every}
}

func (l *loader) expert(from source, expert int) *linear {
	if from == nil {
		return nil
	}
	s := from(expert)
	if l.err != nil {
		return nil
	}
	return &linear{l.pack(s.weight), s.bias}
}

// source finds where the parts of count experts are: under a name for each, or
// in one tensor for all. count 0 is a dense MLP, which is one expert.
func (l *loader) source(part arch.Linear, count, out, in int) source {
	if part.Weight == "" {
		return nil
	}
	if count == 0 || strings.Contains(part.Weight, "{expert}") {
		return func(expert int) stored {
			one := part
			one.Weight = strings.ReplaceAll(part.Weight, "{expert}", strconv.Itoa(expert))
			one.Bias = strings.ReplaceAll(part.Bias, "{expert}", strconv.Itoa(expert))
			return stored{l.weight(one, out, in), l.optional(one.Bias, out)}
		}
	}
	if from := l.microscaled(part, count, out, in); from != nil || l.err != nil {
		return from
	}
	height, width := out, in
	if part.Transposed {
		height, width = in, out
	}
	shape := []int{count, height, width}
	if t, ok := l.find(part.Weight); ok && len(t.Shape) == 2 {
		shape = []int{count * height, width}
	}
	all := l.tensor(part.Weight, shape...)
	biases := l.optionalMatrix(part.Bias, count, out)
	return func(expert int) stored {
		if l.err != nil {
			return stored{}
		}
		s := stored{weight: all.Slice(expert*height, height)}
		if part.Transposed {
			s.weight.Rows, s.weight.Cols, s.weight.RowStride, s.weight.ColStride = out, in, 1, out
		}
		if biases != nil {
			s.bias = biases[expert*out : (expert+1)*out]
		}
		return s
	}
}

// correction reads what is added to the scores of experts, [n] or [1, n].
func (l *loader) correction(name string, n int) []float32 {
	if name == "" {
		return nil
	}
	if t, ok := l.find(name); ok && len(t.Shape) == 2 {
		return l.matrix(name, 1, n)
	}
	return l.vector(name, n)
}

// xielu reads the constants of an activation.
func (l *loader) xielu(x *arch.XIELU) *kernel.XIELU {
	softplus := func(v float32) float32 { return float32(math.Log1p(math.Exp(float64(v)))) }
	beta := l.scalar(x.Beta)
	return &kernel.XIELU{
		Positive: softplus(l.scalar(x.Positive)), Negative: beta + softplus(l.scalar(x.Negative)),
		Beta: beta, Epsilon: l.scalar(x.Epsilon),
	}
}

// scalar reads a tensor of one element, whose shape may be [] or [1].
func (l *loader) scalar(name string) float32 {
	if t, ok := l.find(name); ok && len(t.Shape) == 0 && len(t.Data) > 0 {
		values, err := t.Float32s()
		if err != nil {
			l.fail("load weights: %w", err)
			return 0
		}
		l.parameters++
		return values[0]
	}
	if v := l.vector(name, 1); v != nil {
		return v[0]
	}
	return 0
}

var activations = map[arch.Activation]kernel.Activation{
	arch.SiLU: kernel.SiLU, arch.GELU: kernel.GELU, arch.GELUTanh: kernel.GELUTanh, arch.ReLU: kernel.ReLU, arch.ReLU2: kernel.ReLU2,
	arch.QuickGELU: kernel.QuickGELU,
}
