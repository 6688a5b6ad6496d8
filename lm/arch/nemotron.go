package arch

var _ = register(nemotron, "nemotron")

var _ = turnsBiasesOn("nemotron", "attention_bias", "mlp_bias")

// nemotron is arcee with layer norms, of which weight-1 is stored, and a part of
// each head turning.
func nemotron(c *Config) *Decoder {
	d := arcee(c)
	norm := func(name string, site Site) *Norm {
		n := layerNorm(name, c.Float("norm_eps", 1e-5), site)
		n.Offset = 1
		return n
	}
	d.Norm = norm("model.norm", "")
	turnPart(c, d, c.Float("partial_rotary_factor", 0.5))
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.BeforeAttention = norm(p+"input_layernorm", InputLayerNorm)
		b.BeforeMLP = norm(p+"post_attention_layernorm", PostAttentionLayerNorm)
	}
	return d
}
