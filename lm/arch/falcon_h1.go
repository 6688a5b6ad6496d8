package arch

var _ = register(falconH1, "falcon_h1")

// falconH1 is llama with a state space beside the attention of every block, and
// multipliers in many places (Falcon-LLM team 2025, section 2).
func falconH1(c *Config) *Decoder {
	d := llama(c)
	d.Norm = rms(c, "model.final_layernorm", "")
	d.Embedding.Scale, d.Head.Scale = float32(c.Float("embedding_multiplier", 1)), float32(c.Float("lm_head_multiplier", 1))
	d.Modules[MLPOutput], d.Modules[PostAttentionLayerNorm] = "model.layers.{num}.feed_forward", "model.layers.{num}.pre_ff_layernorm"
	in, bias := c.Float("ssm_in_multiplier", 1), c.Bool("mlp_bias", false)
	if in != 1 && c.Bool("mamba_proj_bias", false) {
		c.fail("ssm_in_multiplier is %v, and the projection that it is for has a bias", in)
	}
	ssm, mlp := c.multipliers("ssm_multipliers", 5), c.multipliers("mlp_multipliers", 2)
	width := c.IntOr("mamba_d_ssm", c.IntOr("mamba_expand", 2)*d.Hidden)
	out, attention := c.Float("ssm_out_multiplier", 1), c.Float("attention_out_multiplier", 1)
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.Attention.Scale *= float32(c.Float("key_multiplier", 1))
		b.Attention.InputScale, b.AttentionScale = float32(c.Float("attention_in_multiplier", 1)), float32(attention)
		b.BeforeMLP = rms(c, p+"pre_ff_layernorm", PostAttentionLayerNorm)
		b.MLP.Gate, b.MLP.Up, b.MLP.Down = linear(p+"feed_forward.gate_proj", bias), linear(p+"feed_forward.up_proj", bias), linear(p+"feed_forward.down_proj", bias)
		b.MLP.GateScale, b.MLP.Scale = float32(mlp[0]), float32(mlp[1])
		var parts [5]float32
		for i := range parts {
			parts[i] = float32(ssm[i] * in)
		}
		r := mamba2(c, p+"mamba.", width, parts)
		r.Output = linear(p+"mamba.out_proj", c.Bool("projectors_bias", false))
		r.Scale = float32(out / attention)
		if c.Bool("mamba_rms_norm", false) {
			r.Norm, r.NormParts, r.NormBeforeGate = rms(c, p+"mamba.norm", ""), r.Memory.KeyHeads, c.Bool("mamba_norm_before_gate", true)
		}
		b.Recurrence = r
	}
	return d
}

// multipliers returns n numbers of a field, ones where it is missing.
func (c *Config) multipliers(name string, n int) []float64 {
	out := c.Floats(name)
	if out == nil {
		for range n {
			out = append(out, 1)
		}
	}
	if len(out) != n {
		c.fail("%s has %d numbers, not %d", name, len(out), n)
		return make([]float64, n)
	}
	return out
}
