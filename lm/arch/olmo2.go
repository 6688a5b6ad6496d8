package arch

var _ = register(olmo2, "olmo2")

var _ = turnsBiasesOn("olmo2", "attention_bias")

// olmo2 is llama with the norms after attention and MLP, and RMS norms over all
// heads of the queries and of the keys.
func olmo2(c *Config) *Decoder {
	d := llama(c)
	delete(d.Modules, InputLayerNorm)
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.BeforeAttention, b.BeforeMLP = nil, nil
		b.AfterAttention = rms(c, p+"post_attention_layernorm", PostAttentionLayerNorm)
		b.AfterMLP = rms(c, p+"post_feedforward_layernorm", "")
		a := &b.Attention
		a.QueryNorm, a.KeyNorm = rms(c, p+"self_attn.q_norm", ""), rms(c, p+"self_attn.k_norm", "")
		a.NormScope = AllHeads
	}
	return d
}
