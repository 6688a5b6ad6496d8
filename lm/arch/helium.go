package arch

var _ = register(helium, "helium")

var _ = turnsBiasesOn("helium", "mlp_bias")

// helium is llama with neighbouring pairs turning.
func helium(c *Config) *Decoder {
	d := llama(c)
	for i := range d.Blocks {
		if r := d.Blocks[i].Attention.Rope; r != nil {
			r.Interleaved = true
		}
	}
	return d
}
