package arch

var _ = register(persimmon, "persimmon")

// persimmon is llama with layer norms, also on each head's query and key, biases,
// projections fused head by head, a plain MLP of squared ReLU, and a part of each
// head turning.
func persimmon(c *Config) *Decoder {
	d := llama(c)
	epsilon := c.Float("layer_norm_eps", 1e-5)
	d.Norm = layerNorm("model.final_layernorm", epsilon, "")
	turnPart(c, d, c.Float("partial_rotary_factor", 0.5))
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		a := &b.Attention
		b.BeforeAttention = layerNorm(p+"input_layernorm", epsilon, InputLayerNorm)
		b.BeforeMLP = layerNorm(p+"post_attention_layernorm", epsilon, PostAttentionLayerNorm)
		a.Query, a.Key, a.Value = Linear{}, Linear{}, Linear{}
		a.KVHeads, a.Groups = a.Heads, a.Heads
		a.Fused, a.Output = linear(p+"self_attn.query_key_value", true), linear(p+"self_attn.dense", true)
		if c.Bool("qk_layernorm", true) {
			a.QueryNorm, a.KeyNorm = layerNorm(p+"self_attn.q_layernorm", epsilon, ""), layerNorm(p+"self_attn.k_layernorm", epsilon, "")
		}
		b.MLP = MLP{
			Activation: c.activation("hidden_act", "relu2"), Inner: c.Int("intermediate_size"),
			Up: linear(p+"mlp.dense_h_to_4h", true), Down: linear(p+"mlp.dense_4h_to_h", true),
		}
	}
	return d
}
