package cpu

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/cpu/kernel"
	"github.com/steervec/steer/lm/engine"
)

// Model is a decoder with its weights packed for products.
type Model struct {
	decoder    *arch.Decoder
	dtype      string // of the products
	parameters int    // stored elements, tied ones counted once

	embedding embedding
	streams   *streams // nil: one
	blocks    []block
	norm      *norm
	head      head
}

type embedding struct {
	tokens    *kernel.Matrix // [vocabulary, width]; the head's weight where that is shared
	width     int
	scale     float32
	project   *linear
	positions []float32 // [positions, hidden]
	sinusoids bool
	offset    int
	norm      *norm
	inputs    *layerInputs // nil: none
}

// block is a loaded block. A layer may be two: what the functions of a pass call a
// layer is the number of a block, and only [pass.reach] speaks of layers as others do.
type block struct {
	*arch.Block
	layer    int
	first    bool // another block of the layer follows
	shortcut *mlp // nil: none

	beforeAttention, afterAttention, afterAttentionAdd *norm
	queryKeyValue                                      *linear     // [(heads + 2*key/value heads)*head size, hidden]
	latent                                             *latent     // in place of queryKeyValue; nil: none
	mixed                                              *mixed      // in place of queries and output; nil: none
	gate                                               *linear     // of what the heads gather; nil: none
	recurrence                                         *recurrence // nil: none
	queryNorm, keyNorm, valueNorm                      *norm
	sinks                                              []float32 // [heads]; nil: none
	difference                                         float32   // λ of differential attention
	output                                             *linear

	beforeMLP, afterMLP, afterMLPAdd *norm
	mlp                              mlp
	beside                           *mlp // nil: none

	altUp      *altUp      // nil: none
	laurel     *laurel     // nil: none
	layerInput *layerInput // nil: none
}

type mlp struct {
	*arch.MLP
	activation     kernel.Activation
	xielu          *kernel.XIELU // in place of the activation; nil: none
	cutoff         float64       // deviations that sparse gates lose
	inner          int
	gate, up, down *linear // gate nil: none

	router     *linear   // nil: dense
	correction []float32 // of the experts' scores; nil: none
	bias       []float32 // of what the experts give together; nil: none
	experts    []mlp
	shared     *mlp
	sharedGate *linear
}

type linear struct {
	weight *kernel.Matrix
	bias   []float32 // nil: none
}

type norm struct {
	*arch.Norm
	weight, bias []float32
}

type head struct {
	*linear
	project *linear
}

// Load reads and packs the weights that the decoder names. Every tensor's shape
// is checked against the description; an error names the tensor and both.
func Load(ctx context.Context, decoder *arch.Decoder, source engine.Source, dtype engine.DType) (*Model, error) {
	return load(ctx, decoder, source, dtype, gguf.F32)
}

