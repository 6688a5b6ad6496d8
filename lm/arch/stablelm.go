package arch

var _ = register(stableLM, "stablelm")

// stableLM is llama with layer norms, a part of each head turning, and where the
// config says so biases, norms on each head, or attention and MLP in parallel.
func stableLM(c *Config) *Decoder {
	d := llama(c)
	epsilon := c.Float("layer_norm_eps", 1e-5)
	d.Norm = layerNorm("model.norm", epsilon, "")
	turnPart(c, d, c.Float("partial_rotary_factor", 0.25))
	parallel := c.Bool("use_parallel_residual", false)
	if parallel {
		delete(d.Modules, PostAttentionLayerNorm)
	}
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		a := &b.Attention
		b.Parallel = parallel
		b.BeforeAttention = layerNorm(p+"input_layernorm", epsilon, InputLayerNorm)
		b.BeforeMLP = layerNorm(p+"post_attention_layernorm", epsilon, PostAttentionLayerNorm)
		if parallel {
			b.BeforeMLP = nil
		}
		bias := c.Bool("use_qkv_bias", false)
		a.Query, a.Key, a.Value = linear(p+"self_attn.q_proj", bias), linear(p+"self_attn.k_proj", bias), linear(p+"self_attn.v_proj", bias)
		if c.Bool("qk_layernorm", false) {
			a.QueryNorm = &Norm{Kind: Layer, Weight: p + "self_attn.q_layernorm.norms.{head}.weight", Epsilon: float32(epsilon)}
			a.KeyNorm = &Norm{Kind: Layer, Weight: p + "self_attn.k_layernorm.norms.{head}.weight", Epsilon: float32(epsilon)}
			a.NormScope = EachHeadOwnWeight
		}
	}
	return d
}
