package arch

import "math"

var _ = register(bloom, "bloom")

// bloom has layer norms, the first on the embeddings, ALiBi in place of
// positions, and projections fused head by head. Its attention and MLP modules
// add the residual themselves.
func bloom(c *Config) *Decoder {
	layers := c.layers("n_layer", "num_hidden_layers")
	epsilon := c.Float("layer_norm_epsilon", 1e-5)
	d := &Decoder{
		Hidden:     c.Int("hidden_size", "n_embed"),
		Vocabulary: c.Int("vocab_size"),
		Prefix:     "transformer.",
		Embedding: Embedding{
			Tokens: "transformer.word_embeddings.weight",
			Norm:   layerNorm("transformer.word_embeddings_layernorm", epsilon, ""),
		},
		Norm: layerNorm("transformer.ln_f", epsilon, ""),
		Head: Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules: map[Site]string{
			DecoderBlock:           "transformer.h.{num}",
			SelfAttn:               "transformer.h.{num}.self_attention",
			MLPOutput:              "transformer.h.{num}.mlp",
			InputLayerNorm:         "transformer.h.{num}.input_layernorm",
			PostAttentionLayerNorm: "transformer.h.{num}.post_attention_layernorm",
		},
	}
	heads := c.Int("n_head", "num_attention_heads")
	size := c.divide(d.Hidden, heads, "hidden size by attention heads")
	slopes := alibiSlopes(c, heads)
	for layer := range layers {
		p := block("transformer.h", layer)
		d.Blocks = append(d.Blocks, Block{
			AttentionAddsResidual: true,
			MLPAddsResidual:       true,
			ResidualAfterNorm:     c.Bool("apply_residual_connection_post_layernorm", false),
			BeforeAttention:       layerNorm(p+"input_layernorm", epsilon, InputLayerNorm),
			Attention: Attention{
				Heads: heads, KVHeads: heads, HeadSize: size,
				Fused: linear(p+"self_attention.query_key_value", true), Groups: heads,
				Output: linear(p+"self_attention.dense", true),
				Alibi:  &Alibi{Slopes: slopes},
				Scale:  inverseRoot(size),
			},
			BeforeMLP: layerNorm(p+"post_attention_layernorm", epsilon, PostAttentionLayerNorm),
			MLP: MLP{
				Activation: GELUTanh,
				Inner:      4 * d.Hidden,
				Up:         linear(p+"mlp.dense_h_to_4h", true),
				Down:       linear(p+"mlp.dense_4h_to_h", true),
			},
		})
	}
	return d
}

// alibiSlopes returns 2^(-8i/n) for i = 1 … n where n is a power of two; for
// other numbers of heads the slopes of the next lower power, then every other
// one of the next higher (Press, Smith and Lewis 2022, and its code).
func alibiSlopes(c *Config, heads int) []float32 {
	if heads < 1 || heads > maxWidth {
		c.fail("%d attention heads", heads)
		return nil
	}
	power := 1
	for power*2 <= heads {
		power *= 2
	}
	slopes := make([]float32, heads)
	for i := range slopes {
		if i < power {
			slopes[i] = float32(math.Pow(2, -8*float64(i+1)/float64(power)))
		} else {
			slopes[i] = float32(math.Pow(2, -4*float64(2*(i-power)+1)/float64(power)))
		}
	}
	return slopes
}
