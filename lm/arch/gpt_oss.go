package arch

var _ = register(gptOSS, "gpt_oss")

// gptOSS is llama with biases, a sink beside the positions of each head, a sliding
// window on every other layer, and experts whose gate is clamped, all in one
// tensor, in which gate and up alternate (OpenAI 2025).
func gptOSS(c *Config) *Decoder {
	d := llama(c)
	types := c.Strings("layer_types")
	for i := range d.Blocks {
		a, p := &d.Blocks[i].Attention, block("model.layers", i)
		a.Sinks = p + "self_attn.sinks"
		if sliding(types, i, i%2 == 0) {
			a.Window = c.IntOr("sliding_window", 128)
		}
		p += "mlp."
		stacked := func(name string) Linear {
			return Linear{Weight: p + "experts." + name, Bias: p + "experts." + name + "_bias", Transposed: true}
		}
		d.Blocks[i].MLP = MLP{
			Activation: QuickGELU, GateLimit: float32(c.Float("swiglu_limit", 7)), UpOffset: 1,
			Inner:  c.Int("intermediate_size"),
			GateUp: stacked("gate_up_proj"), Alternating: true, Down: stacked("down_proj"),
			Experts: &Experts{
				Router: linear(p+"router", true), Count: c.Int("num_local_experts"), PerToken: c.Int("num_experts_per_tok"), Normalize: true,
			},
		}
		if c.Bool("experts_apart", false) { // as a GGUF file has them
			m := &d.Blocks[i].MLP
			m.GateUp, m.Alternating = Linear{}, false
			m.Gate, m.Up, m.Down = linear(p+"experts.{expert}.gate_proj", true), linear(p+"experts.{expert}.up_proj", true), linear(p+"experts.{expert}.down_proj", true)
		}
	}
	return d
}