// load is Load, rounding matrices to blocks of few bits unless the type is F32.
func load(ctx context.Context, decoder *arch.Decoder, source engine.Source, dtype engine.DType, quantize gguf.Type) (*Model, error) {
	if _, err := kernel.Instructions(); err != nil {
		return nil, err
	}
	l := &loader{ctx: ctx, tensors: source, decoder: decoder, stored: map[kernel.Stored]int{}, quantize: quantize}
	m := &Model{decoder: decoder}
	l.precision = l.choose(decoder, dtype)
	d := decoder

	width := d.Embedding.Width
	if width == 0 {
		width = d.Hidden
	}
	m.embedding = embedding{width: width, scale: d.Embedding.Scale, sinusoids: d.Embedding.Sinusoidal, offset: d.Embedding.PositionOffset}
	m.head.project = l.linear(d.Head.Project, width, d.Hidden)
	tokens := l.linear(arch.Linear{Weight: d.Embedding.Tokens}, d.Vocabulary, width)
	m.head.linear = tokens
	if !d.Head.Tied {
		m.head.linear = l.linear(d.Head.Linear, d.Vocabulary, width)
	} else if d.Head.Bias != "" && tokens != nil {
		m.head.linear = &linear{tokens.weight, l.vector(d.Head.Bias, d.Vocabulary)}
	}
	if l.err != nil {
		return nil, l.err
	}
	m.embedding.tokens = tokens.weight
	m.embedding.project = l.linear(d.Embedding.Project, d.Hidden, width)
	if d.Embedding.Positions != "" {
		m.embedding.positions = l.matrix(d.Embedding.Positions, d.MaxPositions+d.Embedding.PositionOffset, d.Hidden)
	}
	m.embedding.norm = l.norm(d.Embedding.Norm, d.Hidden)
	m.embedding.inputs = l.layerInputs(d.Embedding.LayerInputs, len(d.Blocks), d.Hidden)
	m.streams = l.streams(d.Streams, d.Hidden)
	m.norm = l.norm(d.Norm, d.Hidden)

	for layer, b := range d.Passed() {
		a := &b.Attention
		projected, gate := l.queryKeyValue(a, d.Hidden)
		m.blocks = append(m.blocks, block{
			Block: b, layer: layer, first: b != &d.Blocks[layer],
			beforeAttention:   l.norm(b.BeforeAttention, d.Hidden),
			afterAttention:    l.norm(b.AfterAttention, d.Hidden),
			afterAttentionAdd: l.norm(b.AfterAttentionAdd, d.Hidden),
			queryKeyValue:     projected,
			gate:              gate,
			latent:            l.latent(a, d.Hidden),
			recurrence:        l.recurrence(b.Recurrence, d.Hidden),
			mixed:             l.mixed(a, d.Hidden),
			queryNorm:         l.headNorm(a.QueryNorm, a, a.Heads),
			keyNorm:           l.headNorm(a.KeyNorm, a, a.KVHeads),
			valueNorm:         l.headNorm(a.ValueNorm, a, a.KVHeads),
			sinks:             l.optional(a.Sinks, a.Heads),
			difference:        l.difference(a),
			output:            l.output(a, d.Hidden),
			beforeMLP:         l.norm(b.BeforeMLP, d.Hidden),
			afterMLP:          l.norm(b.AfterMLP, d.Hidden),
			afterMLPAdd:       l.norm(b.AfterMLPAdd, d.Hidden),
			mlp:               l.mlp(&b.MLP, d.Hidden),
			laurel:            l.laurel(b.Laurel, d.Hidden),
		})
		if b.AltUp != nil {
			m.blocks[len(m.blocks)-1].altUp = l.altUp(b.AltUp, d.Streams.Count, d.Hidden)
		}
		if b.LayerInput != nil {
			m.blocks[len(m.blocks)-1].layerInput = l.layerInput(b.LayerInput, d.Embedding.LayerInputs.Width, d.Hidden)
		}
		if b.MLPBeside != nil {
			beside := l.mlp(b.MLPBeside, d.Hidden)
			m.blocks[len(m.blocks)-1].beside = &beside
		}
		if b.Shortcut != nil {
			shortcut := l.mlp(b.Shortcut, d.Hidden)
			m.blocks[len(m.blocks)-1].shortcut = &shortcut
		}
		if l.err != nil {
			return nil, l.err
		}
	}
	m.parameters = l.parameters
	m.dtype = l.describe()
	return m, l.err
}

// block returns the number of a layer's first block.
func (m *Model) block(layer int) int {
	at, _ := slices.BinarySearchFunc(m.blocks, layer, func(b block, layer int) int { return cmp.Compare(b.layer, layer) })
	return at
}

// loader keeps the first error; what it returns after one means nothing.
type loader struct {
	ctx        context.Context
	tensors    engine.Source
	decoder    *arch.Decoder
	precision  kernel.Precision
	parameters int
	stored     map[kernel.Stored]int // elements of matrices
	quantize   gguf.Type             // F32: nothing is rounded
	err        error
}

func (l *loader) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// choose settles the precision by the type in which the embedding is stored.
func (l *loader) choose(d *arch.Decoder, dtype engine.DType) kernel.Precision {
	if _, ok := l.blocks(d.Embedding.Tokens); ok || l.quantize.Blocks() {
		if dtype == engine.Float32 {
			return kernel.F32
		}
		return kernel.BF16
	}
	t, _ := l.find(d.Embedding.Tokens)
	switch {
	case dtype == engine.BFloat16, dtype == engine.Auto && t.DType == safetensors.BF16:
		return kernel.BF16
	case t.DType == safetensors.BF16:
		return kernel.Mixed
	}
	return kernel.F32
}

// find looks a tensor up under all the names that it may have.
func (l *loader) find(name string) (safetensors.Tensor, bool) {
	for _, name := range l.decoder.Names(name) {
		if t, ok := l.tensors.Tensor(name); ok {
			return t, true
		}
	}
	return safetensors.Tensor{}, false
}

