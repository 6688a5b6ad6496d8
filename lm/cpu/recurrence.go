package cpu

import (
	"math"
	"slices"
	"sync"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// recurrence is the loaded form of [arch.Recurrence]. What its projections give
// stands role by role in a row, which the loader sees to.
type recurrence struct {
	*arch.Recurrence
	in     *linear             // [width, hidden]
	width  int                 // of the row
	at     [arch.Roles + 1]int // where each role begins
	scales [arch.Roles]float32 // of the parts
	first  int                 // where the convolution's channels begin

	taps, bias []float32 // [taps, channels], [channels] or nil
	fade       []float32 // [heads] where it is the same for each token
	rates      []float32 // [heads]: exp(rate); nil: none
	stepBias   []float32 // [heads]
	skip       []float32 // [heads]; nil: none
	scale      float32   // of the queries
	norm       *norm
	output     *linear
}

// part is what a row has for a role.
func (r *recurrence) part(row []float32, role arch.Role) []float32 {
	return row[r.at[role]:r.at[role+1]]
}

func (l *loader) recurrence(d *arch.Recurrence, hidden int) *recurrence {
	if d == nil {
		return nil
	}
	r := &recurrence{Recurrence: d, output: l.linear(d.Output, hidden, d.Width), scale: 1}
	r.in = l.parts(r, hidden)
	if d.Memory == nil {
		r.first = r.at[arch.Value]
	}
	if c := d.Convolution; c != nil {
		r.taps, r.bias = l.convolution(r)
	}
	if n := d.Norm; n != nil {
		width := d.Width
		if d.NormShared {
			width /= max(d.NormParts, 1)
		}
		r.norm = l.norm(n, width)
	}
	m := d.Memory
	if m == nil {
		return r
	}
	r.scale, r.skip = orOne(m.Scale), l.optional(m.Skip, m.Heads)
	r.rates, r.stepBias = l.optional(m.Rates, m.Heads), l.optional(m.Bias, m.Heads)
	for i, rate := range r.rates {
		r.rates[i] = float32(math.Exp(float64(rate)))
	}
	r.fade = make([]float32, m.Heads)
	for h, slope := range m.Slopes {
		r.fade[h] = float32(math.Exp(float64(-slope)))
	}
	return r
}

// parts packs the projections as one matrix, role by role, and in each group by group.
func (l *loader) parts(r *recurrence, hidden int) *linear {
	views, biases := [arch.Roles][]kernel.View{}, [arch.Roles][]float32{}
	biased := false
	for _, in := range r.In {
		group := 0
		for _, p := range in.Parts {
			group += p.Size
		}
		v, bias := l.weight(in.Linear, in.Groups*group, hidden), l.optional(in.Bias, in.Groups*group)
		if l.err != nil {
			return nil
		}
		biased = biased || bias != nil
		for g := range in.Groups {
			from := g * group
			for _, p := range in.Parts {
				views[p.Role] = append(views[p.Role], v.Slice(from, p.Size))
				r.scales[p.Role] = orOne(p.Scale)
				if bias != nil {
					biases[p.Role] = append(biases[p.Role], bias[from:from+p.Size]...)
				} else {
					biases[p.Role] = append(biases[p.Role], make([]float32, p.Size)...)
				}
				from += p.Size
			}
		}
	}
	for role := range arch.Roles {
		r.at[role+1] = r.at[role] + len(biases[role])
	}
	r.width = r.at[arch.Roles]
	packed := &linear{weight: l.pack(slices.Concat(views[:]...)...)}
	if biased {
		packed.bias = slices.Concat(biases[:]...)
	}
	return packed
}

// convolution reads the weights of a convolution, tap by tap, its channels in the
// order of the row.
func (l *loader) convolution(r *recurrence) (taps, bias []float32) {
	c, channels := r.Convolution, r.Channels()
	v, stored := l.tensor(c.Weight, channels, 1, c.Taps), l.optional(c.Bias, channels)
	if l.err != nil {
		return nil, nil
	}
	taps, row := make([]float32, channels*c.Taps), make([]float32, c.Taps)
	if stored != nil {
		bias = make([]float32, channels)
	}
	from := 0
	for _, role := range c.Order {
		to := r.at[role] - r.first
		for i := range r.Size(role) {
			v.Row(from, row)
			for t, w := range row {
				taps[t*channels+to+i] = w
			}
			if stored != nil {
				bias[to+i] = stored[from]
			}
			from++
		}
	}
	return taps, bias
}

// A recurrence goes over the tokens of a segment one after the other, from the
// state that the segment goes on from. Heads and channels are independent of each
// other: workers share those, and each takes all segments in their order, so that
// one can go on from what another has left.

// state is what a path remembers in one block.
type state struct {
	inputs []float32 // [taps-1, channels] of the convolution, the latest last
	memory []float32 // [heads, key size, value size]
}

// growStates makes memory for so many states. State 0 is the empty one.
func (s *Session) growStates(states int) {
	for layer := range s.states {
		r := s.model.blocks[layer].Recurrence
		if r == nil {
			continue
		}
		for len(s.states[layer]) <= states {
			memory := make([]float32, r.StateSize())
			s.states[layer] = append(s.states[layer], state{memory[:r.ConvolutionState()], memory[r.ConvolutionState():]})
		}
	}
}

// recur projects the input of every node and takes it through the convolution and
// the memory: in p.parts [nodes, width of the parts], the values become the result.
func (p *pass) recur(layer int, r *recurrence) {
	nodes := len(p.Tokens)
	p.product(&p.parts, p.input, r.in)
	each(nodes, func(i int) {
		row := p.parts[i*r.width : (i+1)*r.width]
		for role, scale := range r.scales {
			if scale != 1 {
				kernel.Scale(r.part(row, arch.Role(role)), scale)
			}
		}
		if r.Memory == nil {
			values, keys := r.part(row, arch.Value), r.part(row, arch.Key)
			for j, k := range keys {
				values[j] *= k
			}
		}
	})
	if r.Convolution != nil {
		p.convolve(layer, r)
	}
	m := r.Memory
	each(nodes, func(i int) {
		row := p.parts[i*r.width : (i+1)*r.width]
		if r.Activation != "" {
			kernel.Activate(activations[r.Activation], row[r.first:r.first+r.Channels()])
		}
		if m != nil && m.UnitKeys {
			toUnit(r.part(row, arch.Query), m.KeySize)
			toUnit(r.part(row, arch.Key), m.KeySize)
		}
	})
	if m != nil {
		p.remember(layer, r)
	}
}

// toUnit divides each part of so many elements by its length.
func toUnit(x []float32, size int) {
	for ; len(x) > 0; x = x[size:] {
		sum := float32(0)
		for _, v := range x[:size] {
			sum += v * v
		}
		kernel.Scale(x[:size], float32(1/math.Sqrt(float64(sum)+1e-6)))
	}
}

// convolve replaces the channels of every node by what the convolution makes of
// them and of those before.
func (p *pass) convolve(layer int, r *recurrence) {
	const together = 256 // channels
	channels, taps := r.Channels(), r.Convolution.Taps
	states := p.session.states[layer]
	kernel.Parallel((channels+together-1)/together, func(task int) {
		from := task * together
		n := min(together, channels-from)
		var own [4 * together]float32
		window := own[:] // [taps-1, n]: the inputs before, the latest last
		if len(window) < (taps-1)*n {
			window = make([]float32, (taps-1)*n)
		}
		tap := func(t int) []float32 { return r.taps[t*channels+from:][:n] }
		before := func(t int) []float32 { return window[t*n : (t+1)*n] }
		node := 0
		for _, s := range p.Segments {
			for t := range taps - 1 {
				copy(before(t), states[s.Before].inputs[t*channels+from:])
			}
			for range s.Nodes {
				x := p.parts[node*r.width+r.first+from:][:n]
				var given [together]float32
				y := given[:n]
				if r.bias != nil {
					copy(y, r.bias[from:])
				}
				for t := range taps - 1 {
					accumulate(y, before(t), tap(t))
				}
				accumulate(y, x, tap(taps-1))
				if taps > 1 {
					copy(window, window[n:(taps-1)*n])
					copy(before(taps-2), x)
				}
				copy(x, y)
				node++
			}
			if s.After != 0 {
				for t := range taps - 1 {
					copy(states[s.After].inputs[t*channels+from:][:n], before(t))
				}
			}
		}
	})
}

// accumulate adds the product of x and w to y, element by element.
func accumulate(y, x, w []float32) {
	x, w = x[:len(y)], w[:len(y)]
	for i := range y {
		y[i] += x[i] * w[i]
	}
}

// remember takes every node through the memory; what its query gathers replaces
// its values.
func (p *pass) remember(layer int, r *recurrence) {
	m := r.Memory
	states, cells := p.session.states[layer], m.KeySize*m.ValueSize
	kernel.Parallel(m.Heads, func(h int) {
		buffer := memories.Get().(*[]float32)
		defer memories.Put(buffer)
		scratch := size(buffer, cells+2*m.ValueSize)
		spare, change, gathered := scratch[:cells], scratch[cells:cells+m.ValueSize], scratch[cells+m.ValueSize:]
		node := 0
		for _, s := range p.Segments {
			memory := spare
			if s.After != 0 {
				memory = states[s.After].memory[h*cells : (h+1)*cells]
			}
			copy(memory, states[s.Before].memory[h*cells:])
			for range s.Nodes {
				row := p.parts[node*r.width : (node+1)*r.width]
				r.token(h, row, memory, change, gathered)
				node++
			}
		}
	})
}

var memories = sync.Pool{New: func() any { return new([]float32) }}

// token takes one token through one head's memory [key size, value size].
func (r *recurrence) token(h int, row, memory, change, gathered []float32) {
	m := r.Memory
	of := func(role arch.Role, n, size int) []float32 { return r.part(row, role)[n*size : (n+1)*size] }
	key := h / (m.Heads / m.KeyHeads)
	q, k, v := of(arch.Query, key, m.KeySize), of(arch.Key, key, m.KeySize), of(arch.Value, h, m.ValueSize)

	fade, written := r.fade[h], float32(1)
	if m.Rates != "" {
		step := softplus(of(arch.Step, h, 1)[0] + r.stepBias[h])
		fade = float32(math.Exp(float64(-r.rates[h] * step)))
		if m.StepWrites {
			written = step
		}
	}
	kernel.Scale(memory, fade)
	copy(change, v)
	if m.Delta {
		for i, by := range k {
			kernel.AddScaled(change, memory[i*m.ValueSize:], -by)
		}
	}
	if r.Size(arch.Strength) != 0 {
		written *= sigmoid(of(arch.Strength, h, 1)[0])
	}
	kernel.Scale(change, written)
	clear(gathered)
	for i, by := range k {
		stored := memory[i*m.ValueSize : (i+1)*m.ValueSize]
		kernel.AddScaled(stored, change, by)
		kernel.AddScaled(gathered, stored, q[i]*r.scale)
	}
	if r.skip != nil {
		kernel.AddScaled(gathered, v, r.skip[h])
	}
	copy(v, gathered)
}

func softplus(x float32) float32 {
	if x > 20 { // where the two are the same number
		return x
	}
	return float32(math.Log1p(math.Exp(float64(x))))
}

// giveRecurrence gates, normalises and projects the results of the rows that are
// still computed. In place of attention, the output projection reads the site
// attn_heads.
func (p *pass) giveRecurrence(layer int, r *recurrence, dst *[]float32) {
	rows := size(&p.recalled, p.rows()*r.Width)
	each(p.rows(), func(i int) {
		node := p.node(i)
		of := p.parts[node*r.width : (node+1)*r.width]
		row, gate := rows[i*r.Width:(i+1)*r.Width], r.part(of, arch.Gate)
		copy(row, r.part(of, arch.Value))
		if r.norm != nil && r.NormBeforeGate {
			r.normalise(row)
		}
		if r.GateActivation == arch.Logistic {
			for j, g := range gate {
				row[j] *= sigmoid(g)
			}
		} else if len(gate) > 0 {
			if r.GateActivation != "" {
				kernel.Activate(activations[r.GateActivation], gate)
			}
			for j, g := range gate {
				row[j] *= g
			}
		}
		if r.norm != nil && !r.NormBeforeGate {
			r.normalise(row)
		}
	})
	if p.model.blocks[layer].Attention.Heads == 0 {
		p.reach(layer, arch.AttnHeads, rows)
	}
	p.product(dst, rows, r.output)
}

// normalise is the norm of a result, part by part.
func (r *recurrence) normalise(row []float32) {
	n := r.Width / max(r.NormParts, 1)
	for at := 0; at < len(row); at += n {
		one := *r.norm
		if !r.NormShared {
			one.weight, one.bias = part(one.weight, at, n), part(one.bias, at, n)
		}
		one.apply(row[at:at+n], row[at:at+n])
	}
}
