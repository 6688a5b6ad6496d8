package arch

var _ = register(gptBigCode, "gpt_bigcode")

// gptBigCode is gpt2 with weights stored as [out, in] and, by default, one
// key/value head for all queries (Allal et al. 2023).
func gptBigCode(c *Config) *Decoder {
	d := gpt2(c)
	for i := range d.Blocks {
		b := &d.Blocks[i]
		a := &b.Attention
		if c.Bool("multi_query", true) {
			a.KVHeads, a.Groups = 1, 1
		} else {
			a.Groups = a.Heads
		}
		for _, part := range []*Linear{&a.Fused, &a.Output, &b.MLP.Up, &b.MLP.Down} {
			part.Transposed = false
		}
		b.MLP.Activation = c.activation("activation_function", "gelu_pytorch_tanh")
	}
	return d
}
