package arch

var _ = register(phi, "phi")

// phi is llama with attention and MLP in parallel behind one layer norm, biases
// everywhere, a plain MLP, and a part of each head turning.
func phi(c *Config) *Decoder {
	d := llama(c)
	epsilon := c.Float("layer_norm_eps", 1e-5)
	delete(d.Modules, PostAttentionLayerNorm)
	d.Norm = layerNorm("model.final_layernorm", epsilon, "")
	d.Head.Bias = "lm_head.bias"
	turnPart(c, d, c.Float("partial_rotary_factor", 0.5))
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		a := &b.Attention
		b.Parallel = true
		b.BeforeAttention, b.BeforeMLP = layerNorm(p+"input_layernorm", epsilon, InputLayerNorm), nil
		a.Query, a.Key = linear(p+"self_attn.q_proj", true), linear(p+"self_attn.k_proj", true)
		a.Value, a.Output = linear(p+"self_attn.v_proj", true), linear(p+"self_attn.dense", true)
		if c.Bool("qk_layernorm", false) {
			a.QueryNorm, a.KeyNorm = layerNorm(p+"self_attn.q_layernorm", epsilon, ""), layerNorm(p+"self_attn.k_layernorm", epsilon, "")
		}
		b.MLP = MLP{
			Activation: c.activation("hidden_act", "gelu_new"), Inner: c.Int("intermediate_size"),
			Up: linear(p+"mlp.fc1", true), Down: linear(p+"mlp.fc2", true),
		}
	}
	return d
}
