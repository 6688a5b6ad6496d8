package arch

import "math"

var _ = register(gemma2, "gemma2")

var _ = turnsBiasesOn("gemma2", "attention_bias")

// gemma2 is gemma with norms before and after attention and MLP, soft caps, and
// a sliding window on every other layer.
func gemma2(c *Config) *Decoder {
	d := gemma(c)
	types := c.Strings("layer_types")
	d.Head.SoftCap = float32(c.Float("final_logit_softcapping", 0))
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		sandwich(c, d, i)
		a.SoftCap = float32(c.Float("attn_logit_softcapping", 0))
		if sliding(types, i, i%2 == 0) {
			a.Window = c.IntOr("sliding_window", 0)
		}
	}
	return d
}

// sandwich puts a layer's four norms in their places and scales its scores by
// query_pre_attn_scalar.
func sandwich(c *Config, d *Decoder, layer int) {
	b, p := &d.Blocks[layer], block("model.layers", layer)
	norm := func(name string, site Site) *Norm {
		n := rms(c, p+name, site)
		n.Offset = 1
		return n
	}
	b.AfterAttention = norm("post_attention_layernorm", PostAttentionLayerNorm)
	b.BeforeMLP = norm("pre_feedforward_layernorm", "")
	b.AfterMLP = norm("post_feedforward_layernorm", "")
	b.Attention.Scale = float32(1 / math.Sqrt(c.Float("query_pre_attn_scalar", 256)))
}
