package arch

var _ = register(qwen2, "qwen2")

// qwen2 is llama with biases on queries, keys and values, and a sliding window
// on the layers from max_window_layers on where the config switches it on.
func qwen2(c *Config) *Decoder {
	d := llama(c)
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		p := block("model.layers", i) + "self_attn."
		a.Query, a.Key, a.Value = linear(p+"q_proj", true), linear(p+"k_proj", true), linear(p+"v_proj", true)
	}
	qwenWindow(c, d)
	return d
}

// qwenWindow sets the sliding window of the layers that have one.
func qwenWindow(c *Config, d *Decoder) {
	if !c.Bool("use_sliding_window", false) {
		return
	}
	types := c.Strings("layer_types")
	from := c.IntOr("max_window_layers", 28)
	for i := range d.Blocks {
		if sliding(types, i, i >= from) {
			d.Blocks[i].Attention.Window = c.IntOr("sliding_window", 0)
		}
	}
}

// sliding reports whether a layer has a sliding window: what layer_types says
// where the config has it, otherwise the family's rule.
func sliding(types []string, layer int, rule bool) bool {
	if layer < len(types) {
		return types[layer] == "sliding_attention"
	}
	return rule
}
