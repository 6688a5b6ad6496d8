package arch

var _ = register(mixtral, "mixtral")

// mixtral is mistral with experts, whose chosen weights sum to 1
// (Jiang et al. 2024).
func mixtral(c *Config) *Decoder {
	d := mistral(c)
	d.Modules[MLPOutput] = "model.layers.{num}.block_sparse_moe"
	for i := range d.Blocks {
		p := block("model.layers", i) + "block_sparse_moe."
		m := &d.Blocks[i].MLP
		m.Gate = linear(p+"experts.{expert}.w1", false)
		m.Up = linear(p+"experts.{expert}.w3", false)
		m.Down = linear(p+"experts.{expert}.w2", false)
		m.Experts = &Experts{
			Router: linear(p+"gate", false), Count: c.Int("num_local_experts"), PerToken: c.IntOr("num_experts_per_tok", 2), Normalize: true,
		}
	}
	return d
}
