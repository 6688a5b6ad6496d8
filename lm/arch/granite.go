package arch

var (
	_ = register(granite, "granite")
	_ = turnsBiasesOn("granite", "attention_bias", "mlp_bias")
	_ = register(graniteMoE, "granitemoe")
	_ = turnsBiasesOn("granitemoe", "attention_bias")
	_ = register(graniteMoEShared, "granitemoeshared")
	_ = turnsBiasesOn("granitemoeshared", "attention_bias")
)

// granite is llama with multipliers on the embeddings, the attention scores, the
// residual branches and the logits.
func granite(c *Config) *Decoder {
	d := llama(c)
	d.Embedding.Scale = float32(c.Float("embedding_multiplier", 1))
	if scaling := c.Float("logits_scaling", 1); scaling != 0 {
		d.Head.Scale = float32(1 / scaling)
	}
	for i := range d.Blocks {
		b := &d.Blocks[i]
		b.AttentionScale = float32(c.Float("residual_multiplier", 1))
		b.MLPScale = b.AttentionScale
		b.Attention.Scale = float32(c.Float("attention_multiplier", 1))
	}
	return d
}

// graniteMoE is granite with experts, all in one tensor, on every layer.
func graniteMoE(c *Config) *Decoder {
	d := granite(c)
	d.Modules[MLPOutput] = "model.layers.{num}.block_sparse_moe"
	for i := range d.Blocks {
		m, p := &d.Blocks[i].MLP, block("model.layers", i)+"block_sparse_moe."
		m.Gate, m.Up = Linear{}, Linear{}
		m.GateUp, m.Down = linear(p+"input_linear", false), linear(p+"output_linear", false)
		m.Experts = &Experts{
			Router: linear(p+"router.layer", false), Count: c.Int("num_local_experts"), PerToken: c.Int("num_experts_per_tok"), Normalize: true,
		}
	}
	return d
}

// graniteMoEShared is granitemoe with an MLP beside the experts, which the module
// of the site mlp does not hold.
func graniteMoEShared(c *Config) *Decoder {
	d := graniteMoE(c)
	inner := c.IntOr("shared_intermediate_size", 0)
	for i := range d.Blocks {
		if p := block("model.layers", i) + "shared_mlp."; inner > 0 {
			d.Blocks[i].MLPBeside = &MLP{
				Activation: d.Blocks[i].MLP.Activation, Inner: inner,
				GateUp: linear(p+"input_linear", false), Down: linear(p+"output_linear", false),
			}
		}
	}
	return d
}
