package referee

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/internal/bfloat16"
)

// block is a loaded block; a layer may be two.
type block struct {
	*arch.Block
	layer    int
	shortcut *mlp // nil: none

	beforeAttention, afterAttention, afterAttentionAdd *norm
	query, key, value, output                          *linear
	latent                                             *latent     // in place of query, key and value; nil: none
	mixed                                              *mixed      // in place of query and output; nil: none
	gate                                               *linear     // of what the heads gather; nil: none
	recurrence                                         *recurrence // nil: none
	queryNorm, keyNorm, valueNorm                      *headNorm
	sinks                                              []float64 // [heads]; nil: none
	lambda                                             float64   // of differential attention
	beforeMLP, afterMLP, afterMLPAdd                   *norm
	mlp                                                mlp
	beside                                             *mlp // nil: none

	altUp      *altUp      // nil: none
	laurel     *laurel     // nil: none
	layerInput *layerInput // nil: none
}

type mlp struct {
	*arch.MLP
	gate, up, down *linear // gate nil: none
	ielu           *ielu   // nil: the activation has no constants

	router     router
	experts    []mlp   // nil: dense
	shared     *mlp    // nil: none
	sharedGate *linear // nil: 1
}

// Load reads the weights that the decoder names.
func Load(ctx context.Context, d *arch.Decoder, source engine.Source, dtype engine.DType) (*Model, error) {
	l := &loader{source: source, decoder: d, counted: map[string]bool{}}
	tokens, _ := l.find(d.Embedding.Tokens)
	m := &Model{decoder: d, rounds: dtype == engine.BFloat16 || dtype == engine.Auto && tokens.DType == safetensors.BF16}
	l.rounds = m.rounds

	width := d.Hidden
	if d.Embedding.Width != 0 {
		width = d.Embedding.Width
	}
	embedding := l.linear(arch.Linear{Weight: d.Embedding.Tokens}, d.Vocabulary, width)
	m.tokens = embedding.weight
	m.embeddingProject = l.linear(d.Embedding.Project, d.Hidden, width)
	if d.Embedding.Positions != "" {
		m.positions = l.matrix(d.Embedding.Positions, d.MaxPositions+d.Embedding.PositionOffset, d.Hidden)
	}
	m.embeddingNorm = l.norm(d.Embedding.Norm, d.Hidden)
	m.layerInputs = l.layerInputs(d.Embedding.LayerInputs, len(d.Blocks), d.Hidden)
	m.streams = l.streams(d.Streams, d.Hidden)
	for layer, b := range d.Passed() {
		loaded := l.block(b, d.Hidden)
		loaded.Block, loaded.layer = b, layer
		m.blocks = append(m.blocks, loaded)
	}
	m.norm = l.norm(d.Norm, d.Hidden)
	m.headProject = l.linear(d.Head.Project, width, d.Hidden)
	if d.Head.Tied {
		m.head = &linear{weight: embedding.weight}
		if d.Head.Bias != "" {
			m.head.bias = l.vector(d.Head.Bias, d.Vocabulary)
		}
	} else {
		m.head = l.linear(d.Head.Linear, d.Vocabulary, width)
	}
	m.parameters = l.parameters
	if l.err == nil {
		l.err = ctx.Err()
	}
	return m, l.err
}

// loader keeps the first error; what it returns after one means nothing.
type loader struct {
	source     engine.Source
	decoder    *arch.Decoder
	rounds     bool
	parameters int
	counted    map[string]bool // tensors, in parameters
	err        error
}

func (l *loader) find(name string) (safetensors.Tensor, bool) {
	for _, name := range l.decoder.Names(name) {
		if t, ok := l.source.Tensor(name); ok {
			return t, true
		}
	}
	return safetensors.Tensor{}, false
}

