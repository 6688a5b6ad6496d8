package cpu

import (
	"math"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// streams is the loaded form of [arch.Streams].
type streams struct {
	*arch.Streams
	begin, end []*linear // of each stream past the first, [hidden, hidden]
}

func (l *loader) streams(s *arch.Streams, hidden int) *streams {
	if s == nil {
		return nil
	}
	m := &streams{Streams: s}
	for i := range s.Count - 1 {
		of := func(part arch.Linear) *linear {
			part.Weight = strings.ReplaceAll(part.Weight, "{stream}", strconv.Itoa(i))
			return l.linear(part, hidden, hidden)
		}
		m.begin, m.end = append(m.begin, of(s.Begin)), append(m.end, of(s.End))
	}
	return m
}

// altUp is the loaded form of [arch.AltUp].
type altUp struct {
	norm                     *norm
	router, predict, correct *linear
}

func (l *loader) altUp(a *arch.AltUp, count, hidden int) *altUp {
	if a == nil {
		return nil
	}
	return &altUp{l.norm(a.Norm, hidden), l.exactly(a.Router, count, hidden), l.exactly(a.Predict, count*count, count), l.exactly(a.Correct, count, count)}
}

// laurel is the loaded form of [arch.Laurel].
type laurel struct {
	down, up *linear
	norm     *norm
}

func (l *loader) laurel(a *arch.Laurel, hidden int) *laurel {
	if a == nil {
		return nil
	}
	return &laurel{l.linear(a.Down, a.Rank, hidden), l.linear(a.Up, hidden, a.Rank), l.norm(a.Norm, hidden)}
}

// layerInputs is the loaded form of [arch.LayerInputs].
type layerInputs struct {
	*arch.LayerInputs
	tokens  *kernel.Matrix // [vocabulary, layers*width]
	project *linear
	norm    *norm
}

func (l *loader) layerInputs(in *arch.LayerInputs, layers, hidden int) *layerInputs {
	if in == nil {
		return nil
	}
	m := &layerInputs{LayerInputs: in, project: l.linear(in.Project, layers*in.Width, hidden), norm: l.norm(in.Norm, in.Width)}
	if tokens := l.linear(arch.Linear{Weight: in.Tokens}, in.Vocabulary, layers*in.Width); tokens != nil {
		m.tokens = tokens.weight
	}
	return m
}

// layerInput is the loaded form of [arch.LayerInput].
type layerInput struct {
	scale      []float32 // [hidden]; nil: ones
	gate, up   *linear
	activation kernel.Activation
	norm       *norm
}

func (l *loader) layerInput(a *arch.LayerInput, width, hidden int) *layerInput {
	if a == nil {
		return nil
	}
	return &layerInput{
		scale: l.optional(a.Scale, hidden), gate: l.linear(a.Gate, width, hidden), up: l.linear(a.Up, hidden, width),
		activation: activations[a.Activation], norm: l.norm(a.Norm, hidden),
	}
}

// part makes the streams of the embedding, which is in the residual stream.
func (p *pass) part() {
	s, hidden := p.model.streams, p.model.decoder.Hidden
	width := s.Count * hidden
	all := size(&p.streams, p.rows()*width)
	each(p.rows(), func(i int) { copy(all[i*width:], p.residual[i*hidden:(i+1)*hidden]) })
	for n, begin := range s.begin {
		p.product(&p.sublayer, p.residual, begin)
		each(p.rows(), func(i int) {
			first, row := all[i*width:][:hidden], all[i*width+(n+1)*hidden:][:hidden]
			copy(row, p.sublayer[i*hidden:])
			s.bring(row, rootMeanSquare(first))
		})
	}
}

// unite brings rows of streams [n, streams*hidden] together, in place, as the
// beginning of each row.
func (p *pass) unite(rows []float32, n int) {
	s, hidden := p.model.streams, p.model.decoder.Hidden
	first := func(i int) []float32 { return rows[i*s.Count*hidden:][:hidden] }
	sizes := size(&p.weights, n)
	each(n, func(i int) { sizes[i] = rootMeanSquare(first(i)) })
	read, given := size(&p.expert, n*hidden), size(&p.sublayer, n*hidden)
	for k, end := range s.end {
		each(n, func(i int) { copy(read[i*hidden:(i+1)*hidden], rows[(i*s.Count+k+1)*hidden:]) })
		kernel.Product(given, read, n, end.weight, end.bias)
		each(n, func(i int) {
			row := given[i*hidden : (i+1)*hidden]
			s.bring(row, sizes[i])
			kernel.AddScaled(first(i), row, 1)
		})
	}
	each(n, func(i int) { kernel.Scale(first(i), 1/float32(s.Count)) })
}

// bring brings a row to a root mean square.
func (s *streams) bring(row []float32, to float32) {
	own := max(rootMeanSquare(row), float32(math.Sqrt(float64(s.Epsilon))))
	kernel.Scale(row, to/own)
}

func rootMeanSquare(x []float32) float32 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return float32(math.Sqrt(sum / float64(len(x))))
}

