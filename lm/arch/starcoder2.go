package arch

var _ = register(starcoder2, "starcoder2")

var _ = turnsBiasesOn("starcoder2", "use_bias")

// starcoder2 is llama with layer norms, biases, a plain MLP and a sliding window.
func starcoder2(c *Config) *Decoder {
	d := llama(c)
	epsilon, bias := c.Float("norm_epsilon", 1e-5), c.Bool("use_bias", true)
	d.Norm = layerNorm("model.norm", epsilon, "")
	d.Head.Tied = c.Bool("tie_word_embeddings", true)
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		a := &b.Attention
		b.BeforeAttention = layerNorm(p+"input_layernorm", epsilon, InputLayerNorm)
		b.BeforeMLP = layerNorm(p+"post_attention_layernorm", epsilon, PostAttentionLayerNorm)
		a.Query, a.Key = linear(p+"self_attn.q_proj", bias), linear(p+"self_attn.k_proj", bias)
		a.Value, a.Output = linear(p+"self_attn.v_proj", bias), linear(p+"self_attn.o_proj", bias)
		a.Window = c.IntOr("sliding_window", 0)
		b.MLP = MLP{
			Activation: c.activation("hidden_act", "gelu_pytorch_tanh"), Inner: c.Int("intermediate_size"),
			Up: linear(p+"mlp.c_fc", bias), Down: linear(p+"mlp.c_proj", bias),
		}
	}
	return d
}
