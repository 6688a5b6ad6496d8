package referee

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/internal/bfloat16"
)

type block struct {
	beforeAttention, afterAttention, afterAttentionAdd *norm
	query, key, value, output                          *linear
	queryNorm, keyNorm                                 *headNorm
	beforeMLP, afterMLP, afterMLPAdd                   *norm
	mlp                                                mlp
}

type mlp struct {
	activation     arch.Activation
	gate, up, down *linear // gate nil: none

	router     *linear
	experts    []mlp // nil: dense
	perToken   int
	normalize  bool
	shared     *mlp    // nil: none
	sharedGate *linear // nil: 1
}

// Load reads the weights that the decoder names.
func Load(ctx context.Context, d *arch.Decoder, source engine.Source, dtype engine.DType) (*Model, error) {
	l := &loader{source: source, prefix: d.Prefix, counted: map[string]bool{}}
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
	for i := range d.Blocks {
		m.blocks = append(m.blocks, l.block(&d.Blocks[i], d.Hidden))
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
	prefix     string
	rounds     bool
	parameters int
	counted    map[string]bool // tensors, in parameters
	err        error
}

func (l *loader) find(name string) (safetensors.Tensor, bool) {
	if t, ok := l.source.Tensor(name); ok {
		return t, true
	}
	return l.source.Tensor(strings.TrimPrefix(name, l.prefix))
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

func (l *loader) matrix(name string, rows, cols int) [][]float64 {
	return slices.Collect(slices.Chunk(l.tensor(name, rows, cols), cols))
}

// linear reads a product; nil where it is absent.
func (l *loader) linear(part arch.Linear, out, in int) *linear {
	if part.Weight == "" {
		return nil
	}
	read := &linear{}
	if part.Transposed {
		stored := l.matrix(part.Weight, in, out)
		for o := range out {
			row := make([]float64, in)
			for i := range row {
				row[i] = stored[i][o]
			}
			read.weight = append(read.weight, row)
		}
	} else {
		read.weight = l.matrix(part.Weight, out, in)
	}
	if l.rounds {
		for _, row := range read.weight {
			for i, v := range row {
				row[i] = float64(bfloat16.Widen(bfloat16.Round(float32(v))))
			}
		}
	}
	if part.Bias != "" {
		read.bias = l.vector(part.Bias, out)
	}
	return read
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
		output:    l.linear(a.Output, hidden, a.Heads*a.HeadSize),
		queryNorm: l.headNorm(a.QueryNorm, a, a.Heads), keyNorm: l.headNorm(a.KeyNorm, a, a.KVHeads),
		beforeMLP: l.norm(b.BeforeMLP, hidden), afterMLP: l.norm(b.AfterMLP, hidden), afterMLPAdd: l.norm(b.AfterMLPAdd, hidden),
		mlp: l.mlp(&b.MLP, hidden),
	}
	queries, keys := a.Heads*a.HeadSize, a.KVHeads*a.HeadSize
	if a.Fused.Weight == "" {
		out.query, out.key, out.value = l.linear(a.Query, queries, hidden), l.linear(a.Key, keys, hidden), l.linear(a.Value, keys, hidden)
		return out
	}
	fused := l.linear(a.Fused, queries+2*keys, hidden)
	var q, k, v []int
	for o := 0; o < queries+2*keys; {
		q = append(q, numbers(o, queries/a.Groups)...)
		o += queries / a.Groups
		k = append(k, numbers(o, keys/a.Groups)...)
		o += keys / a.Groups
		v = append(v, numbers(o, keys/a.Groups)...)
		o += keys / a.Groups
	}
	out.query, out.key, out.value = fused.part(q...), fused.part(k...), fused.part(v...)
	return out
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

func (l *loader) mlp(p *arch.MLP, hidden int) mlp {
	if p.Experts == nil {
		return l.dense(p, hidden, "")
	}
	e := p.Experts
	m := mlp{router: l.linear(e.Router, e.Count, hidden), perToken: e.PerToken, normalize: e.Normalize}
	for i := range e.Count {
		m.experts = append(m.experts, l.dense(p, hidden, strconv.Itoa(i)))
	}
	if e.Shared != nil {
		shared := l.mlp(e.Shared, hidden)
		m.shared, m.sharedGate = &shared, l.linear(e.SharedGate, 1, hidden)
	}
	return m
}

// dense reads one MLP, in whose tensors' names an expert's number stands.
func (l *loader) dense(p *arch.MLP, hidden int, expert string) mlp {
	read := func(part arch.Linear, out, in int) *linear {
		part.Weight = strings.ReplaceAll(part.Weight, "{expert}", expert)
		part.Bias = strings.ReplaceAll(part.Bias, "{expert}", expert)
		return l.linear(part, out, in)
	}
	m := mlp{activation: p.Activation, down: read(p.Down, hidden, p.Inner)}
	if both := read(p.GateUp, 2*p.Inner, hidden); both != nil {
		m.gate, m.up = both.part(numbers(0, p.Inner)...), both.part(numbers(p.Inner, p.Inner)...)
		return m
	}
	m.gate, m.up = read(p.Gate, p.Inner, hidden), read(p.Up, p.Inner, hidden)
	return m
}
