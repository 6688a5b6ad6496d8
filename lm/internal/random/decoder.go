package random

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

func digits(n int) string { return strconv.Itoa(n) }

// drawing is a checkpoint under construction.
type drawing struct {
	*Checkpoint
	*rand.Rand
	options Options
	prefix  string // of the tensors' names
	ropes   []*arch.Rope
}

// New draws a checkpoint.
func New(seed uint64, o Options) *Checkpoint {
	if o.Positions == 0 {
		o.Positions = 64
	}
	if o.Stored == "" {
		o.Stored = safetensors.F32
	}
	d := &drawing{
		Checkpoint: &Checkpoint{Decoder: &arch.Decoder{Family: "random"}, seed: seed, stored: o.Stored, tensors: map[string]tensor{}},
		Rand:       rand.New(rand.NewPCG(seed, 0)),
		options:    o,
	}
	d.decoder()
	slices.Sort(d.Shape)
	d.Shape = slices.Compact(d.Shape)
	return d.Checkpoint
}

func (d *drawing) chance(percent int) bool { return d.IntN(100) < percent }

func oneOf[T any](d *drawing, values ...T) T { return values[d.IntN(len(values))] }

// note names what is drawn where it is drawn.
func (d *drawing) note(is bool, format string, args ...any) bool {
	if is {
		d.Shape = append(d.Shape, fmt.Sprintf(format, args...))
	}
	return is
}

// between returns a float32 in [low, high).
func (d *drawing) between(low, high float64) float32 {
	return float32(low + (high-low)*d.Float64())
}

func (d *drawing) decoder() {
	dec := d.Decoder
	dec.Hidden = oneOf(d, 8, 12, 20, 32, 36, 64, 72, 130)
	dec.Vocabulary = d.options.Vocabulary
	if dec.Vocabulary == 0 {
		dec.Vocabulary = 11 + d.IntN(140)
	}
	width := dec.Hidden
	e := &dec.Embedding
	if d.note(d.chance(20), "embedding: projected") {
		width = oneOf(d, 6, 16, dec.Hidden, 90)
		e.Width = width
		e.Project = d.linear("project_in", dec.Hidden, width)
		dec.Head.Project = d.linear("project_out", width, dec.Hidden)
	}
	e.Tokens = "tokens"
	d.tensors[e.Tokens] = tensor{shape: []int{dec.Vocabulary, width}, spread: 1}
	if d.note(d.chance(30), "embedding: scaled") {
		e.Scale = d.between(0.5, 3)
	}
	if d.note(d.chance(30), "embedding: learned positions") {
		e.Positions, e.PositionOffset = "positions", oneOf(d, 0, 2)
		dec.MaxPositions = d.options.Positions
		d.tensors[e.Positions] = tensor{shape: []int{dec.MaxPositions + e.PositionOffset, dec.Hidden}, spread: 0.5}
	} else if d.note(d.chance(10), "embedding: sinusoidal positions") {
		e.Sinusoidal, e.PositionOffset = true, oneOf(d, 0, 2)
	}
	if d.note(d.chance(20), "embedding: norm") {
		e.Norm = d.norm("embedding_norm", dec.Hidden)
	}
	if !d.note(d.chance(15), "head: no norm") {
		dec.Norm = d.norm("norm", dec.Hidden)
	}
	dec.Head.Tied = d.note(d.chance(50), "head: tied")
	if dec.Head.Tied {
		if d.note(d.chance(30), "head: tied with bias") {
			dec.Head.Bias = d.vector("head.bias", dec.Vocabulary, 0)
		}
	} else {
		dec.Head.Linear = d.linear("head", dec.Vocabulary, width)
	}
	if d.note(d.chance(25), "head: scaled") {
		dec.Head.Scale = d.between(0.2, 2)
	}
	if d.note(d.chance(25), "head: soft cap") {
		dec.Head.SoftCap = d.between(2, 20)
	}
	layers := 1 + d.IntN(4)
	d.drawRopes()
	if d.note(d.chance(12), "residual: several streams") {
		d.streams()
	}
	if e.Width == 0 && d.note(d.chance(15), "embedding: inputs of layers") {
		d.layerInputs(layers)
	}
	for layer := range layers {
		d.prefix = fmt.Sprintf("layers.%d.", layer)
		b := d.block()
		if dec.Streams == nil && b.Attention.KeysBack == 0 && b.LayerInput == nil && d.note(d.chance(12), "layer: two blocks") {
			d.first(&b, layer)
		}
		dec.Blocks = append(dec.Blocks, b)
	}
	d.prefix = ""
	d.wrap()
}