// predict mixes the streams and lets the block go on with the first.
func (p *pass) predict(a *altUp) {
	if a == nil {
		return
	}
	n, hidden := p.model.streams.Count, p.model.decoder.Hidden
	width := n * hidden
	p.weigh(a, p.streams, width)
	p.product(&p.mixing, p.weights, a.predict)
	size(&p.residual, p.rows()*hidden)
	each(p.rows(), func(i int) {
		row, by := p.streams[i*width:(i+1)*width], p.mixing[i*n*n:(i+1)*n*n]
		var before [16]float32
		for at := range hidden {
			for j := range n {
				before[j] = row[j*hidden+at]
			}
			for k := range n {
				sum := before[k]
				for j := range n {
					sum += by[k*n+j] * before[j]
				}
				row[k*hidden+at] = sum
			}
		}
		copy(p.residual[i*hidden:(i+1)*hidden], row)
	})
}

// weigh writes the weights of the streams by rows [hidden], which lie so far from
// each other.
func (p *pass) weigh(a *altUp, x []float32, stride int) {
	hidden := p.model.decoder.Hidden
	normed := size(&p.normed, p.rows()*hidden)
	each(p.rows(), func(i int) {
		row := normed[i*hidden : (i+1)*hidden]
		a.norm.apply(row, x[i*stride:][:hidden])
		kernel.Scale(row, 1/float32(hidden))
	})
	p.product(&p.weights, normed, a.router)
	for i, v := range p.weights {
		p.weights[i] = float32(math.Tanh(float64(v)))
	}
}

// correct moves all streams by what the block has made of the first.
func (p *pass) correct(a *altUp) {
	if a == nil {
		return
	}
	n, hidden := p.model.streams.Count, p.model.decoder.Hidden
	p.weigh(a, p.residual, hidden)
	p.product(&p.mixing, p.weights, a.correct)
	each(p.rows(), func(i int) {
		row := p.streams[i*n*hidden : (i+1)*n*hidden]
		change := p.residual[i*hidden : (i+1)*hidden]
		kernel.AddScaled(change, row, -1)
		for k := range n {
			kernel.AddScaled(row[k*hidden:(k+1)*hidden], change, 1+p.mixing[i*n+k])
		}
	})
}

// leaving returns the rows that go from block to block: those of the residual stream,
// or of all streams.
func (p *pass) leaving() []float32 {
	if p.model.streams != nil {
		return p.streams
	}
	return p.residual
}

// learn adds a learned residual to what attention gave.
func (p *pass) learn(l *laurel) {
	if l == nil {
		return
	}
	hidden := p.model.decoder.Hidden
	p.product(&p.latent, p.input, l.down)
	p.product(&p.beside, p.latent, l.up)
	each(p.rows(), func(i int) {
		row := p.beside[i*hidden : (i+1)*hidden]
		l.norm.apply(row, row)
		to := p.sublayer[i*hidden : (i+1)*hidden]
		kernel.AddScaled(to, row, 1)
		kernel.AddScaled(to, p.input[i*hidden:], 1)
	})
}

// inputs makes what the layers have of each node beside the stream, given their
// embeddings [nodes, hidden].
func (p *pass) inputs(in *layerInputs, embeddings []float32) {
	rows := size(&p.layerInputs, len(p.Tokens)*in.project.weight.Out)
	kernel.Product(rows, embeddings, len(p.Tokens), in.project.weight, in.project.bias)
	each(len(p.Tokens), func(node int) {
		all := rows[node*in.tokens.In : (node+1)*in.tokens.In]
		buffer := rowBuffers.Get().(*[]float32)
		defer rowBuffers.Put(buffer)
		own, token := size(buffer, len(all)), p.Tokens[node]
		if token >= in.Vocabulary {
			token = 0
		}
		in.tokens.Row(token, own)
		kernel.Scale(all, in.ProjectScale)
		for at := 0; at < len(all); at += in.Width {
			part := all[at : at+in.Width]
			in.norm.apply(part, part)
		}
		kernel.AddScaled(all, own, in.Scale)
		kernel.Scale(all, in.SumScale)
	})
}

// takeIn adds what a block makes of its layer's input.
func (p *pass) takeIn(layer int, in *layerInput) {
	if in == nil {
		return
	}
	hidden, of := p.model.decoder.Hidden, p.model.embedding.inputs
	all := p.leaving()
	width := len(all) / p.rows()
	read := size(&p.normed, p.rows()*hidden)
	each(p.rows(), func(i int) {
		row := read[i*hidden : (i+1)*hidden]
		copy(row, all[i*width:])
		for j, s := range in.scale {
			row[j] *= s
		}
	})
	p.product(&p.gate, read, in.gate)
	each(p.rows(), func(i int) {
		gate := p.gate[i*of.Width : (i+1)*of.Width]
		kernel.Activate(in.activation, gate)
		for j, v := range p.layerInputs[p.node(i)*of.tokens.In+p.model.blocks[layer].layer*of.Width:][:of.Width] {
			gate[j] *= v
		}
	})
	p.product(&p.sublayer, p.gate, in.up)
	each(p.rows(), func(i int) {
		given := p.sublayer[i*hidden : (i+1)*hidden]
		in.norm.apply(given, given)
		row := all[i*width : (i+1)*width]
		if width > hidden {
			row = row[hidden:]
		}
		for at := 0; at < len(row); at += hidden {
			kernel.AddScaled(row[at:at+hidden], given, 1)
		}
	})
}
