package arch

var _ = register(olmo, "olmo")

var _ = turnsBiasesOn("olmo", "attention_bias")

// olmo is llama with layer norms without weights and clipped queries, keys and
// values.
func olmo(c *Config) *Decoder {
	d := llama(c)
	norm := func(site Site) *Norm { return &Norm{Kind: Layer, Epsilon: 1e-5, Site: site} }
	d.Norm = norm("")
	for i := range d.Blocks {
		b := &d.Blocks[i]
		b.BeforeAttention, b.BeforeMLP = norm(InputLayerNorm), norm(PostAttentionLayerNorm)
		b.Attention.Clip = float32(c.Float("clip_qkv", 0))
	}
	return d
}
