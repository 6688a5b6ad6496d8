package arch

var _ = register(qwen3, "qwen3")

var _ = turnsBiasesOn("qwen3", "attention_bias")

// qwen3 is llama with an RMS norm on each head's query and key.
func qwen3(c *Config) *Decoder {
	d := llama(c)
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		p := block("model.layers", i) + "self_attn."
		a.QueryNorm, a.KeyNorm = rms(c, p+"q_norm", ""), rms(c, p+"k_norm", "")
	}
	qwenWindow(c, d)
	return d
}
