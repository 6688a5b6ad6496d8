package arch

var (
	_ = register(qwen2MoE, "qwen2_moe")
	_ = register(qwen3MoE, "qwen3_moe")
	_ = turnsBiasesOn("qwen3_moe", "attention_bias")
)

// qwen2MoE is qwen2 with experts on some layers, beside a shared one behind a
// gate of its own.
func qwen2MoE(c *Config) *Decoder {
	d := qwen2(c)
	experts(c, d)
	for i := range d.Blocks {
		m := &d.Blocks[i].MLP
		if m.Experts == nil {
			continue
		}
		p := block("model.layers", i) + "mlp."
		m.Experts.Shared = &MLP{
			Activation: m.Activation, Inner: c.Int("shared_expert_intermediate_size"),
			Gate: linear(p+"shared_expert.gate_proj", false),
			Up:   linear(p+"shared_expert.up_proj", false),
			Down: linear(p+"shared_expert.down_proj", false),
		}
		m.Experts.SharedGate = linear(p+"shared_expert_gate", false)
	}
	return d
}

// qwen3MoE is qwen3 with experts on some layers.
func qwen3MoE(c *Config) *Decoder {
	d := qwen3(c)
	experts(c, d)
	return d
}

// experts replaces the MLP of every decoder_sparse_step-th layer that
// mlp_only_layers does not name.
func experts(c *Config, d *Decoder) {
	step := max(c.IntOr("decoder_sparse_step", 1), 1)
	dense := map[int]bool{}
	for _, layer := range c.Floats("mlp_only_layers") {
		dense[int(layer)] = true
	}
	for i := range d.Blocks {
		if dense[i] || (i+1)%step != 0 {
			continue
		}
		p := block("model.layers", i) + "mlp."
		d.Blocks[i].MLP = MLP{
			Activation: d.Blocks[i].MLP.Activation, Inner: c.Int("moe_intermediate_size", "intermediate_size"),
			Gate: linear(p+"experts.{expert}.gate_proj", false),
			Up:   linear(p+"experts.{expert}.up_proj", false),
			Down: linear(p+"experts.{expert}.down_proj", false),
			Experts: &Experts{
				Router: linear(p+"gate", false), Count: c.Int("num_experts", "num_local_experts"),
				PerToken: c.Int("num_experts_per_tok"), Normalize: c.Bool("norm_topk_prob", false),
			},
		}
	}
}
