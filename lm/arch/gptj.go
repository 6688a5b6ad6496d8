package arch

var _ = register(gptJ, "gptj")

// gptJ has attention and MLP in parallel behind one layer norm, and neighbouring
// pairs of a part of each head turning.
func gptJ(c *Config) *Decoder {
	layers := c.layers("n_layer")
	epsilon := c.Float("layer_norm_epsilon", 1e-5)
	d := &Decoder{
		Hidden:       c.Int("n_embd"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("n_positions", 2048),
		Prefix:       "transformer.",
		Embedding:    Embedding{Tokens: "transformer.wte.weight"},
		Norm:         layerNorm("transformer.ln_f", epsilon, ""),
		Head:         Head{Linear: linear("lm_head", true), Tied: c.Bool("tie_word_embeddings", false)},
		Modules: map[Site]string{
			DecoderBlock:   "transformer.h.{num}",
			SelfAttn:       "transformer.h.{num}.attn",
			MLPOutput:      "transformer.h.{num}.mlp",
			InputLayerNorm: "transformer.h.{num}.ln_1",
		},
	}
	heads := c.Int("n_head")
	size := c.divide(d.Hidden, heads, "hidden size by attention heads")
	rope := scaledRope(c, c.IntOr("rotary_dim", size), 10000, nil)
	if rope != nil {
		rope.Interleaved = true
	}
	for layer := range layers {
		p := block("transformer.h", layer)
		d.Blocks = append(d.Blocks, Block{
			Parallel:        true,
			BeforeAttention: layerNorm(p+"ln_1", epsilon, InputLayerNorm),
			Attention: Attention{
				Heads: heads, KVHeads: heads, HeadSize: size,
				Query:  linear(p+"attn.q_proj", false),
				Key:    linear(p+"attn.k_proj", false),
				Value:  linear(p+"attn.v_proj", false),
				Output: linear(p+"attn.out_proj", false),
				Rope:   rope,
				Scale:  inverseRoot(size),
			},
			MLP: MLP{
				Activation: c.activation("activation_function", "gelu_new"),
				Inner:      c.IntOr("n_inner", 4*d.Hidden),
				Up:         linear(p+"mlp.fc_in", true),
				Down:       linear(p+"mlp.fc_out", true),
			},
		})
	}
	return d
}
