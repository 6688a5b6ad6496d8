package arch

var _ = register(dots1, "dots1")

var _ = turnsBiasesOn("dots1", "attention_bias")

// dots1 is qwen3 with deepseek_v3's experts and a sliding window on some layers.
func dots1(c *Config) *Decoder {
	d := qwen3(c)
	types := c.Strings("layer_types")
	for i := range d.Blocks {
		if sliding(types, i, false) {
			d.Blocks[i].Attention.Window = c.IntOr("sliding_window", 0)
		}
	}
	deepExperts(c, d, Sigmoid)
	return d
}