// tensor returns the tensor of that name as a view and checks its shape.
func (l *loader) tensor(name string, shape ...int) kernel.View {
	if l.err != nil {
		return kernel.View{}
	}
	if err := l.ctx.Err(); err != nil {
		l.fail("load weights: %w", err)
		return kernel.View{}
	}
	t, ok := l.find(name)
	if !ok {
		l.fail("tensor %q is missing from the checkpoint", name)
		return kernel.View{}
	}
	if n, ok := l.tensors.(engine.Noise); ok {
		t = n.Fill(t, shape)
	}
	if !slices.Equal(t.Shape, shape) {
		l.fail("tensor %q has shape %v; the config asks for %v", name, t.Shape, shape)
		return kernel.View{}
	}
	v := kernel.View{Data: t.Data, Rows: 1, Cols: t.Shape[len(t.Shape)-1], ColStride: 1}
	v.Release = func(data []byte) {
		part := t
		part.Data = data
		l.tensors.Release(part)
	}
	for _, n := range t.Shape[:len(t.Shape)-1] {
		v.Rows *= n
	}
	v.RowStride = v.Cols
	switch t.DType {
	case safetensors.F32:
		v.Type = kernel.StoredF32
	case safetensors.F16:
		v.Type = kernel.StoredF16
	case safetensors.BF16:
		v.Type = kernel.StoredBF16
	default:
		l.fail("tensor %q is stored as %s; weights may be F32, F16 or BF16", name, t.DType)
	}
	l.parameters += v.Rows * v.Cols
	return v
}

// vector reads a tensor [n] as float32.
func (l *loader) vector(name string, n int) []float32 {
	v := l.tensor(name, n)
	if l.err != nil {
		return nil
	}
	out := make([]float32, n)
	v.Row(0, out)
	return out
}

// optional is vector for a name that may be "": nil then.
func (l *loader) optional(name string, n int) []float32 {
	if name == "" {
		return nil
	}
	return l.vector(name, n)
}

// optionalMatrix is nil for no name.
func (l *loader) optionalMatrix(name string, count, n int) []float32 {
	if name == "" {
		return nil
	}
	return l.matrix(name, count, n)
}

// matrix reads a tensor [count, n] as float32.
func (l *loader) matrix(name string, count, n int) []float32 {
	v := l.tensor(name, count, n)
	if l.err != nil {
		return nil
	}
	out := make([]float32, count*n)
	for r := range count {
		v.Row(r, out[r*n:(r+1)*n])
	}
	return out
}

// weight returns a linear's weight as a view [out, in], however it is stored.
func (l *loader) weight(part arch.Linear, out, in int) kernel.View {
	if l.err == nil {
		if b, ok := l.blocks(part.Weight); ok && b.Turned == part.Transposed {
			return l.blocksView(part.Weight, b, out, in)
		}
	}
	return l.numbers(part, out, in)
}

// numbers is weight with blocks of few bits expanded.
func (l *loader) numbers(part arch.Linear, out, in int) kernel.View {
	if !part.Transposed {
		return l.tensor(part.Weight, out, in)
	}
	v := l.tensor(part.Weight, in, out)
	v.Rows, v.Cols, v.RowStride, v.ColStride = out, in, 1, out
	return v
}

// pack is the one door through which matrices come into the model.
func (l *loader) pack(views ...kernel.View) *kernel.Matrix {
	for i, v := range views {
		v = l.rounded(v)
		views[i] = v
		l.stored[v.Type] += v.Rows * v.Cols
	}
	return kernel.Pack(l.precision, views...)
}

// linear packs a part of a block; nil where the part is absent.
func (l *loader) linear(part arch.Linear, out, in int) *linear {
	if part.Weight == "" {
		return nil
	}
	v := l.weight(part, out, in)
	if l.err != nil {
		return nil
	}
	packed := &linear{weight: l.pack(v)}
	if part.Bias != "" {
		packed.bias = l.vector(part.Bias, out)
	}
	return packed
}

// queryKeyValue packs the three projections of attention as one matrix: all
// queries, then all keys, then all values; and the gates that stand among queries.
func (l *loader) queryKeyValue(a *arch.Attention, hidden int) (projected, gate *linear) {
	queries, keys := a.Heads*a.HeadSize, a.KVHeads*a.HeadSize
	switch {
	case a.Latent != nil || a.Heads == 0:
		return nil, nil
	case a.Experts != nil:
		return l.fused(a, hidden, 0, keys), nil
	}
	if a.Fused.Weight != "" {
		return l.fused(a, hidden, queries, keys), nil
	}
	parts := []arch.Linear{a.Query, a.Key, a.Value}
	sizes := []int{queries, keys, keys}
	var views []kernel.View
	bias := make([]float32, 0, queries+2*keys)
	biased := false
	if a.Gated {
		of, biases := l.gated(a, hidden)
		views, bias, biased = of[0], append(bias, biases[0]...), a.Query.Bias != ""
		if l.err == nil {
			gate = &linear{l.pack(of[1]...), biases[1]}
		}
		parts, sizes = parts[1:], sizes[1:]
	}
	if a.KeysBack > 0 {
		parts = parts[:len(parts)-2]
	}
	for i, part := range parts {
		views = append(views, l.weight(part, sizes[i], hidden))
		if part.Bias == "" {
			bias = append(bias, make([]float32, sizes[i])...)
			continue
		}
		bias, biased = append(bias, l.vector(part.Bias, sizes[i])...), true
	}
	if l.err != nil {
		return nil, nil
	}
	packed := &linear{weight: l.pack(views...)}
	if biased {
		packed.bias = bias
	}
	return packed, gate
}

