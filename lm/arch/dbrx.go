package arch

var _ = register(dbrx, "dbrx")

// dbrx has layer norms without biases, one fused projection, clamped, rotary
// positions, and experts on every layer, all in one tensor.
func dbrx(c *Config) *Decoder {
	layers := c.layers("n_layers")
	norm := func(name string, site Site) *Norm {
		return &Norm{Kind: Layer, Weight: name + ".weight", Epsilon: 1e-5, Site: site}
	}
	d := &Decoder{
		Hidden:       c.Int("d_model"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("max_seq_len", 2048),
		Prefix:       "transformer.",
		Embedding:    Embedding{Tokens: "transformer.wte.weight"},
		Norm:         norm("transformer.norm_f", ""),
		Head:         Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", false)},
		Modules: map[Site]string{
			DecoderBlock:           "transformer.blocks.{num}",
			SelfAttn:               "transformer.blocks.{num}.norm_attn_norm.attn",
			ResidualMid:            "transformer.blocks.{num}.norm_attn_norm",
			MLPOutput:              "transformer.blocks.{num}.ffn",
			InputLayerNorm:         "transformer.blocks.{num}.norm_attn_norm.norm_1",
			PostAttentionLayerNorm: "transformer.blocks.{num}.norm_attn_norm.norm_2",
		},
	}
	attention, ffn := c.Object("attn_config"), c.Object("ffn_config")
	if attention == nil || ffn == nil {
		c.fail("attn_config or ffn_config is missing")
		return d
	}
	heads := c.Int("n_heads")
	size := c.divide(d.Hidden, heads, "d_model by heads")
	rope := scaledRope(c, size, attention.Float("rope_theta", 10000), nil)
	activation := SiLU
	if f := ffn.Object("ffn_act_fn"); f != nil {
		activation = f.activation("name", "silu")
		if f.err != nil {
			c.fail("ffn_act_fn: %w", f.err)
		}
	}
	if p := ffn.Float("moe_normalize_expert_weights", 1); p != 1 {
		c.fail("moe_normalize_expert_weights %v is not supported; known is 1", p)
	}
	for layer := range layers {
		p := block("transformer.blocks", layer)
		stacked := func(name string) Linear { return Linear{Weight: p + "ffn.experts.mlp." + name} }
		down := stacked("w2")
		down.Transposed = true
		gate, up := stacked("w1"), stacked("v1")
		if c.Bool("experts_apart", false) { // as a GGUF file has them
			e := p + "ffn.experts.{expert}."
			gate, up, down = linear(e+"w1", false), linear(e+"v1", false), linear(e+"w2", false)
		}
		d.Blocks = append(d.Blocks, Block{
			BeforeAttention: norm(p+"norm_attn_norm.norm_1", InputLayerNorm),
			Attention: Attention{
				Heads: heads, KVHeads: attention.IntOr("kv_n_heads", 1), HeadSize: size,
				Fused: linear(p+"norm_attn_norm.attn.Wqkv", false), Groups: 1,
				Output: linear(p+"norm_attn_norm.attn.out_proj", false),
				Clip:   float32(attention.Float("clip_qkv", 0)), Rope: rope, Scale: inverseRoot(size),
			},
			BeforeMLP: norm(p+"norm_attn_norm.norm_2", PostAttentionLayerNorm),
			MLP: MLP{
				Activation: activation, Inner: ffn.IntOr("ffn_hidden_size", 3584),
				Gate: gate, Up: up, Down: down,
				Experts: &Experts{
					Router: linear(p+"ffn.router.layer", false), Count: ffn.IntOr("moe_num_experts", 4), PerToken: ffn.IntOr("moe_top_k", 1), Normalize: true,
				},
			},
		})
	}
	for _, o := range []*Config{attention, ffn} {
		if o.err != nil {
			c.fail("attn_config or ffn_config: %w", o.err)
		}
	}
	return d
}
