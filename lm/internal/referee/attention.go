package referee

import (
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/internal/bfloat16"
)

// attention computes a token's queries, keys and values, keeps the latter two,
// and attends over its ancestors and itself.
func (t *token) attention(layer int, x []float64) []float64 {
	a, b := &t.model.decoder.Blocks[layer].Attention, &t.model.blocks[layer]
	queries := t.turned(a, b.queryNorm, heads(a, t.model.product(b.query, x)))
	keys := t.turned(a, b.keyNorm, heads(a, t.model.product(b.key, x)))
	values := clamped(a, heads(a, t.model.product(b.value, x)))
	t.cache[layer][t.slots[t.position]] = cached{keys, values}

	first := 0
	if a.Window > 0 {
		first = max(0, t.position-a.Window+1)
	}
	var out []float64
	for h, query := range queries {
		shared := h / (a.Heads / a.KVHeads)
		var scores []float64
		for position := first; position <= t.position; position++ {
			key := t.cache[layer][t.slots[position]].keys[shared]
			score := softCap(dot(query, key)*float64(a.Scale), a.SoftCap)
			scores = append(scores, score+bias(a, h, position))
		}
		head := make([]float64, a.HeadSize)
		for i, weight := range softmax(scores) {
			add(head, t.cache[layer][t.slots[first+i]].values[shared], weight)
		}
		out = append(out, head...)
	}
	t.reach(layer, arch.AttnHeads, out)
	return t.model.product(b.output, out)
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
	r.Angles(t.position, r.Regime(t.length), cos, sin)
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
