package arch

var (
	_ = register(mistral, "mistral")
	_ = register(ministral, "ministral")
)

// mistral is llama with a sliding window.
func mistral(c *Config) *Decoder {
	d := llama(c)
	for i := range d.Blocks {
		d.Blocks[i].Attention.Window = c.IntOr("sliding_window", 0)
	}
	return d
}

// ministral is mistral with the window on the layers that the config names.
func ministral(c *Config) *Decoder {
	d := mistral(c)
	types := c.Strings("layer_types")
	for i := range d.Blocks {
		if !sliding(types, i, true) {
			d.Blocks[i].Attention.Window = 0
		}
	}
	return d
}
