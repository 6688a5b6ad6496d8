package arch

import "math"

var _ = register(llama, "llama")

var _ = turnsBiasesOn("llama", "attention_bias", "mlp_bias")

// llama is the description that most later families vary: RMS norms before
// attention and MLP, rotary positions, grouped queries, a gated MLP.
func llama(c *Config) *Decoder {
	layers := c.layers("num_hidden_layers")
	d := &Decoder{
		Hidden:       c.Int("hidden_size"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("max_position_embeddings", 0),
		Prefix:       "model.",
		Embedding:    Embedding{Tokens: "model.embed_tokens.weight"},
		Norm:         rms(c, "model.norm", ""),
		Head:         Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", false)},
		Modules: map[Site]string{
			DecoderBlock:           "model.layers.{num}",
			SelfAttn:               "model.layers.{num}.self_attn",
			MLPOutput:              "model.layers.{num}.mlp",
			InputLayerNorm:         "model.layers.{num}.input_layernorm",
			PostAttentionLayerNorm: "model.layers.{num}.post_attention_layernorm",
		},
	}
	attentionBias, mlpBias := c.Bool("attention_bias", false), c.Bool("mlp_bias", false)
	heads := c.Int("num_attention_heads")
	size := headSize(c, d.Hidden, heads)
	rope := newRope(c, size)
	for layer := range layers {
		p := block("model.layers", layer)
		d.Blocks = append(d.Blocks, Block{
			BeforeAttention: rms(c, p+"input_layernorm", InputLayerNorm),
			Attention: Attention{
				Heads: heads, KVHeads: c.IntOr("num_key_value_heads", heads), HeadSize: size,
				Query:  linear(p+"self_attn.q_proj", attentionBias),
				Key:    linear(p+"self_attn.k_proj", attentionBias),
				Value:  linear(p+"self_attn.v_proj", attentionBias),
				Output: linear(p+"self_attn.o_proj", attentionBias),
				Rope:   rope,
				Scale:  inverseRoot(size),
			},
			BeforeMLP: rms(c, p+"post_attention_layernorm", PostAttentionLayerNorm),
			MLP: MLP{
				Activation: c.activation("hidden_act", "silu"),
				Inner:      c.Int("intermediate_size"),
				Gate:       linear(p+"mlp.gate_proj", mlpBias),
				Up:         linear(p+"mlp.up_proj", mlpBias),
				Down:       linear(p+"mlp.down_proj", mlpBias),
			},
		})
	}
	return d
}

// headSize is the head_dim that the config names, or hidden shared by the heads.
func headSize(c *Config, hidden, heads int) int {
	if c.Has("head_dim") {
		return c.Int("head_dim")
	}
	return c.divide(hidden, heads, "hidden size by attention heads")
}

// inverseRoot is 1/√size, the usual scale of attention scores
// (Vaswani et al. 2017, eq. 1).
func inverseRoot(size int) float32 { return float32(1 / math.Sqrt(float64(size))) }