// wrap stores the tensors under other names than those of the description, as
// [arch.Decoder.Names] allows.
func (d *drawing) wrap() {
	d.Decoder.Prefix = "layers."
	kind := d.IntN(8)
	if !d.note(kind < 3, "names: of kind %d", kind) {
		return
	}
	if kind > 0 {
		d.Decoder.Wrapper = "wrapper"
	}
	stored := map[string]tensor{}
	for name, t := range d.tensors {
		short, prefixed := strings.CutPrefix(name, d.Decoder.Prefix)
		switch {
		case kind == 0 && prefixed:
			name = short
		case kind == 1:
			name = "language_model." + name
		case kind == 2 && prefixed:
			name = "model.language_model." + short
		}
		stored[name] = t
	}
	d.tensors = stored
}

func (d *drawing) block() arch.Block {
	hidden := d.Decoder.Hidden
	b := arch.Block{Parallel: d.note(d.chance(25), "block: parallel")}
	maybe := func(place string, percent int) *arch.Norm {
		if !d.note(d.chance(percent), "norm %s", place) {
			return nil
		}
		return d.norm(strings.ReplaceAll(place, " ", "_"), hidden)
	}
	b.BeforeAttention, b.BeforeMLP = maybe("before attention", 80), maybe("before mlp", 70)
	if b.Parallel {
		d.note(b.BeforeMLP == nil, "block: parallel behind one norm")
		d.note(b.BeforeMLP == nil && b.BeforeAttention == nil, "block: parallel without norms")
	} else {
		b.AfterAttention, b.AfterAttentionAdd = maybe("after attention", 20), maybe("after attention is added", 20)
		b.AfterMLP, b.AfterMLPAdd = maybe("after mlp", 20), maybe("after mlp is added", 20)
	}
	d.sites(&b)
	if d.note(d.chance(20), "residual: scaled") {
		b.AttentionScale, b.MLPScale = d.between(0.1, 1.5), d.between(0.1, 1.5)
	}
	if d.note(d.chance(15), "residual: the stream is scaled") {
		b.AttentionKeeps, b.MLPKeeps = d.between(0.5, 1.5), d.between(0.5, 1.5)
	}
	if !b.Parallel || b.BeforeMLP == nil {
		b.ResidualAfterNorm = d.note(d.chance(15), "residual: after the norm")
	}
	if b.AttentionScale == 0 && b.AttentionKeeps == 0 && b.AfterAttention == nil && b.AfterMLP == nil {
		b.AttentionAddsResidual = d.note(d.chance(20), "residual: added by attention")
		b.MLPAddsResidual = d.note(d.chance(20), "residual: added by the mlp")
	}
	switch kind := d.IntN(100); {
	case d.note(kind < 18, "block: recurrence"):
		b.Recurrence = d.recurrence()
	case d.note(kind < 26, "block: recurrence beside attention"):
		b.Attention, b.Recurrence = d.attention(), d.recurrence()
		if d.note(d.chance(50), "recurrence: scaled") {
			b.Recurrence.Scale = d.between(0.2, 1.5)
		}
	default:
		b.Attention = d.attention()
	}
	b.MLP = d.mlp("mlp.")
	if d.note(d.chance(12), "block: another mlp beside") {
		beside := d.mlp("beside.")
		b.MLPBeside = &beside
	}
	d.beyond(&b)
	return b
}

