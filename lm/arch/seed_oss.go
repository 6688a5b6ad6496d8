package arch

var _ = register(seedOSS, "seed_oss")

var _ = turnsBiasesOn("seed_oss", "attention_out_bias", "mlp_bias")

// seedOSS is llama with biases on queries, keys and values, and one on
// attention's output where the config says so.
func seedOSS(c *Config) *Decoder {
	d := llama(c)
	for i := range d.Blocks {
		a, p := &d.Blocks[i].Attention, block("model.layers", i)+"self_attn."
		bias := c.Bool("attention_bias", true)
		a.Query, a.Key, a.Value = linear(p+"q_proj", bias), linear(p+"k_proj", bias), linear(p+"v_proj", bias)
		a.Output = linear(p+"o_proj", c.Bool("attention_out_bias", false))
	}
	return d
}
