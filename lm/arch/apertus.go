package arch

var _ = register(apertus, "apertus")

var _ = turnsBiasesOn("apertus", "attention_bias")

// apertus is llama with an RMS norm on each head's query and key, and a plain MLP
// whose activation has learned constants.
func apertus(c *Config) *Decoder {
	d := llama(c)
	d.Modules[InputLayerNorm] = "model.layers.{num}.attention_layernorm"
	d.Modules[PostAttentionLayerNorm] = "model.layers.{num}.feedforward_layernorm"
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.BeforeAttention = rms(c, p+"attention_layernorm", InputLayerNorm)
		b.BeforeMLP = rms(c, p+"feedforward_layernorm", PostAttentionLayerNorm)
		a, m := &b.Attention, &b.MLP
		a.QueryNorm, a.KeyNorm = rms(c, p+"self_attn.q_norm", ""), rms(c, p+"self_attn.k_norm", "")
		m.Gate = Linear{}
		m.Activation = c.activation("hidden_act", "xielu")
		if p += "mlp.act_fn."; m.Activation == LearnedIELU {
			m.XIELU = &XIELU{Positive: p + "alpha_p", Negative: p + "alpha_n", Beta: p + "beta", Epsilon: p + "eps"}
		}
	}
	return d
}
