package arch

var _ = register(olmo3, "olmo3")

var _ = turnsBiasesOn("olmo3", "attention_bias")

// olmo3 is olmo2 with a sliding window on most layers, which turn by plain
// frequencies whatever scaling the others have.
func olmo3(c *Config) *Decoder {
	d := olmo2(c)
	types := c.Strings("layer_types")
	theta := c.Float("rope_theta", 10000)
	if parameters := c.Object("rope_parameters"); parameters != nil {
		theta = parameters.Float("rope_theta", theta)
	}
	plain := scaledRope(c, headSize(c, d.Hidden, c.Int("num_attention_heads")), theta, nil)
	for i := range d.Blocks {
		if a := &d.Blocks[i].Attention; sliding(types, i, (i+1)%4 != 0) {
			a.Window = c.IntOr("sliding_window", 4096)
			a.Rope = plain
		}
	}
	return d
}
