package arch

var _ = register(mistral, "mistral")

// mistral is llama with a sliding window.
func mistral(c *Config) *Decoder {
	d := llama(c)
	for i := range d.Blocks {
		d.Blocks[i].Attention.Window = c.IntOr("sliding_window", 0)
	}
	return d
}
