package arch

var _ = register(jetMoE, "jetmoe")

// jetMoE is llama whose attention is a mixture of experts too, of which each has
// queries and an output projection of its own (Shen et al. 2024). All experts are
// in one tensor, and a bias is added to what they give together.
func jetMoE(c *Config) *Decoder {
	c.suppose(map[string]string{"num_key_value_heads": "16", "kv_channels": "128"})
	keys, size, perToken := c.Int("num_key_value_heads"), c.Int("kv_channels"), c.IntOr("num_experts_per_tok", 2)
	count := c.IntOr("num_local_experts", 8)
	if perToken < 1 || perToken > count || keys > maxWidth {
		c.fail("%d experts per token of %d, with %d heads each", perToken, count, keys)
		return &Decoder{}
	}
	d := &Decoder{
		Hidden:       c.Int("hidden_size"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("max_position_embeddings", 4096),
		Prefix:       "model.",
		Embedding:    Embedding{Tokens: "model.embed_tokens.weight"},
		Norm:         rms(c, "model.norm", ""),
		Head:         Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules: map[Site]string{
			DecoderBlock:           "model.layers.{num}",
			SelfAttn:               "model.layers.{num}.self_attention",
			MLPOutput:              "model.layers.{num}.mlp",
			InputLayerNorm:         "model.layers.{num}.input_layernorm",
			PostAttentionLayerNorm: "model.layers.{num}.post_attention_layernorm",
		},
	}
	rope := newRope(c, size)
	experts := func(p string) *Experts {
		return &Experts{Router: linear(p+"router.layer", false), Count: count, PerToken: perToken, Normalize: true, Bias: p + "bias"}
	}
	for layer := range c.layers("num_hidden_layers") {
		p := block("model.layers", layer)
		d.Blocks = append(d.Blocks, Block{
			BeforeAttention: rms(c, p+"input_layernorm", InputLayerNorm),
			Attention: Attention{
				Heads: keys * perToken, KVHeads: keys, HeadSize: size,
				Query:   linear(p+"self_attention.experts.input_linear", false),
				Fused:   linear(p+"self_attention.kv_proj", false),
				Groups:  1,
				Output:  linear(p+"self_attention.experts.output_linear", false),
				Experts: experts(p + "self_attention.experts."),
				Rope:    rope,
				Scale:   inverseRoot(size),
			},
			BeforeMLP: rms(c, p+"post_attention_layernorm", PostAttentionLayerNorm),
			MLP: MLP{
				Activation: c.activation("activation_function", "silu"),
				Inner:      c.Int("intermediate_size"),
				GateUp:     linear(p+"mlp.input_linear", false),
				Down:       linear(p+"mlp.output_linear", false),
				Experts:    experts(p + "mlp."),
			},
		})
	}
	return d
}
