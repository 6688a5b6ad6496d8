package arch

var _ = register(arcee, "arcee")

var _ = turnsBiasesOn("arcee", "attention_bias", "mlp_bias")

// arcee is llama with a plain MLP of squared ReLU.
func arcee(c *Config) *Decoder {
	d := llama(c)
	for i := range d.Blocks {
		m := &d.Blocks[i].MLP
		m.Gate = Linear{}
		m.Activation = c.activation("hidden_act", "relu2")
	}
	return d
}
