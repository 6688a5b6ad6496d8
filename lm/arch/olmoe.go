package arch

var (
	_ = register(olmoE, "olmoe")
	_ = turnsBiasesOn("olmoe", "attention_bias")
	_ = register(flexOlmo, "flex_olmo")
	_ = turnsBiasesOn("flex_olmo", "attention_bias")
)

// olmoE is llama with RMS norms over all heads of the queries and of the keys,
// clipped queries, keys and values, and experts on every layer
// (Muennighoff et al. 2024).
func olmoE(c *Config) *Decoder {
	d := llama(c)
	experts(c, d)
	for i := range d.Blocks {
		a, p := &d.Blocks[i].Attention, block("model.layers", i)+"self_attn."
		a.QueryNorm, a.KeyNorm = rms(c, p+"q_norm", ""), rms(c, p+"k_norm", "")
		a.NormScope = AllHeads
		a.Clip = float32(c.Float("clip_qkv", 0))
	}
	return d
}

// flexOlmo is olmo2 with experts on every layer.
func flexOlmo(c *Config) *Decoder {
	d := olmo2(c)
	experts(c, d)
	return d
}
