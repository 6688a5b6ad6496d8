package referee

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
)

// streams are the products that part the residual stream and bring it together.
type streams struct{ begin, end []*linear }

func (l *loader) streams(s *arch.Streams, hidden int) *streams {
	if s == nil {
		return nil
	}
	out := &streams{}
	for i := range s.Count - 1 {
		of := func(name string) arch.Linear {
			return arch.Linear{Weight: strings.ReplaceAll(name, "{stream}", strconv.Itoa(i))}
		}
		out.begin, out.end = append(out.begin, l.linear(of(s.Begin.Weight), hidden, hidden)), append(out.end, l.linear(of(s.End.Weight), hidden, hidden))
	}
	return out
}

type altUp struct {
	norm                     *norm
	router, predict, correct *linear
}

type laurel struct {
	down, up *linear
	norm     *norm
}

type layerInputs struct {
	tokens  [][]float64
	project *linear
	norm    *norm
}

type layerInput struct {
	scale    []float64 // nil: ones
	gate, up *linear
	norm     *norm
}

// beyond reads what a block has beside one residual stream.
func (l *loader) beyond(to *block, b *arch.Block, hidden int) {
	if a := b.AltUp; a != nil {
		n := l.decoder.Streams.Count
		to.altUp = &altUp{l.norm(a.Norm, hidden), l.linear(a.Router, n, hidden), l.linear(a.Predict, n*n, n), l.linear(a.Correct, n, n)}
	}
	if a := b.Laurel; a != nil {
		to.laurel = &laurel{l.linear(a.Down, a.Rank, hidden), l.linear(a.Up, hidden, a.Rank), l.norm(a.Norm, hidden)}
	}
	if a := b.LayerInput; a != nil {
		width := l.decoder.Embedding.LayerInputs.Width
		to.layerInput = &layerInput{l.optional(a.Scale, hidden), l.linear(a.Gate, width, hidden), l.linear(a.Up, hidden, width), l.norm(a.Norm, hidden)}
	}
}

func (l *loader) layerInputs(in *arch.LayerInputs, layers, hidden int) *layerInputs {
	if in == nil {
		return nil
	}
	return &layerInputs{
		tokens:  l.linear(arch.Linear{Weight: in.Tokens}, in.Vocabulary, layers*in.Width).weight,
		project: l.linear(in.Project, layers*in.Width, hidden), norm: l.norm(in.Norm, in.Width),
	}
}

// inputs returns what the layers have of a token beside its embedding x.
func (m *Model) inputs(token int, x []float64) (layers [][]float64) {
	d := m.decoder.Embedding.LayerInputs
	if d == nil {
		return nil
	}
	if token >= d.Vocabulary {
		token = 0
	}
	of := slices.Collect(slices.Chunk(m.layerInputs.tokens[token], d.Width))
	for i, part := range slices.Collect(slices.Chunk(m.product(m.layerInputs.project, x), d.Width)) {
		normed := m.layerInputs.norm.of(scaled(part, float64(d.ProjectScale)))
		layers = append(layers, scaled(sum(normed, scaled(of[i], float64(d.Scale))), float64(d.SumScale)))
	}
	return layers
}

// parted returns the streams that begin with an embedding, side by side.
func (m *Model) parted(x []float64) []float64 {
	all := slices.Clone(x)
	for _, begin := range m.streams.begin {
		all = append(all, m.asLarge(m.product(begin, x), x)...)
	}
	return all
}

// united returns the mean of the streams, past the products that turn them back.
func (m *Model) united(all []float64) []float64 {
	rows := slices.Collect(slices.Chunk(all, m.decoder.Hidden))
	out := slices.Clone(rows[0])
	for i, end := range m.streams.end {
		out = sum(out, m.asLarge(m.product(end, rows[i+1]), rows[0]))
	}
	return scaled(out, 1/float64(len(rows)))
}

// asLarge is x with the root mean square of another row.
func (m *Model) asLarge(x, of []float64) []float64 {
	square := func(x []float64) float64 { return dot(x, x) / float64(len(x)) }
	return scaled(x, math.Sqrt(square(of)/max(square(x), float64(m.decoder.Streams.Epsilon))))
}

// weights are those of the streams by a row.
func (m *Model) weights(a *altUp, x []float64) []float64 {
	out := m.product(a.router, scaled(a.norm.of(x), 1/float64(len(x))))
	for i, v := range out {
		out[i] = math.Tanh(v)
	}
	return out
}

// predict changes the streams as a block begins, and returns the first.
func (t *token) predict(a *altUp) []float64 {
	hidden := t.model.decoder.Hidden
	before := slices.Collect(slices.Chunk(slices.Clone(t.residual), hidden))
	by := t.model.product(a.predict, t.model.weights(a, before[0]))
	for i, row := range slices.Collect(slices.Chunk(t.residual, hidden)) {
		for j, other := range before {
			add(row, other, by[i*len(before)+j])
		}
	}
	return slices.Clone(t.residual[:hidden])
}

// correct changes the streams by what has become of the first.
func (t *token) correct(a *altUp, x []float64) {
	hidden := t.model.decoder.Hidden
	change := sum(x, scaled(t.residual[:hidden], -1))
	by := t.model.product(a.correct, t.model.weights(a, x))
	for i, row := range slices.Collect(slices.Chunk(t.residual, hidden)) {
		add(row, change, 1+by[i])
	}
}

// learned is the learned residual of what attention reads; nil: there is none.
func (t *token) learned(l *laurel, x []float64) []float64 {
	if l == nil {
		return nil
	}
	return sum(x, l.norm.of(t.model.product(l.up, t.model.product(l.down, x))))
}

// takeIn adds what a block makes of its layer's input.
func (t *token) takeIn(b *block) {
	in, hidden := b.layerInput, t.model.decoder.Hidden
	x := slices.Clone(t.residual[:hidden])
	for i, s := range in.scale {
		x[i] *= s
	}
	gate := t.model.product(in.gate, x)
	for i, v := range gate {
		gate[i] = activated(b.LayerInput.Activation, v) * t.inputs[b.layer][i]
	}
	given, rows := in.norm.of(t.model.product(in.up, gate)), slices.Collect(slices.Chunk(t.residual, hidden))
	for i, row := range rows {
		if i > 0 || len(rows) == 1 {
			add(row, given, 1)
		}
	}
}