// tensor returns a tensor's elements, or zeros after an error.
func (l *loader) tensor(name string, shape ...int) []float64 {
	n := 1
	for _, size := range shape {
		n *= size
	}
	t, ok := l.find(name)
	if noise, is := l.source.(engine.Noise); is {
		t = noise.Fill(t, shape)
	}
	values, err := t.Float32s()
	switch {
	case !ok:
		err = fmt.Errorf("tensor %q is missing from the checkpoint", name)
	case !slices.Equal(t.Shape, shape):
		err = fmt.Errorf("tensor %q has shape %v; the config asks for %v", name, t.Shape, shape)
	}
	if err != nil {
		if l.err == nil {
			l.err = err
		}
		return make([]float64, n)
	}
	if !l.counted[name] {
		l.counted[name], l.parameters = true, l.parameters+n
	}
	return widen(values)
}

func (l *loader) vector(name string, n int) []float64 { return l.tensor(name, n) }

// optional is vector for a name that may be "": nil then.
func (l *loader) optional(name string, n int) []float64 {
	if name == "" {
		return nil
	}
	return l.vector(name, n)
}

// scalar reads a tensor of one element, which may have no dimension or one.
func (l *loader) scalar(name string) float64 {
	if t, ok := l.find(name); ok && len(t.Shape) == 0 && len(t.Data) > 0 {
		return l.tensor(name)[0]
	}
	return l.vector(name, 1)[0]
}

func (l *loader) matrix(name string, rows, cols int) [][]float64 {
	return slices.Collect(slices.Chunk(l.tensor(name, rows, cols), cols))
}

// linear reads a product; nil where it is absent.
func (l *loader) linear(part arch.Linear, out, in int) *linear {
	if part.Weight == "" {
		return nil
	}
	height, width := out, in
	if part.Transposed {
		height, width = in, out
	}
	return l.made(part, l.matrix(part.Weight, height, width), l.optional(part.Bias, out))
}

// made is a product of the rows that are stored.
func (l *loader) made(part arch.Linear, rows [][]float64, bias []float64) *linear {
	if part.Transposed {
		rows = transposed(rows)
	}
	if l.rounds {
		for _, row := range rows {
			for i, v := range row {
				row[i] = float64(bfloat16.Widen(bfloat16.Round(float32(v))))
			}
		}
	}
	return &linear{rows, bias}
}

func transposed(rows [][]float64) [][]float64 {
	out := make([][]float64, len(rows[0]))
	for _, row := range rows {
		for i, v := range row {
			out[i] = append(out[i], v)
		}
	}
	return out
}

// part is some outputs of a product.
func (l *linear) part(outputs ...int) *linear {
	p := &linear{}
	for _, o := range outputs {
		p.weight = append(p.weight, l.weight[o])
		if l.bias != nil {
			p.bias = append(p.bias, l.bias[o])
		}
	}
	return p
}

func numbers(from, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = from + i
	}
	return out
}

func (l *loader) block(b *arch.Block, hidden int) block {
	a := &b.Attention
	out := block{
		beforeAttention: l.norm(b.BeforeAttention, hidden), afterAttention: l.norm(b.AfterAttention, hidden), afterAttentionAdd: l.norm(b.AfterAttentionAdd, hidden),
		latent: l.latent(a, hidden), mixed: l.mixed(a, hidden), sinks: l.optional(a.Sinks, a.Heads), lambda: l.lambda(a),
		queryNorm: l.headNorm(a.QueryNorm, a, a.Heads), keyNorm: l.headNorm(a.KeyNorm, a, a.KVHeads),
		valueNorm: l.headNorm(a.ValueNorm, a, a.KVHeads),
		beforeMLP: l.norm(b.BeforeMLP, hidden), afterMLP: l.norm(b.AfterMLP, hidden), afterMLPAdd: l.norm(b.AfterMLPAdd, hidden),
		mlp: l.mlp(&b.MLP, hidden),
	}
	if b.MLPBeside != nil {
		beside := l.mlp(b.MLPBeside, hidden)
		out.beside = &beside
	}
	if b.Shortcut != nil {
		shortcut := l.mlp(b.Shortcut, hidden)
		out.shortcut = &shortcut
	}
	out.recurrence = l.recurrence(b.Recurrence, hidden)
	l.beyond(&out, b, hidden)
	if a.Heads == 0 {
		return out
	}
	if a.Experts == nil {
		out.output = l.linear(a.Output, hidden, a.OutputWidth())
	}
	if a.Latent == nil {
		l.projections(&out, a, hidden)
	}
	return out
}