// first puts another block before one. Each site is shown by one of them.
func (d *drawing) first(b *arch.Block, layer int) {
	d.prefix = fmt.Sprintf("layers.%d.first.", layer)
	first := d.block()
	first.LayerInput = nil
	first.Hidden = []arch.Site{arch.SelfAttn, arch.AttnHeads, arch.ResidualMid, arch.MLPOutput, arch.DecoderBlock}
	for _, site := range []arch.Site{arch.InputLayerNorm, arch.PostAttentionLayerNorm} {
		if of := oneOf(d, &first, b); d.chance(80) {
			of.Hidden = append(of.Hidden, site)
			continue
		}
		first.Hidden, b.Hidden = append(first.Hidden, site), append(b.Hidden, site)
	}
	if !first.Parallel && d.note(d.chance(60), "layer: shortcut") {
		shortcut := d.mlp("shortcut.")
		first.Shortcut = &shortcut
		b.Hidden = append(b.Hidden, arch.MLPOutput)
	}
	b.First = &first
}

// sites gives each of the sites of norms to one norm.
func (d *drawing) sites(b *arch.Block) {
	var norms []*arch.Norm
	for _, n := range []*arch.Norm{b.BeforeAttention, b.AfterAttention, b.AfterAttentionAdd, b.BeforeMLP, b.AfterMLP, b.AfterMLPAdd} {
		if n != nil {
			norms = append(norms, n)
		}
	}
	for _, site := range []arch.Site{arch.InputLayerNorm, arch.PostAttentionLayerNorm} {
		if len(norms) > 0 && d.chance(85) {
			i := d.IntN(len(norms))
			norms[i].Site = site
			norms = slices.Delete(norms, i, i+1)
		}
	}
}

// norm is a norm of rows of a width.
func (d *drawing) norm(name string, width int) *arch.Norm {
	return d.normOf(name, func(name string, centre float64) string { return d.vector(name, width, centre) })
}

func (d *drawing) normOf(name string, vector func(name string, centre float64) string) *arch.Norm {
	n := &arch.Norm{Kind: oneOf(d, arch.RMS, arch.Layer), Epsilon: oneOf[float32](d, 1e-5, 1e-6)}
	if !d.note(d.chance(15), "norm: without weight") {
		if d.note(d.chance(25), "norm: offset, of kind %d", n.Kind) {
			n.Offset = 1
		}
		n.Weight = vector(name+".weight", 1-float64(n.Offset))
	}
	if d.note(d.chance(50), "norm: bias, of kind %d", n.Kind) {
		n.Bias = vector(name+".bias", 0)
	}
	return n
}

func (d *drawing) attention() arch.Attention {
	if d.note(d.chance(15) && d.sharable() != nil, "attention: keys of another layer") {
		return d.sharing()
	}
	a := arch.Attention{KVHeads: oneOf(d, 1, 1, 2, 3, 4), HeadSize: oneOf(d, 2, 4, 5, 6, 8, 8, 10, 16, 16, 20, 32)}
	a.Heads = a.KVHeads * oneOf(d, 1, 1, 2, 3, 5)
	switch kind := d.IntN(100); {
	case d.note(kind < 12, "attention: latent"):
		d.latent(&a)
	case d.note(kind < 22, "attention: experts"):
		d.mixed(&a)
	case d.note(kind < 32, "attention: differential"):
		a.KVHeads = oneOf(d, 1, 2, 4)
		a.Heads = a.KVHeads * oneOf(d, 2, 2, 4)
		if a.KVHeads > 1 {
			a.Heads = a.KVHeads * oneOf(d, 1, 2, 3)
		}
		d.projections(&a)
		if a.Gated {
			a.Gated, a.Query = false, d.linear("q", a.Heads*a.HeadSize, d.Decoder.Hidden)
		}
		a.Differential = &arch.Differential{Initial: d.between(0.2, 0.8), Norm: &arch.Norm{Kind: oneOf(d, arch.RMS, arch.Layer), Epsilon: 1e-5}}
		for name, to := range map[string]*string{"q1": &a.Differential.Query1, "k1": &a.Differential.Key1, "q2": &a.Differential.Query2, "k2": &a.Differential.Key2} {
			*to = d.vector("lambda_"+name, a.HeadSize, 0)
		}
	default:
		d.projections(&a)
	}
	d.positioned(&a)
	return a
}

