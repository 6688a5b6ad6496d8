package arch

import "math"

var _ = register(gemma, "gemma")

var _ = turnsBiasesOn("gemma", "attention_bias")

// gemma is llama with weight-1 stored for each norm, embeddings scaled by
// √hidden, and a tanh GELU.
func gemma(c *Config) *Decoder {
	d := llama(c)
	d.Embedding.Scale = float32(math.Sqrt(float64(d.Hidden)))
	d.Head.Tied = c.Bool("tie_word_embeddings", true)
	d.Norm.Offset = 1
	activation := c.activation("hidden_activation", "gelu_pytorch_tanh")
	for i := range d.Blocks {
		b := &d.Blocks[i]
		b.BeforeAttention.Offset, b.BeforeMLP.Offset = 1, 1
		b.MLP.Activation = activation
	}
	return d
}
