package arch

var (
	_ = register(glm, "glm")
	_ = register(glm4, "glm4")
	_ = register(glm4MoE, "glm4_moe")
)

// glm is llama with gate and up in one tensor, neighbouring pairs of a part of
// each head turning, and biases on queries, keys and values alone.
func glm(c *Config) *Decoder {
	d := llama(c)
	turnPart(c, d, c.Float("partial_rotary_factor", 0.5))
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.Attention.Output.Bias = ""
		if b.Attention.Rope != nil {
			b.Attention.Rope.Interleaved = true
		}
		b.MLP.Gate, b.MLP.Up = Linear{}, Linear{}
		b.MLP.GateUp = linear(p+"mlp.gate_up_proj", false)
	}
	return d
}

// glm4 is glm with norms after attention and after the MLP as well.
func glm4(c *Config) *Decoder {
	d := glm(c)
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.AfterAttention = rms(c, p+"post_self_attn_layernorm", "")
		b.AfterMLP = rms(c, p+"post_mlp_layernorm", "")
	}
	return d
}

// glm4MoE is llama with a part of each head turning, RMS norms on each head's
// query and key where the config says so, and deepseek_v3's experts.
func glm4MoE(c *Config) *Decoder {
	d := llama(c)
	turnPart(c, d, c.Float("partial_rotary_factor", 0.5))
	for i := range d.Blocks {
		a, p := &d.Blocks[i].Attention, block("model.layers", i)+"self_attn."
		a.Output.Bias = ""
		if c.Bool("use_qk_norm", false) {
			a.QueryNorm, a.KeyNorm = rms(c, p+"q_norm", ""), rms(c, p+"k_norm", "")
		}
	}
	deepExperts(c, d, Sigmoid)
	return d
}
