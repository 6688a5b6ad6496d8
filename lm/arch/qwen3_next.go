package arch

var _ = register(qwen3Next, "qwen3_next")

// qwen3Next is qwen3_moe with the gated delta rule in place of attention on three
// of four layers, gates on attention elsewhere, and weight-1 stored for each norm
// (Yang, Kautz and Hatamizadeh 2024).
func qwen3Next(c *Config) *Decoder {
	c.suppose(map[string]string{"head_dim": "256"})
	d := qwen2MoE(c)
	turnPart(c, d, c.Float("partial_rotary_factor", 0.25))
	d.Norm.Offset = 1
	types, interval := c.Strings("layer_types"), c.Positive("full_attention_interval", 4)
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.BeforeAttention.Offset, b.BeforeMLP.Offset = 1, 1
		if e := b.MLP.Experts; e != nil {
			e.Normalize = c.Bool("norm_topk_prob", true)
		}
		attends := (i+1)%interval == 0
		if i < len(types) {
			attends = types[i] == "full_attention"
		}
		if !attends {
			b.Attention, b.Recurrence = Attention{}, gatedDelta(c, p+"linear_attn.")
			b.Modules = map[Site]string{SelfAttn: "model.layers.{num}.linear_attn"}
			continue
		}
		a, bias := &b.Attention, c.Bool("attention_bias", false)
		a.Query, a.Key, a.Value, a.Gated = linear(p+"self_attn.q_proj", bias), linear(p+"self_attn.k_proj", bias), linear(p+"self_attn.v_proj", bias), true
		a.Output = linear(p+"self_attn.o_proj", bias)
		a.QueryNorm, a.KeyNorm = rms(c, p+"self_attn.q_norm", ""), rms(c, p+"self_attn.k_norm", "")
		a.QueryNorm.Offset, a.KeyNorm.Offset = 1, 1
	}
	return d
}

// gatedDelta is a memory that takes what a key recalls already from what is
// written. Each key's queries, keys, values and gates stand together in one
// projection, its strengths and steps in another.
func gatedDelta(c *Config, p string) *Recurrence {
	m := &Memory{
		Heads: c.Positive("linear_num_value_heads", 32), KeyHeads: c.Positive("linear_num_key_heads", 16),
		KeySize: c.Positive("linear_key_head_dim", 128), ValueSize: c.Positive("linear_value_head_dim", 128),
		Rates: p + "A_log", Bias: p + "dt_bias", Delta: true, UnitKeys: true,
	}
	shared := c.divide(m.Heads, m.KeyHeads, "value heads by key heads")
	values := shared * min(m.ValueSize, maxWidth)
	m.Scale = inverseRoot(m.KeySize)
	in := []Projection{{Linear: linear(p+"in_proj_qkvz", false), Groups: m.KeyHeads,
		Parts: []Part{{Role: Query, Size: m.KeySize}, {Role: Key, Size: m.KeySize}, {Role: Value, Size: values}, {Role: Gate, Size: values}}}}
	if c.Bool("gates_apart", false) { // as a GGUF file has them
		keys := m.KeyHeads * min(m.KeySize, maxWidth)
		in = []Projection{
			{Linear: linear(p+"in_proj_qkv", false), Groups: 1, Parts: []Part{{Role: Query, Size: keys}, {Role: Key, Size: keys}, {Role: Value, Size: m.KeyHeads * values}}},
			{Linear: linear(p+"in_proj_z", false), Groups: 1, Parts: []Part{{Role: Gate, Size: m.KeyHeads * values}}},
		}
	}
	return &Recurrence{
		In:          append(in, Projection{Linear: linear(p+"in_proj_ba", false), Groups: m.KeyHeads, Parts: []Part{{Role: Strength, Size: shared}, {Role: Step, Size: shared}}}),
		Convolution: &Convolution{Weight: p + "conv1d.weight", Taps: c.Positive("linear_conv_kernel_dim", 4), Order: []Role{Query, Key, Value}},
		Activation:  c.activation("hidden_act", "silu"), Memory: m, Width: m.KeyHeads * values,
		GateActivation: SiLU, Norm: rms(c, p+"norm", ""), NormParts: m.Heads, NormShared: true, NormBeforeGate: true,
		Output: linear(p+"out_proj", false),
	}
}
