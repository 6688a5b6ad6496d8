package arch

var _ = register(gptNeoX, "gpt_neox")

var _ = turnsBiasesOn("gpt_neox", "attention_bias")

// gptNeoX has layer norms, rotary positions on a part of each head, projections
// fused head by head, and by default attention and MLP in parallel
// (Black et al. 2022).
func gptNeoX(c *Config) *Decoder {
	layers := c.layers("num_hidden_layers")
	epsilon := c.Float("layer_norm_eps", 1e-5)
	d := &Decoder{
		Hidden:       c.Int("hidden_size"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("max_position_embeddings", 2048),
		Prefix:       "gpt_neox.",
		Embedding:    Embedding{Tokens: "gpt_neox.embed_in.weight"},
		Norm:         layerNorm("gpt_neox.final_layer_norm", epsilon, ""),
		Head:         Head{Linear: Linear{Weight: "embed_out.weight"}, Tied: c.Bool("tie_word_embeddings", false)},
		Modules: map[Site]string{
			DecoderBlock:           "gpt_neox.layers.{num}",
			SelfAttn:               "gpt_neox.layers.{num}.attention",
			MLPOutput:              "gpt_neox.layers.{num}.mlp",
			InputLayerNorm:         "gpt_neox.layers.{num}.input_layernorm",
			PostAttentionLayerNorm: "gpt_neox.layers.{num}.post_attention_layernorm",
		},
	}
	heads := c.Int("num_attention_heads")
	size := c.divide(d.Hidden, heads, "hidden size by attention heads")
	bias := c.Bool("attention_bias", true)
	rope := scaledRope(c, int(float64(size)*c.Float("rotary_pct", c.Float("partial_rotary_factor", 0.25))),
		c.Float("rotary_emb_base", c.Float("rope_theta", 10000)), c.Object("rope_scaling"))
	for layer := range layers {
		p := block("gpt_neox.layers", layer)
		d.Blocks = append(d.Blocks, Block{
			Parallel:        c.Bool("use_parallel_residual", true),
			BeforeAttention: layerNorm(p+"input_layernorm", epsilon, InputLayerNorm),
			Attention: Attention{
				Heads: heads, KVHeads: heads, HeadSize: size,
				Fused: linear(p+"attention.query_key_value", bias), Groups: heads,
				Output: linear(p+"attention.dense", bias),
				Rope:   rope,
				Scale:  inverseRoot(size),
			},
			BeforeMLP: layerNorm(p+"post_attention_layernorm", epsilon, PostAttentionLayerNorm),
			MLP: MLP{
				Activation: c.activation("hidden_act", "gelu"),
				Inner:      c.Int("intermediate_size"),
				Up:         linear(p+"mlp.dense_h_to_4h", true),
				Down:       linear(p+"mlp.dense_4h_to_h", true),
			},
		})
	}
	return d
}
