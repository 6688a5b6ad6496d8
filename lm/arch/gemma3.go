package arch

var _ = register(gemma3, "gemma3_text")

var _ = turnsBiasesOn("gemma3_text", "attention_bias")

// gemma3 is gemma2 with norms on each head's query and key, five layers with a
// sliding window and a rope of their own to each one without.
func gemma3(c *Config) *Decoder {
	d := gemma(c)
	types := c.Strings("layer_types")
	pattern := max(c.IntOr("sliding_window_pattern", 6), 1)
	d.Head.SoftCap = float32(c.Float("final_logit_softcapping", 0))
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		p := block("model.layers", i) + "self_attn."
		sandwich(c, d, i)
		a.SoftCap = float32(c.Float("attn_logit_softcapping", 0))
		a.QueryNorm, a.KeyNorm = rms(c, p+"q_norm", ""), rms(c, p+"k_norm", "")
		a.QueryNorm.Offset, a.KeyNorm.Offset = 1, 1
		if sliding(types, i, (i+1)%pattern != 0) {
			a.Window = c.IntOr("sliding_window", 0)
			a.Rope = scaledRope(c, a.HeadSize, localTheta(c), nil)
		}
	}
	return d
}
