package arch

var _ = register(smolLM3, "smollm3")

var _ = turnsBiasesOn("smollm3", "attention_bias", "mlp_bias")

// smolLM3 is llama with layers that have no positions, by default every fourth,
// and a sliding window where the config switches it on.
func smolLM3(c *Config) *Decoder {
	d := llama(c)
	d.Head.Tied = c.Bool("tie_word_embeddings", true)
	types, turning := c.Strings("layer_types"), c.Floats("no_rope_layers")
	interval := max(c.IntOr("no_rope_layer_interval", 4), 1)
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		turns := (i+1)%interval != 0
		if i < len(turning) {
			turns = turning[i] != 0
		}
		if !turns {
			a.Rope = nil
		}
		if c.Bool("use_sliding_window", false) && sliding(types, i, !turns) {
			a.Window = c.IntOr("sliding_window", 0)
		}
	}
	return d
}
