package referee

import (
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/internal/bfloat16"
)

// attention computes a token's queries, keys and values, keeps the latter two,
// and attends over its ancestors and itself.
func (t *token) attention(layer int, x []float64) []float64 {
	a, b := &t.model.blocks[layer].Attention, &t.model.blocks[layer]
	x = scaled(x, orOne(a.InputScale))
	var queries [][]float64
	var own cached
	var chosen []choice
	switch {
	case b.latent != nil:
		queries, own = t.latent(a, b.latent, x)
	case b.mixed != nil:
		chosen = t.choose(&b.mixed.router, x)
		queries, own = t.projected(a, b, t.queriesOf(a, b.mixed, chosen, x), x)
	case a.KeysBack > 0:
		queries = t.turned(a, b.queryNorm, heads(a, t.model.product(b.query, x)))
	default:
		queries, own = t.projected(a, b, heads(a, t.model.product(b.query, x)), x)
	}
	if a.Temperature != nil {
		for h := range queries {
			queries[h] = scaled(queries[h], float64(a.Temperature.At(t.position)))
		}
	}
	if !t.again && a.KeysBack == 0 {
		t.cache[layer][t.slots[t.position]] = own
	}

	out := t.gatherAll(layer, queries)
	if b.gate != nil {
		for i, v := range t.model.product(b.gate, x) {
			out[i] *= sigmoid(v)
		}
	}
	t.reach(layer, arch.AttnHeads, out)
	if b.mixed != nil {
		return t.outputsOf(a, b.mixed, chosen, heads(a, out))
	}
	return t.model.product(b.output, out)
}

// projected normalises, clamps and turns what the projections give.
func (t *token) projected(a *arch.Attention, b *block, queries [][]float64, x []float64) ([][]float64, cached) {
	return t.turned(a, b.queryNorm, queries), cached{
		keys:   t.turned(a, b.keyNorm, heads(a, t.model.product(b.key, x))),
		values: clamped(a, b.valueNorm.of(a, heads(a, t.model.product(b.value, x)))),
	}
}

// gatherAll returns what the heads gather, one after the other.
func (t *token) gatherAll(layer int, queries [][]float64) (out []float64) {
	a, b := &t.model.blocks[layer].Attention, &t.model.blocks[layer]
	d := a.Differential
	if d == nil {
		for h, query := range queries {
			out = append(out, t.gather(layer, h, query, h)...)
		}
		return out
	}
	half := a.Heads / 2
	for h := range half {
		var row []float64
		for _, of := range []int{h, h + half} {
			first, second := t.gather(layer, h, queries[h], of), t.gather(layer, h+half, queries[h+half], of)
			row = append(row, sum(first, scaled(second, -b.lambda))...)
		}
		out = append(out, scaled((&norm{Norm: d.Norm}).of(row), 1-float64(d.Initial))...)
	}
	return out
}

// gather returns the values that belong to one head, weighed by the scores of
// another, or the same.
func (t *token) gather(layer, head int, query []float64, of int) []float64 {
	a, b := &t.model.blocks[layer].Attention, &t.model.blocks[layer]
	first := 0
	if a.Window > 0 {
		first = max(0, t.position-a.Window+1)
	}
	if a.Chunk > 0 {
		first = max(first, t.position/a.Chunk*a.Chunk)
	}
	seen := func(position int) cached { return t.cache[layer-a.KeysBack][t.slots[position]] }
	shared := func(head int) int { return head * len(seen(t.position).keys) / a.Heads }
	var scores []float64
	for position := first; position <= t.position; position++ {
		score := softCap(dot(query, seen(position).keys[shared(head)])*float64(a.Scale), a.SoftCap)
		scores = append(scores, score+bias(a, head, position))
	}
	seenOnes := len(scores)
	if b.sinks != nil {
		scores = append(scores, b.sinks[head])
	}
	gathered := make([]float64, len(seen(t.position).values[0]))
	for i, weight := range softmax(scores)[:seenOnes] {
		add(gathered, seen(first + i).values[shared(of)], weight)
	}
	return gathered
}

// heads parts a row into heads.
func heads(a *arch.Attention, row []float64) [][]float64 {
	return slices.Collect(slices.Chunk(row, a.HeadSize))
}

// clamped clamps heads as the attention says.
func clamped(a *arch.Attention, heads [][]float64) [][]float64 {
	for _, head := range heads {
		for i, v := range head {
			if a.Clip > 0 {
				head[i] = min(max(v, -float64(a.Clip)), float64(a.Clip))
			}
		}
	}
	return heads
}

// turned normalises, clamps and turns heads, in the order that the attention has.
func (t *token) turned(a *arch.Attention, n *headNorm, heads [][]float64) [][]float64 {
	if a.NormAfterRope {
		return n.of(a, t.rotated(a, clamped(a, heads)))
	}
	return t.rotated(a, clamped(a, n.of(a, heads)))
}

// rotated turns heads by the token's position.
func (t *token) rotated(a *arch.Attention, heads [][]float64) [][]float64 {
	r := a.Rope
	if r == nil {
		return heads
	}
	half := r.Size / 2
	cos, sin := make([]float32, half), make([]float32, half)
	r.Angles(t.position, r.Variant(t.length), cos, sin)
	for _, head := range heads {
		for i := range half {
			j, k := i, i+half
			if r.Interleaved {
				j, k = 2*i, 2*i+1
			}
			x, y, c, s := head[j], head[k], float64(cos[i]), float64(sin[i])
			head[j], head[k] = x*c-y*s, y*c+x*s
		}
	}
	return heads
}

// bias is what ALiBi adds to the score of a key.
func bias(a *arch.Attention, head, position int) float64 {
	if a.Alibi == nil {
		return 0
	}
	// A rounding is a step: it is made from the float32 number that is described.
	b := a.Alibi.Slopes[head] * float32(position)
	if a.Alibi.RoundBias {
		b = bfloat16.Widen(bfloat16.Round(b))
	}
	if a.Alibi.ScaleBias {
		return float64(b) * float64(a.Scale)
	}
	return float64(b)
}

// headNorm is a norm of queries or keys: one for all heads together, or one for
// each head.
type headNorm struct{ norms []*norm }

func (n *headNorm) of(a *arch.Attention, heads [][]float64) [][]float64 {
	switch {
	case n == nil:
		return heads
	case a.NormScope == arch.AllHeads:
		return slices.Collect(slices.Chunk(n.norms[0].of(slices.Concat(heads...)), a.HeadSize))
	}
	var out [][]float64
	for h, head := range heads {
		out = append(out, n.norms[h].of(head))
	}
	return out
}
