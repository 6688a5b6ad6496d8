package arch

var (
	_ = register(ernie45, "ernie4_5")
	_ = turnsBiasesOn("ernie4_5", "use_bias")
	_ = register(ernie45MoE, "ernie4_5_moe")
	_ = turnsBiasesOn("ernie4_5_moe", "use_bias")
)

// ernie45 is llama with neighbouring pairs turning and one switch for all biases.
func ernie45(c *Config) *Decoder {
	d := llama(c)
	d.Head.Tied = c.Bool("tie_word_embeddings", true)
	bias := c.Bool("use_bias", false)
	for i := range d.Blocks {
		a, m, p := &d.Blocks[i].Attention, &d.Blocks[i].MLP, block("model.layers", i)
		if a.Rope != nil {
			a.Rope.Interleaved = true
		}
		a.Query, a.Key = linear(p+"self_attn.q_proj", bias), linear(p+"self_attn.k_proj", bias)
		a.Value, a.Output = linear(p+"self_attn.v_proj", bias), linear(p+"self_attn.o_proj", bias)
		m.Gate, m.Up, m.Down = linear(p+"mlp.gate_proj", bias), linear(p+"mlp.up_proj", bias), linear(p+"mlp.down_proj", bias)
	}
	return d
}

// ernie45MoE is ernie4_5 with experts on every moe_layer_interval-th layer of a
// range, chosen by corrected scores, and shared ones in one MLP.
func ernie45MoE(c *Config) *Decoder {
	d := ernie45(c)
	bias := c.Bool("use_bias", false)
	if bias {
		d.Head.Bias = "lm_head.bias"
	}
	inner, shared := c.Int("moe_intermediate_size"), c.IntOr("moe_num_shared_experts", 0)
	interval := max(c.IntOr("moe_layer_interval", 1), 1)
	last := len(d.Blocks) - 1
	if c.Has("moe_layer_end_index") && c.Float("moe_layer_end_index", -1) >= 0 {
		last = min(last, c.Int("moe_layer_end_index"))
	}
	for i := c.IntOr("moe_layer_start_index", 1); i <= last; i++ {
		if (i+1)%interval != 0 {
			continue
		}
		p := block("model.layers", i) + "mlp."
		mlp := func(name string, inner int) MLP {
			return MLP{
				Activation: d.Blocks[i].MLP.Activation, Inner: inner,
				Gate: linear(p+name+".gate_proj", bias), Up: linear(p+name+".up_proj", bias), Down: linear(p+name+".down_proj", bias),
			}
		}
		m := mlp("experts.{expert}", inner)
		m.Experts = &Experts{
			Router: linear(p+"gate", false), Count: c.Int("moe_num_experts"), PerToken: c.Int("moe_k"),
			Correction: p + "moe_statics.e_score_correction_bias", Normalize: true,
		}
		if shared > 0 {
			one := mlp("shared_experts", inner*shared)
			m.Experts.Shared = &one
		}
		d.Blocks[i].MLP = m
	}
	return d
}