// sharable returns the attention of the layers before whose keys and values others
// may attend to, by how many layers they lie before; nil: there is none.
func (d *drawing) sharable() (back []int) {
	if strings.HasSuffix(d.prefix, "first.") {
		return nil
	}
	for i := len(d.Decoder.Blocks) - 1; i >= 0; i-- {
		b := &d.Decoder.Blocks[i]
		if a := &b.Attention; a.Heads > 0 && a.KeysBack == 0 && a.Latent == nil && a.Experts == nil {
			back = append(back, len(d.Decoder.Blocks)-i)
		}
		if b.First != nil {
			return nil
		}
	}
	return back
}

// sharing draws attention to the keys and values of another layer.
func (d *drawing) sharing() arch.Attention {
	back := oneOf(d, d.sharable()...)
	of := &d.Decoder.Blocks[len(d.Decoder.Blocks)-back].Attention
	a := arch.Attention{KVHeads: of.KVHeads, HeadSize: of.HeadSize, Heads: of.KVHeads * oneOf(d, 1, 2, 3), KeysBack: back}
	width := a.Heads * a.HeadSize
	if a.Gated = d.note(d.chance(20), "attention: gated, with the keys of another layer"); a.Gated {
		a.Query = d.linear("q", 2*width, d.Decoder.Hidden)
	} else {
		a.Query = d.linear("q", width, d.Decoder.Hidden)
	}
	a.Output = d.linear("o", d.Decoder.Hidden, width)
	d.positioned(&a)
	return a
}

// positioned draws what queries and keys do before they meet, and how they meet.
func (d *drawing) positioned(a *arch.Attention) {
	d.note(a.Heads > a.KVHeads, "attention: grouped queries")
	if a.Latent == nil {
		d.normHeads(a)
		a.Rope = d.rope(a.HeadSize)
	} else {
		a.Rope = d.rope(a.Latent.RopeSize)
	}
	if !a.Gated && d.note(d.chance(15), "attention: input scaled") {
		a.InputScale = d.between(0.3, 2)
	}
	if d.note(d.chance(20), "attention: alibi") {
		a.Alibi = &arch.Alibi{RoundBias: d.note(d.chance(30), "alibi: rounded"), ScaleBias: d.note(d.chance(30), "alibi: scaled")}
		for range a.Heads {
			a.Alibi.Slopes = append(a.Alibi.Slopes, d.between(0, 0.7))
		}
	}
	if d.note(d.chance(30), "attention: window") {
		a.Window = 1 + d.IntN(12)
	}
	if d.note(d.chance(20), "attention: chunk") {
		a.Chunk = 1 + d.IntN(12)
	}
	if d.note(d.chance(20), "attention: sinks") {
		a.Sinks = d.vector("sinks", a.Heads, 0)
	}
	a.Scale = float32(1 / math.Sqrt(float64(a.HeadSize)))
	if d.note(d.chance(20), "attention: scale of its own") {
		a.Scale = d.between(0.1, 1)
	}
	if d.note(d.chance(20), "attention: soft cap") {
		a.SoftCap = d.between(0.5, 10)
	}
}

// normHeads draws what is done to queries, keys and values before they meet.
func (d *drawing) normHeads(a *arch.Attention) {
	a.NormScope = oneOf(d, arch.EachHead, arch.EachHeadOwnWeight, arch.AllHeads)
	if d.note(d.chance(25), "attention: query norm of scope %d", a.NormScope) {
		a.QueryNorm = d.headNorm("q_norm", a, a.Heads)
	}
	if a.KeysBack == 0 && d.note(d.chance(25), "attention: key norm of scope %d", a.NormScope) {
		a.KeyNorm = d.headNorm("k_norm", a, a.KVHeads)
	}
	if a.KeysBack == 0 && d.note(d.chance(15), "attention: value norm of scope %d", a.NormScope) {
		a.ValueNorm = d.headNorm("v_norm", a, a.KVHeads)
	}
	if a.QueryNorm != nil || a.KeyNorm != nil {
		a.NormAfterRope = d.note(d.chance(30), "attention: norms after the rotation")
	}
	if d.note(d.chance(20), "attention: clipped") {
		a.Clip = d.between(0.5, 2)
	}
	if d.note(d.chance(15), "attention: temperature") {
		a.Temperature = &arch.Temperature{Floor: d.between(2, 9), Scale: d.between(0.1, 1)}
	}
}