// gated parts the tensor of queries, in which each head's query is followed by its
// gate: the rows of queries, and those of gates.
func (l *loader) gated(a *arch.Attention, hidden int) (of [2][]kernel.View, biases [2][]float32) {
	width := a.Heads * a.HeadSize
	all, bias := l.weight(a.Query, 2*width, hidden), l.optional(a.Query.Bias, 2*width)
	if l.err != nil {
		return of, biases
	}
	for at := 0; at < 2*width; at += a.HeadSize {
		which := at / a.HeadSize % 2
		of[which] = append(of[which], all.Slice(at, a.HeadSize))
		if bias == nil {
			biases[which] = append(biases[which], make([]float32, a.HeadSize)...)
		} else {
			biases[which] = append(biases[which], bias[at:at+a.HeadSize]...)
		}
	}
	return of, biases
}

// fused unpicks a tensor whose rows repeat, group by group, queries, keys and
// values.
func (l *loader) fused(a *arch.Attention, hidden, queries, keys int) *linear {
	if a.Groups < 1 || a.Heads%a.Groups != 0 || a.KVHeads%a.Groups != 0 {
		l.fail("%d query and %d key heads do not form %d groups", a.Heads, a.KVHeads, a.Groups)
		return nil
	}
	v := l.weight(a.Fused, queries+2*keys, hidden)
	var bias []float32
	if a.Fused.Bias != "" {
		bias = l.vector(a.Fused.Bias, queries+2*keys)
	}
	if l.err != nil {
		return nil
	}
	q, k := queries/a.Groups, keys/a.Groups
	var views []kernel.View
	var ordered []float32
	key, value := q, q+k
	if a.ValuesBeforeKeys {
		key, value = value, key
	}
	for _, part := range []struct{ from, n int }{{0, q}, {key, k}, {value, k}} {
		for g := range a.Groups {
			from := g*(q+2*k) + part.from
			views = append(views, v.Slice(from, part.n))
			if bias != nil {
				ordered = append(ordered, bias[from:from+part.n]...)
			}
		}
	}
	packed := &linear{weight: l.pack(views...), bias: ordered}
	return packed
}

func (l *loader) norm(n *arch.Norm, width int) *norm {
	if n == nil {
		return nil
	}
	loaded := &norm{Norm: n}
	if n.Weight != "" {
		loaded.weight = l.vector(n.Weight, width)
	}
	if n.Bias != "" {
		loaded.bias = l.vector(n.Bias, width)
	}
	loaded.addOffset()
	return loaded
}

// addOffset adds the offset to a layer norm's weight, since its kernel takes none.
func (n *norm) addOffset() {
	if n.Kind == arch.Layer {
		for i := range n.weight {
			n.weight[i] += n.Offset
		}
	}
}

// headNorm reads the weight of a query or key norm, whose shape its scope says.
func (l *loader) headNorm(n *arch.Norm, a *arch.Attention, heads int) *norm {
	switch {
	case n == nil:
		return nil
	case a.NormScope == arch.EachHead:
		return l.norm(n, a.HeadSize)
	case a.NormScope == arch.AllHeads:
		return l.norm(n, heads*a.HeadSize)
	}
	loaded := &norm{Norm: n}
	read := func(name string) []float32 {
		if name == "" {
			return nil
		}
		var all []float32
		if !strings.Contains(name, "{head}") {
			v := l.tensor(name, heads, a.HeadSize)
			for r := 0; l.err == nil && r < heads; r++ {
				row := make([]float32, a.HeadSize)
				v.Row(r, row)
				all = append(all, row...)
			}
			return all
		}
		for h := range heads {
			all = append(all, l.vector(strings.ReplaceAll(name, "{head}", strconv.Itoa(h)), a.HeadSize)...)
		}
		return all
	}
	loaded.weight, loaded.bias = read(n.Weight), read(n.Bias)
	loaded.addOffset()
	return loaded
}
