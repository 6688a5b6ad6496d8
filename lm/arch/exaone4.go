package arch

var _ = register(exaone4, "exaone4")

// exaone4 is llama with the norms after attention and MLP and on each head's
// query and key. Where some layers have a sliding window, the others have no
// positions.
func exaone4(c *Config) *Decoder {
	d := olmo2(c)
	types, window := c.Strings("layer_types"), c.IntOr("sliding_window", 0)
	pattern := max(c.IntOr("sliding_window_pattern", 4), 1)
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		a.NormScope = EachHead
		switch {
		case window == 0:
		case sliding(types, i, (i+1)%pattern != 0 && i+1 < len(d.Blocks)):
			a.Window = window
		default:
			a.Rope = nil
		}
	}
	return d
}
