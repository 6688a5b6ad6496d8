package arch

var _ = register(granite, "granite")

// granite is llama with multipliers on the embeddings, the attention scores, the
// residual branches and the logits.
func granite(c *Config) *Decoder {
	d := llama(c)
	d.Embedding.Scale = float32(c.Float("embedding_multiplier", 1))
	if scaling := c.Float("logits_scaling", 1); scaling != 0 {
		d.Head.Scale = float32(1 / scaling)
	}
	for i := range d.Blocks {
		d.Blocks[i].ResidualScale = float32(c.Float("residual_multiplier", 1))
		d.Blocks[i].Attention.Scale = float32(c.Float("attention_multiplier", 1))
	}
	return d
}
