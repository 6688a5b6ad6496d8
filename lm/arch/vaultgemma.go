package arch

import "math"

var _ = register(vaultGemma, "vaultgemma")

var _ = turnsBiasesOn("vaultgemma", "attention_bias")

// vaultGemma is gemma2 without the norms after attention and MLP.
func vaultGemma(c *Config) *Decoder {
	d := gemma(c)
	types := c.Strings("layer_types")
	d.Head.SoftCap = float32(c.Float("final_logit_softcapping", 0))
	d.Modules[PostAttentionLayerNorm] = "model.layers.{num}.pre_feedforward_layernorm"
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.BeforeMLP = rms(c, p+"pre_feedforward_layernorm", PostAttentionLayerNorm)
		b.BeforeMLP.Offset = 1
		b.Attention.Scale = float32(1 / math.Sqrt(c.Float("query_pre_attn_scalar", 256)))
		b.Attention.SoftCap = float32(c.Float("attn_logit_softcapping", 0))
		if sliding(types, i, i%2 == 0) {
			b.Attention.Window = c.IntOr("sliding_window", 0)
		}
	}
	return d
}