// projections reads queries, keys and values. Where the queries are experts, the
// fused tensor has none.
func (l *loader) projections(b *block, a *arch.Attention, hidden int) {
	queries, keys := a.Heads*a.HeadSize, a.KVHeads*a.HeadSize
	if a.Experts != nil {
		queries = 0
	}
	if a.KeysBack > 0 && !a.Gated {
		b.query = l.linear(a.Query, queries, hidden)
		return
	}
	if a.Gated {
		var both [2][]int // outputs that are queries, and that are gates
		for o := 0; o < 2*queries; o += a.HeadSize {
			which := o / a.HeadSize % 2
			both[which] = append(both[which], numbers(o, a.HeadSize)...)
		}
		all := l.linear(a.Query, 2*queries, hidden)
		b.query, b.gate = all.part(both[0]...), all.part(both[1]...)
		if a.KeysBack > 0 {
			return
		}
		b.key, b.value = l.linear(a.Key, keys, hidden), l.linear(a.Value, keys, hidden)
		return
	}
	if a.Fused.Weight == "" {
		b.query, b.key, b.value = l.linear(a.Query, queries, hidden), l.linear(a.Key, keys, hidden), l.linear(a.Value, keys, hidden)
		return
	}
	fused := l.linear(a.Fused, queries+2*keys, hidden)
	var parts [3][]int // outputs that are queries, and that stand second and third
	for o := 0; o < queries+2*keys; {
		for i, n := range []int{queries / a.Groups, keys / a.Groups, keys / a.Groups} {
			parts[i] = append(parts[i], numbers(o, n)...)
			o += n
		}
	}
	b.query, b.key, b.value = fused.part(parts[0]...), fused.part(parts[1]...), fused.part(parts[2]...)
	if a.ValuesBeforeKeys {
		b.key, b.value = b.value, b.key
	}
}

// lambda is the λ of differential attention.
func (l *loader) lambda(a *arch.Attention) float64 {
	d := a.Differential
	if d == nil {
		return 0
	}
	product := func(query, key string) float64 {
		return math.Exp(dot(l.vector(query, a.HeadSize), l.vector(key, a.HeadSize)))
	}
	return product(d.Query1, d.Key1) - product(d.Query2, d.Key2) + float64(d.Initial)
}

func (l *loader) norm(n *arch.Norm, width int) *norm {
	if n == nil {
		return nil
	}
	return l.normOf(n, func(name string) []float64 { return l.vector(name, width) })
}

func (l *loader) normOf(n *arch.Norm, read func(name string) []float64) *norm {
	out := &norm{Norm: n}
	if n.Weight != "" {
		out.weight = read(n.Weight)
	}
	if n.Bias != "" {
		out.bias = read(n.Bias)
	}
	return out
}

func (l *loader) headNorm(n *arch.Norm, a *arch.Attention, count int) *headNorm {
	if n == nil {
		return nil
	}
	out := &headNorm{}
	for h := range count {
		switch a.NormScope {
		case arch.AllHeads:
			return &headNorm{[]*norm{l.norm(n, count*a.HeadSize)}}
		case arch.EachHead:
			out.norms = append(out.norms, l.norm(n, a.HeadSize))
		case arch.EachHeadOwnWeight:
			out.norms = append(out.norms, l.normOf(n, func(name string) []float64 {
				if strings.Contains(name, "{head}") {
					return l.vector(strings.ReplaceAll(name, "{head}", strconv.Itoa(h)), a.HeadSize)
				}
				return l.matrix(name, count, a.HeadSize)[h]
			}))
		}
	}
	return out
}
