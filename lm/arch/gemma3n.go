package arch

import "math"

var _ = register(gemma3n, "gemma3n_text")

var _ = turnsBiasesOn("gemma3n_text", "attention_bias")

// gemma3n is gemma3 with several residual streams, a learned residual beside
// attention, an input of its own for each layer, gates of which few are open, and
// last layers that attend to the keys and values of earlier ones (Gemma 3n's release).
func gemma3n(c *Config) *Decoder {
	inner := c.perLayer("intermediate_size")
	d := llama(c)
	if len(inner) != len(d.Blocks) && len(inner) > 0 {
		c.fail("intermediate_size has %d numbers for %d layers", len(inner), len(d.Blocks))
		return d
	}
	if active := c.IntOr("altup_active_idx", 0); active != 0 {
		c.fail("altup_active_idx is %d; only 0 is supported", active)
	}
	streams, activation := c.Positive("altup_num_inputs", 4), c.activation("hidden_activation", "gelu_pytorch_tanh")
	sparse := c.sparsities(len(d.Blocks))
	d.Embedding.Scale = float32(math.Sqrt(float64(d.Hidden)))
	d.Head.Tied, d.Head.SoftCap = c.Bool("tie_word_embeddings", true), float32(c.Float("final_logit_softcapping", 0))
	d.Streams = &Streams{Count: streams, Begin: linear("model.altup_projections.{stream}", false), End: linear("model.altup_unembed_projections.{stream}", false), Epsilon: 1e-5}
	width := c.Positive("hidden_size_per_layer_input", 256)
	d.Embedding.LayerInputs = &LayerInputs{
		Width: width, Tokens: "model.embed_tokens_per_layer.weight", Vocabulary: c.IntOr("vocab_size_per_layer_input", d.Vocabulary), Scale: float32(math.Sqrt(float64(width))),
		Project: linear("model.per_layer_model_projection", false), ProjectScale: inverseRoot(d.Hidden), Norm: rms(c, "model.per_layer_projection_norm", ""), SumScale: math.Sqrt2 / 2,
	}
	types := c.Strings("layer_types")
	local := scaledRope(c, headSize(c, d.Hidden, c.Int("num_attention_heads")), localTheta(c), nil)
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		if len(inner) > 0 {
			b.MLP.Inner = inner[i]
		}
		b.MLP.Activation, b.MLP.Sparsity = activation, float32(sparse[i])
		b.AfterAttention = rms(c, p+"post_attention_layernorm", PostAttentionLayerNorm)
		b.BeforeMLP, b.AfterMLP = rms(c, p+"pre_feedforward_layernorm", ""), rms(c, p+"post_feedforward_layernorm", "")
		b.AttentionScale, b.AttentionKeeps = math.Sqrt2/2, math.Sqrt2/2
		a := &b.Attention
		a.Scale = 1
		a.QueryNorm, a.KeyNorm = rms(c, p+"self_attn.q_norm", ""), rms(c, p+"self_attn.k_norm", "")
		a.ValueNorm = &Norm{Kind: RMS, Epsilon: a.QueryNorm.Epsilon}
		if sliding(types, i, (i+1)%5 != 0) {
			a.Window, a.Rope = c.IntOr("sliding_window", 512), local
		}
		b.AltUp = &AltUp{
			Norm: rms(c, p+"altup.router_norm", ""), Router: linear(p+"altup.modality_router", false),
			Predict: linear(p+"altup.prediction_coefs", false), Correct: linear(p+"altup.correction_coefs", false),
		}
		b.Laurel = &Laurel{
			Rank: c.Positive("laurel_rank", 64), Down: linear(p+"laurel.linear_left", false), Up: linear(p+"laurel.linear_right", false),
			Norm: rms(c, p+"laurel.post_laurel_norm", ""),
		}
		b.LayerInput = &LayerInput{
			Gate: linear(p+"per_layer_input_gate", false), Activation: activation, Up: linear(p+"per_layer_projection", false),
			Norm: rms(c, p+"post_per_layer_input_norm", ""),
		}
		if c.Bool("altup_correct_scale", true) {
			b.LayerInput.Scale = p + "altup.correct_output_scale"
		}
	}
	shareKeys(c, d)
	return d
}

// shareKeys lets the last num_kv_shared_layers layers attend to the keys and values
// of the last layer of their kind, with a window or without, before them.
func shareKeys(c *Config, d *Decoder) {
	own := len(d.Blocks) - c.IntOr("num_kv_shared_layers", 15)
	if own < 1 {
		c.fail("num_kv_shared_layers is %v; there are %d layers", c.fields["num_kv_shared_layers"], len(d.Blocks))
		return
	}
	for i := own; i < len(d.Blocks); i++ {
		a := &d.Blocks[i].Attention
		for of := own - 1; of >= 0 && a.KeysBack == 0; of-- {
			if d.Blocks[of].Attention.Window == a.Window {
				a.KeysBack = i - of
			}
		}
		if a.KeysBack == 0 {
			c.fail("layer %d shares the keys of layers of its kind, of which there are none before layer %d", i, own)
		}
		a.Key, a.Value, a.KeyNorm, a.ValueNorm = Linear{}, Linear{}, nil, nil
	}
}

// perLayer reads a whole number for each layer and lets the first stand for all where
// one is asked for; nil where the field has one number, or is missing.
func (c *Config) perLayer(name string) (all []int) {
	if _, is := c.fields[name].([]any); !is {
		return nil
	}
	list := c.list(name)
	for _, v := range list {
		one := &Config{fields: map[string]any{"a layer": v}, parent: c, name: name}
		all = append(all, one.Int("a layer"))
	}
	if len(all) == 0 {
		c.fail("%s is empty", name)
		return nil
	}
	c.fields[name] = list[0]
	return all
}

// sparsities returns which share of each layer's gates is closed. Without a word of
// the config it is 0.95 in the first ten of more than ten layers.
func (c *Config) sparsities(layers int) []float64 {
	if !c.Has("activation_sparsity_pattern") {
		out := make([]float64, layers)
		for i := range min(10, layers) {
			if layers > 10 {
				out[i] = 0.95
			}
		}
		return out
	}
	out := c.Floats("activation_sparsity_pattern")
	if len(out) != layers {
		c.fail("activation_sparsity_pattern has %d numbers for %d layers", len(out), layers)
		return make([]float64, layers)
	}
	return out
}
