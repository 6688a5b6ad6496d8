package arch

var _ = register(opt, "opt")

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
		Head: Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules: map[Site]string{
			DecoderBlock:           "model.decoder.layers.{num}",
			SelfAttn:               "model.decoder.layers.{num}.self_attn",
			MLPOutput:              "model.decoder.layers.{num}.fc2",
			InputLayerNorm:         "model.decoder.layers.{num}.self_attn_layer_norm",
			PostAttentionLayerNorm: "model.decoder.layers.{num}.final_layer_norm",
		},
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
	size := c.divide(d.Hidden, heads, "hidden size by attention heads")
	for layer := range layers {
		p := block("model.decoder.layers", layer)
		b := Block{
			Attention: Attention{
				Heads: heads, KVHeads: heads, HeadSize: size,
				Query:  linear(p+"self_attn.q_proj", bias),
				Key:    linear(p+"self_attn.k_proj", bias),
				Value:  linear(p+"self_attn.v_proj", bias),
				Output: linear(p+"self_attn.out_proj", bias),
				Scale:  inverseRoot(size),
			},
			MLP: MLP{
				Activation: c.activation("activation_function", "relu"),
				Inner:      c.Int("ffn_dim"),
				Up:         linear(p+"fc1", bias),
				Down:       linear(p+"fc2", bias),
			},
		}
		attention, mlp := layerNorm(p+"self_attn_layer_norm", epsilon, ""), layerNorm(p+"final_layer_norm", epsilon, "")
		if before {
			attention.Site, mlp.Site = InputLayerNorm, PostAttentionLayerNorm
			b.BeforeAttention, b.BeforeMLP = attention, mlp
		} else {
			b.AfterAttentionAdd, b.AfterMLPAdd = attention, mlp
		}
		d.Blocks = append(d.Blocks, b)
	}
	return d
}
