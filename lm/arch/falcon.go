package arch

import "github.com/steervec/steer/lm/internal/bfloat16"

var _ = register(falcon, "falcon")

var _ = turnsBiasesOn("falcon", "bias")

// falcon has layer norms and three layouts: attention and MLP in parallel behind
// one norm (7B), behind one norm each (40B and later), or one after the other
// with ALiBi (RW).
func falcon(c *Config) *Decoder {
	layers := c.layers("num_hidden_layers", "n_layer")
	epsilon, bias := c.Float("layer_norm_epsilon", 1e-5), c.Bool("bias", false)
	d := &Decoder{
		Hidden:       c.Int("hidden_size"),
		Vocabulary:   c.Int("vocab_size"),
		MaxPositions: c.IntOr("max_position_embeddings", 2048),
		Prefix:       "transformer.",
		Embedding:    Embedding{Tokens: "transformer.word_embeddings.weight"},
		Norm:         layerNorm("transformer.ln_f", epsilon, ""),
		Head:         Head{Linear: Linear{Weight: "lm_head.weight"}, Tied: c.Bool("tie_word_embeddings", true)},
		Modules: map[Site]string{
			DecoderBlock: "transformer.h.{num}",
			SelfAttn:     "transformer.h.{num}.self_attention",
			MLPOutput:    "transformer.h.{num}.mlp",
		},
	}
	heads := c.Int("num_attention_heads", "n_head")
	attention := Attention{Heads: heads, KVHeads: heads, Groups: heads, HeadSize: c.divide(d.Hidden, heads, "hidden size by attention heads")}
	grouped := c.Bool("new_decoder_architecture", false)
	switch {
	case grouped:
		attention.KVHeads = c.IntOr("num_kv_heads", heads)
		attention.Groups = attention.KVHeads
	case c.Bool("multi_query", true):
		attention.KVHeads, attention.Groups = 1, 1
	}
	attention.Scale = inverseRoot(attention.HeadSize)
	if c.Bool("alibi", false) {
		// transformers adds the bias once, scaled as the scores are. Its eager attention
		// adds it once more with the mask; a config may ask for that by name.
		times := float32(1)
		if c.String("attn_implementation", "sdpa") == "eager" {
			times = 2
		}
		slopes := alibiSlopes(c, heads)
		for i, s := range slopes {
			slopes[i] = times * bfloat16.Widen(bfloat16.Round(s))
		}
		attention.Alibi = &Alibi{Slopes: slopes, RoundBias: true, ScaleBias: true}
	} else {
		attention.Rope = newRope(c, attention.HeadSize)
	}
	parallel := grouped || c.Bool("parallel_attn", true)
	twoNorms := grouped && c.IntOr("num_ln_in_parallel_attn", 2) == 2
	first, second := "input_layernorm", "post_attention_layernorm"
	if twoNorms {
		first, second = "ln_attn", "ln_mlp"
	}
	d.Modules[InputLayerNorm] = "transformer.h.{num}." + first
	if !parallel || twoNorms {
		d.Modules[PostAttentionLayerNorm] = "transformer.h.{num}." + second
	}
	for layer := range layers {
		p := block("transformer.h", layer)
		a := attention
		a.Fused, a.Output = linear(p+"self_attention.query_key_value", bias), linear(p+"self_attention.dense", bias)
		b := Block{
			Parallel:        parallel,
			BeforeAttention: layerNorm(p+first, epsilon, InputLayerNorm),
			Attention:       a,
			MLP: MLP{
				Activation: c.activation("activation", "gelu"),
				Inner:      c.IntOr("ffn_hidden_size", 4*d.Hidden),
				Up:         linear(p+"mlp.dense_h_to_4h", bias),
				Down:       linear(p+"mlp.dense_4h_to_h", bias),
			},
		}
		if !parallel || twoNorms {
			b.BeforeMLP = layerNorm(p+second, epsilon, PostAttentionLayerNorm)
		}
		d.Blocks = append(d.Blocks, b)
	}
	return d
}