// projections draws usual queries, keys and values.
func (d *drawing) projections(a *arch.Attention) {
	hidden, queries, keys := d.Decoder.Hidden, a.Heads*a.HeadSize, a.KVHeads*a.HeadSize
	if d.note(d.chance(40), "attention: fused") {
		d.fused(a, queries)
	} else {
		a.Query, a.Key, a.Value = d.linear("q", queries, hidden), d.linear("k", keys, hidden), d.linear("v", keys, hidden)
	}
	if a.Fused.Weight == "" && d.note(d.chance(20), "attention: gated") {
		a.Gated, a.Query = true, d.linear("q", 2*queries, hidden)
	}
	a.Output = d.linear("o", hidden, queries)
}

// fused draws a tensor of so many queries, with keys and values.
func (d *drawing) fused(a *arch.Attention, queries int) {
	a.Groups = oneOf(d, 1, a.KVHeads)
	a.ValuesBeforeKeys = d.note(d.chance(25), "attention: values before keys")
	a.Fused = d.linear("qkv", queries+2*a.KVHeads*a.HeadSize, d.Decoder.Hidden)
}

func (d *drawing) latent(a *arch.Attention) {
	hidden := d.Decoder.Hidden
	l := &arch.Latent{Rank: oneOf(d, 4, 6, 12, 24, 32), KeySize: oneOf(d, 2, 5, 8, 16), RopeSize: oneOf(d, 2, 4, 8), ValueSize: oneOf(d, 2, 3, 8, 16)}
	a.KVHeads, a.HeadSize, a.Latent = 1, l.Rank+l.RopeSize, l
	in := hidden
	if d.note(d.chance(50), "latent: of queries") {
		l.QueryRank = oneOf(d, 4, 10, 32)
		in = l.QueryRank
		l.QueryDown, l.QueryNorm = d.linear("q_down", in, hidden), d.norm("q_latent_norm", in)
	}
	l.QueryUp = d.linear("q_up", a.Heads*(l.KeySize+l.RopeSize), in)
	if d.note(d.chance(30), "latent: scaled") {
		l.Scale = d.between(0.5, 2)
	}
	l.Down, l.Norm = d.linear("kv_down", l.Rank+l.RopeSize, hidden), d.norm("latent_norm", l.Rank)
	if d.note(d.chance(30), "latent: heads apart") {
		spread := 1 / math.Sqrt(float64(l.Rank))
		d.each("k_up.{head}", "{head}", a.Heads, tensor{shape: []int{l.Rank, l.KeySize}, spread: spread})
		d.each("v_up.{head}", "{head}", a.Heads, tensor{shape: []int{l.ValueSize, l.Rank}, spread: spread})
		l.KeyUp, l.ValueUp = d.prefix+"k_up.{head}", d.prefix+"v_up.{head}"
	} else {
		l.Up = d.weight("kv_up", a.Heads*(l.KeySize+l.ValueSize), l.Rank)
	}
	a.Output = d.linear("o", hidden, a.OutputWidth())
}

// mixed draws attention whose queries are experts.
func (d *drawing) mixed(a *arch.Attention) {
	hidden, keys := d.Decoder.Hidden, a.KVHeads*a.HeadSize
	a.Experts = d.experts("attention_")
	a.Heads = a.KVHeads * a.Experts.PerToken
	d.fused(a, 0)
	a.Query, a.Output = d.weight("q", keys, hidden), d.weight("o", hidden, keys)
	d.ofExperts(&a.Query, a.Experts.Count)
	d.ofExperts(&a.Output, a.Experts.Count)
}

func (d *drawing) headNorm(name string, a *arch.Attention, heads int) *arch.Norm {
	return d.normOf(name, func(name string, centre float64) string {
		switch a.NormScope {
		case arch.EachHead:
			return d.vector(name, a.HeadSize, centre)
		case arch.AllHeads:
			return d.vector(name, heads*a.HeadSize, centre)
		}
		return d.perHead(name, heads, a.HeadSize, centre)
	})
}
