package arch

import "math"

var _ = register(xglm, "xglm")

// xglm is opt with sines and cosines for positions, and scaled embeddings.
func xglm(c *Config) *Decoder {
	layers := c.layers("num_layers")
	d := &Decoder{
		Hidden:       c.Int("d_model"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("max_position_embeddings", 2048),
		Prefix:       "model.",
		Embedding:    Embedding{Tokens: "model.embed_tokens.weight", Sinusoidal: true, PositionOffset: 2},
		Norm:         layerNorm("model.layer_norm", 1e-5, ""),
		Head:         Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules:      optModules("model.layers.{num}"),
	}
	if c.Bool("scale_embedding", true) {
		d.Embedding.Scale = float32(math.Sqrt(float64(d.Hidden)))
	}
	heads := c.Int("attention_heads")
	for layer := range layers {
		b := optBlock(c, block("model.layers", layer), d.Hidden, heads, true)
		b.MLP.Activation, b.MLP.Inner = c.activation("activation_function", "gelu"), c.Int("ffn_dim")
		d.Blocks = append(d.Blocks, b)
	}
	return d
}
