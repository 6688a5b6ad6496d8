package arch

var _ = register(opt, "opt")

var _ = turnsBiasesOn("opt", "enable_bias")

// opt has learned positions, layer norms before or (350M) after attention and
// MLP, and may have embeddings narrower than its hidden states
// (Zhang et al. 2022).
func opt(c *Config) *Decoder {
	const epsilon = 1e-5
	layers := c.layers("num_hidden_layers")
	bias := c.Bool("enable_bias", true)
	before := c.Bool("do_layer_norm_before", true)
	d := &Decoder{
		Hidden:       c.Int("hidden_size"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("max_position_embeddings", 2048),
		Prefix:       "model.",
		Embedding: Embedding{
			Tokens: "model.decoder.embed_tokens.weight", Positions: "model.decoder.embed_positions.weight", PositionOffset: 2,
		},
		Head:    Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules: optModules("model.decoder.layers.{num}"),
	}
	if before && !c.Bool("_remove_final_layer_norm", false) {
		d.Norm = layerNorm("model.decoder.final_layer_norm", epsilon, "")
	}
	if width := c.IntOr("word_embed_proj_dim", d.Hidden); width != d.Hidden {
		d.Embedding.Width = width
		d.Embedding.Project = linear("model.decoder.project_in", false)
		d.Head.Project = linear("model.decoder.project_out", false)
	}
	if !before {
		delete(d.Modules, InputLayerNorm)
		delete(d.Modules, PostAttentionLayerNorm)
	}
	heads := c.Int("num_attention_heads")
	for layer := range layers {
		b := optBlock(c, block("model.decoder.layers", layer), d.Hidden, heads, bias)
		b.MLP.Activation, b.MLP.Inner = c.activation("activation_function", "relu"), c.Int("ffn_dim")
		if !before {
			b.AfterAttentionAdd, b.AfterMLPAdd = b.BeforeAttention, b.BeforeMLP
			b.BeforeAttention, b.BeforeMLP = nil, nil
			b.AfterAttentionAdd.Site, b.AfterMLPAdd.Site = "", ""
		}
		d.Blocks = append(d.Blocks, b)
	}
	return d
}

// optModules are the modules of a block as opt calls them.
func optModules(layers string) map[Site]string {
	return map[Site]string{
		DecoderBlock:           layers,
		SelfAttn:               layers + ".self_attn",
		MLPOutput:              layers + ".fc2",
		InputLayerNorm:         layers + ".self_attn_layer_norm",
		PostAttentionLayerNorm: layers + ".final_layer_norm",
	}
}

// optBlock is a block whose parts have opt's names, but for the size and the
// activation of its MLP: layer norms before attention and a plain MLP.
func optBlock(c *Config, p string, hidden, heads int, bias bool) Block {
	const epsilon = 1e-5
	size := c.divide(hidden, heads, "hidden size by attention heads")
	return Block{
		BeforeAttention: layerNorm(p+"self_attn_layer_norm", epsilon, InputLayerNorm),
		Attention: Attention{
			Heads: heads, KVHeads: heads, HeadSize: size,
			Query:  linear(p+"self_attn.q_proj", bias),
			Key:    linear(p+"self_attn.k_proj", bias),
			Value:  linear(p+"self_attn.v_proj", bias),
			Output: linear(p+"self_attn.out_proj", bias),
			Scale:  inverseRoot(size),
		},
		BeforeMLP: layerNorm(p+"final_layer_norm", epsilon, PostAttentionLayerNorm),
		MLP:       MLP{Up: linear(p+"fc1", bias), Down: linear(p+"fc2", bias)},
	}
}
