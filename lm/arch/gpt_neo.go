package arch

var _ = register(gptNeo, "gpt_neo")

// gptNeo has layer norms, learned positions, unscaled attention scores, and a
// window on the layers that its config calls local.
func gptNeo(c *Config) *Decoder {
	layers := c.layers("num_layers")
	epsilon := c.Float("layer_norm_epsilon", 1e-5)
	d := &Decoder{
		Hidden:       c.Int("hidden_size"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("max_position_embeddings", 2048),
		Prefix:       "transformer.",
		Embedding:    Embedding{Tokens: "transformer.wte.weight", Positions: "transformer.wpe.weight"},
		Norm:         layerNorm("transformer.ln_f", epsilon, ""),
		Head:         Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules: map[Site]string{
			DecoderBlock:           "transformer.h.{num}",
			SelfAttn:               "transformer.h.{num}.attn",
			MLPOutput:              "transformer.h.{num}.mlp",
			InputLayerNorm:         "transformer.h.{num}.ln_1",
			PostAttentionLayerNorm: "transformer.h.{num}.ln_2",
		},
	}
	heads := c.Int("num_heads")
	size := c.divide(d.Hidden, heads, "hidden size by attention heads")
	kinds := c.Strings("attention_layers")
	for layer := range layers {
		p := block("transformer.h", layer)
		b := Block{
			BeforeAttention: layerNorm(p+"ln_1", epsilon, InputLayerNorm),
			Attention: Attention{
				Heads: heads, KVHeads: heads, HeadSize: size, Scale: 1,
				Query:  linear(p+"attn.attention.q_proj", false),
				Key:    linear(p+"attn.attention.k_proj", false),
				Value:  linear(p+"attn.attention.v_proj", false),
				Output: linear(p+"attn.attention.out_proj", true),
			},
			BeforeMLP: layerNorm(p+"ln_2", epsilon, PostAttentionLayerNorm),
			MLP: MLP{
				Activation: c.activation("activation_function", "gelu_new"),
				Inner:      c.IntOr("intermediate_size", 4*d.Hidden),
				Up:         linear(p+"mlp.c_fc", true),
				Down:       linear(p+"mlp.c_proj", true),
			},
		}
		if layer < len(kinds) && kinds[layer] == "local" || len(kinds) == 0 && layer%2 == 1 {
			b.Attention.Window = c.IntOr("window_size", 256)
		}
		d.Blocks = append(d.Blocks, b)
	}
	return d
}
