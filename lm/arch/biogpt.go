package arch

import "math"

var _ = register(bioGPT, "biogpt")

// bioGPT is opt with its tensors under other names and scaled embeddings. Its
// norms have opt's epsilon, whatever layer_norm_eps says.
func bioGPT(c *Config) *Decoder {
	layers := c.layers("num_hidden_layers")
	d := &Decoder{
		Hidden:       c.Int("hidden_size"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("max_position_embeddings", 1024),
		Prefix:       "biogpt.",
		Embedding:    Embedding{Tokens: "biogpt.embed_tokens.weight", Positions: "biogpt.embed_positions.weight", PositionOffset: 2},
		Norm:         layerNorm("biogpt.layer_norm", 1e-5, ""),
		Head:         Head{Linear: Linear{Weight: "output_projection.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules:      optModules("biogpt.layers.{num}"),
	}
	if c.Bool("scale_embedding", true) {
		d.Embedding.Scale = float32(math.Sqrt(float64(d.Hidden)))
	}
	heads := c.Int("num_attention_heads")
	for layer := range layers {
		b := optBlock(c, block("biogpt.layers", layer), d.Hidden, heads, true)
		b.MLP.Activation, b.MLP.Inner = c.activation("hidden_act", "gelu"), c.Int("intermediate_size")
		d.Blocks = append(d.Blocks, b)
	}
	return d
}
