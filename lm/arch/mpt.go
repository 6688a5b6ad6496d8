package arch

import "math"

var _ = register(mpt, "mpt")

// mpt has layer norms without biases, ALiBi in place of positions and a plain
// MLP, whose module adds the residual itself.
func mpt(c *Config) *Decoder {
	layers := c.layers("n_layers")
	epsilon := float32(c.Float("layer_norm_epsilon", 1e-5))
	norm := func(name string, site Site) *Norm {
		return &Norm{Kind: Layer, Weight: name + ".weight", Epsilon: epsilon, Site: site}
	}
	d := &Decoder{
		Hidden:     c.Int("d_model"),
		Vocabulary: c.Int("vocab_size"),
		Prefix:     "transformer.",
		Embedding:  Embedding{Tokens: "transformer.wte.weight"},
		Norm:       norm("transformer.norm_f", ""),
		Head:       Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules: map[Site]string{
			DecoderBlock:           "transformer.blocks.{num}",
			SelfAttn:               "transformer.blocks.{num}.attn",
			MLPOutput:              "transformer.blocks.{num}.ffn",
			InputLayerNorm:         "transformer.blocks.{num}.norm_1",
			PostAttentionLayerNorm: "transformer.blocks.{num}.norm_2",
		},
	}
	heads := c.Int("n_heads")
	size := c.divide(d.Hidden, heads, "d_model by heads")
	options := c.Object("attn_config")
	if options == nil {
		options = &Config{}
	}
	if !options.Bool("alibi", true) {
		c.fail("attn_config without alibi is not supported")
	}
	scale := options.Float("softmax_scale", float64(inverseRoot(size)))
	clip := options.Float("clip_qkv", 0)
	alibi := &Alibi{Slopes: mptSlopes(c, heads, options.Float("alibi_bias_max", 8))}
	if options.err != nil {
		c.fail("attn_config: %w", options.err)
	}
	for layer := range layers {
		p := block("transformer.blocks", layer)
		d.Blocks = append(d.Blocks, Block{
			MLPAddsResidual: true,
			BeforeAttention: norm(p+"norm_1", InputLayerNorm),
			Attention: Attention{
				Heads: heads, KVHeads: heads, HeadSize: size,
				Fused: linear(p+"attn.Wqkv", false), Groups: 1,
				Output: linear(p+"attn.out_proj", false),
				Clip:   float32(clip), Alibi: alibi, Scale: float32(scale),
			},
			BeforeMLP: norm(p+"norm_2", PostAttentionLayerNorm),
			MLP: MLP{
				Activation: GELU, Inner: 4 * d.Hidden,
				Up: linear(p+"ffn.up_proj", false), Down: linear(p+"ffn.down_proj", false),
			},
		})
	}
	return d
}

// mptSlopes returns 2^(-most*i/n) for i = 1 … n, n the next power of two from
// the number of heads on; where that is larger, every other one from the second
// on and then those between.
func mptSlopes(c *Config, heads int, most float64) []float32 {
	if heads < 1 || heads > maxWidth {
		c.fail("%d attention heads", heads)
		return nil
	}
	power := 1
	for power < heads {
		power *= 2
	}
	slopes := make([]float32, heads)
	for i := range slopes {
		n := i + 1
		if power != heads {
			n = 2*i + 2
			if n > power {
				n -= power + 1
			}
		}
		slopes[i] = float32(math.Pow(2, -most*float64(n)/float64(power)))
	}
	return slopes
}
