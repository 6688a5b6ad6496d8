package arch

var _ = register(ernie45, "ernie4_5")

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
