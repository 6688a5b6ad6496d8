package arch

var _ = register(phiMoE, "phimoe")

var _ = turnsBiasesOn("phimoe", "attention_bias")

// phiMoE is llama with layer norms, biases on attention and head, and two experts
// that a sparse mixer chooses (Abdin et al. 2024), whatever num_experts_per_tok says.
func phiMoE(c *Config) *Decoder {
	d := llama(c)
	epsilon := c.Float("rms_norm_eps", 1e-5)
	d.Norm = layerNorm("model.norm", epsilon, "")
	if c.Bool("lm_head_bias", false) {
		d.Head.Bias = "lm_head.bias"
	}
	d.Modules[MLPOutput] = "model.layers.{num}.block_sparse_moe"
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.BeforeAttention = layerNorm(p+"input_layernorm", epsilon, InputLayerNorm)
		b.BeforeMLP = layerNorm(p+"post_attention_layernorm", epsilon, PostAttentionLayerNorm)
		b.Attention.Window = c.IntOr("sliding_window", 0)
		p += "block_sparse_moe."
		m := &b.MLP
		m.Gate, m.Up, m.Down = linear(p+"experts.{expert}.w1", false), linear(p+"experts.{expert}.w3", false), linear(p+"experts.{expert}.w2", false)
		m.Experts = &Experts{Router: linear(p+"gate", false), Count: c.Int("num_local_experts"), PerToken: 2, Scoring: SparseMixer}
	}
	return d
}
