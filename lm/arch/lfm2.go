package arch

import (
	"slices"
	"strconv"
)

var _ = register(lfm2, "lfm2")

// lfm2 has gated short convolutions on most layers and, on a few, attention with
// norms on each head's query and key (Liquid AI 2025).
func lfm2(c *Config) *Decoder {
	c.suppose(map[string]string{"rope_theta": "1000000", "intermediate_size": strconv.Itoa(c.IntOr("block_ff_dim", 0))})
	d := llama(c)
	inner := lfm2Inner(c)
	d.Norm = lfm2Norm(c, "model.embedding_norm", "") // past the last block, whatever its name
	d.Head.Tied = c.Bool("tie_embedding", c.Bool("tie_word_embeddings", true))
	for site, name := range map[Site]string{MLPOutput: "feed_forward", InputLayerNorm: "operator_norm", PostAttentionLayerNorm: "ffn_norm"} {
		d.Modules[site] = "model.layers.{num}." + name
	}
	types, full := c.Strings("layer_types"), c.Floats("full_attn_idxs")
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.BeforeAttention, b.BeforeMLP = lfm2Norm(c, p+"operator_norm", InputLayerNorm), lfm2Norm(c, p+"ffn_norm", PostAttentionLayerNorm)
		b.MLP.Inner = inner
		b.MLP.Gate, b.MLP.Up, b.MLP.Down = linear(p+"feed_forward.w1", false), linear(p+"feed_forward.w3", false), linear(p+"feed_forward.w2", false)
		attends := slices.Contains(full, float64(i))
		if i < len(types) {
			attends = types[i] == "full_attention"
		}
		if attends {
			a := &b.Attention
			a.QueryNorm, a.KeyNorm = lfm2Norm(c, p+"self_attn.q_layernorm", ""), lfm2Norm(c, p+"self_attn.k_layernorm", "")
			a.Output = linear(p+"self_attn.out_proj", false)
			continue
		}
		b.Modules = map[Site]string{SelfAttn: "model.layers.{num}.conv"}
		b.Attention, b.Recurrence = Attention{}, shortConvolution(c, p+"conv.", d.Hidden)
	}
	return d
}

// shortConvolution is B·x past a convolution, times C; the three are one projection.
func shortConvolution(c *Config, p string, hidden int) *Recurrence {
	bias := c.Bool("conv_bias", false)
	r := &Recurrence{
		In:          []Projection{{Linear: linear(p+"in_proj", bias), Groups: 1, Parts: []Part{{Role: Key, Size: hidden}, {Role: Gate, Size: hidden}, {Role: Value, Size: hidden}}}},
		Convolution: &Convolution{Weight: p + "conv.weight", Taps: c.IntOr("conv_L_cache", 3), Order: []Role{Value}},
		Width:       hidden, Output: linear(p+"out_proj", bias),
	}
	if bias {
		r.Convolution.Bias = p + "conv.bias"
	}
	return r
}

func lfm2Norm(c *Config, name string, site Site) *Norm {
	return &Norm{Kind: RMS, Weight: name + ".weight", Epsilon: float32(c.Float("norm_eps", 1e-5)), Site: site}
}

// lfm2Inner is the width of the MLP: of the one that the config names two thirds,
// times a factor, rounded up to a multiple, where the config says so.
func lfm2Inner(c *Config) int {
	inner := c.Int("block_ff_dim", "intermediate_size")
	if !c.Bool("block_auto_adjust_ff_dim", true) {
		return inner
	}
	inner = int(float64(2*inner/3) * c.Float("block_ffn_dim_multiplier", 1))
	multiple := c.Positive("block_multiple_of", 256)
	return (inner + multiple - 1) / multiple * multiple
}
