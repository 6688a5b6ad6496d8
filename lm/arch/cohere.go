package arch

var (
	_ = register(cohere, "cohere")
	_ = turnsBiasesOn("cohere", "attention_bias")
	_ = register(cohere2, "cohere2")
	_ = turnsBiasesOn("cohere2", "attention_bias")
)

// cohere is llama with attention and MLP in parallel behind one layer norm
// without bias, neighbouring pairs turning, and scaled logits.
func cohere(c *Config) *Decoder {
	d := llama(c)
	norm := func(name string, site Site) *Norm {
		return &Norm{Kind: Layer, Weight: name + ".weight", Epsilon: float32(c.Float("layer_norm_eps", 1e-5)), Site: site}
	}
	delete(d.Modules, PostAttentionLayerNorm)
	d.Norm = norm("model.norm", "")
	d.Head.Tied = c.Bool("tie_word_embeddings", true)
	d.Head.Scale = float32(c.Float("logit_scale", 0.0625))
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.Parallel = true
		b.BeforeAttention, b.BeforeMLP = norm(p+"input_layernorm", InputLayerNorm), nil
		if b.Attention.Rope != nil {
			b.Attention.Rope.Interleaved = true
		}
		if c.Bool("use_qk_norm", false) {
			b.Attention.QueryNorm, b.Attention.KeyNorm = norm(p+"self_attn.q_norm", ""), norm(p+"self_attn.k_norm", "")
			b.Attention.NormScope = EachHeadOwnWeight
		}
	}
	return d
}

// cohere2 is cohere with a sliding window on most layers; those without one
// have no positions.
func cohere2(c *Config) *Decoder {
	d := cohere(c)
	types := c.Strings("layer_types")
	pattern := max(c.IntOr("sliding_window_pattern", 4), 1)
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		if sliding(types, i, (i+1)%pattern != 0) {
			a.Window = c.IntOr("sliding_window", 0)
		} else {
			a.Rope = nil
		}
	}
	return d
}
