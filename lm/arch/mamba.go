package arch

// mamba2 is a state space whose steps decide how far each head fades and how much
// it takes in (Dao and Gu 2024): gate, values, keys, queries and steps are one
// projection, and a convolution passes over values, keys and queries. p is the
// module's path, multipliers those of the five parts.
func mamba2(c *Config, p string, width int, multipliers [5]float32) *Recurrence {
	m := &Memory{
		Heads: c.Positive("mamba_n_heads", 128), KeyHeads: c.Positive("mamba_n_groups", 1),
		KeySize: c.Positive("mamba_d_state", 256), ValueSize: c.Int("mamba_d_head"),
		Rates: p + "A_log", Bias: p + "dt_bias", StepWrites: true, Skip: p + "D",
	}
	keys := m.KeyHeads * min(m.KeySize, maxWidth)
	in := Projection{Linear: linear(p+"in_proj", c.Bool("mamba_proj_bias", false)), Groups: 1}
	for i, part := range []Part{{Role: Gate, Size: width}, {Role: Value, Size: width}, {Role: Key, Size: keys}, {Role: Query, Size: keys}, {Role: Step, Size: m.Heads}} {
		part.Scale = multipliers[i]
		in.Parts = append(in.Parts, part)
	}
	r := &Recurrence{
		In: []Projection{in}, Memory: m, Width: width, Activation: c.activation("hidden_act", "silu"), GateActivation: SiLU,
		Convolution: &Convolution{Weight: p + "conv1d.weight", Taps: c.Positive("mamba_d_conv", 4), Order: []Role{Value, Key, Query}},
		Output:      linear(p+"out_proj", c.Bool("mamba_proj_bias", false)),
	}
	if c.Bool("mamba_conv_bias", true) {
		r.Convolution.Bias = p + "conv1d.bias"
	}
	return r
}
