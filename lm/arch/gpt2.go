package arch

var _ = register(gpt2, "gpt2")

// gpt2 has layer norms, learned positions, one fused projection and a plain MLP,
// its weights stored as [in, out] (Radford et al. 2019).
func gpt2(c *Config) *Decoder {
	layers := c.layers("n_layer", "num_hidden_layers")
	d := &Decoder{
		Hidden:       c.Int("n_embd", "hidden_size"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("n_positions", 1024),
		Prefix:       "transformer.",
		Embedding:    Embedding{Tokens: "transformer.wte.weight", Positions: "transformer.wpe.weight"},
		Head:         Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules: map[Site]string{
			DecoderBlock:           "transformer.h.{num}",
			SelfAttn:               "transformer.h.{num}.attn",
			MLPOutput:              "transformer.h.{num}.mlp",
			InputLayerNorm:         "transformer.h.{num}.ln_1",
			PostAttentionLayerNorm: "transformer.h.{num}.ln_2",
		},
	}
	epsilon := c.Float("layer_norm_epsilon", 1e-5)
	d.Norm = layerNorm("transformer.ln_f", epsilon, "")
	heads := c.Int("n_head", "num_attention_heads")
	size := c.divide(d.Hidden, heads, "hidden size by attention heads")
	scale := float32(1)
	if c.Bool("scale_attn_weights", true) {
		scale = inverseRoot(size)
	}
	for layer := range layers {
		p := block("transformer.h", layer)
		b := Block{
			BeforeAttention: layerNorm(p+"ln_1", epsilon, InputLayerNorm),
			Attention: Attention{
				Heads: heads, KVHeads: heads, HeadSize: size,
				Fused: conv1D(p + "attn.c_attn"), Groups: 1,
				Output: conv1D(p + "attn.c_proj"),
				Scale:  scale,
			},
			BeforeMLP: layerNorm(p+"ln_2", epsilon, PostAttentionLayerNorm),
			MLP: MLP{
				Activation: c.activation("activation_function", "gelu_new"),
				Inner:      c.IntOr("n_inner", 4*d.Hidden),
				Up:         conv1D(p + "mlp.c_fc"),
				Down:       conv1D(p + "mlp.c_proj"),
			},
		}
		if c.Bool("scale_attn_by_inverse_layer_idx", false) {
			b.Attention.Scale /= float32(layer + 1)
		}
		d.Blocks = append(d.Blocks, b)
	}
	return d
}
