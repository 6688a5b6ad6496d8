package arch

import "math"

var _ = register(diffLlama, "diffllama")

var _ = turnsBiasesOn("diffllama", "attention_bias")

// diffLlama is llama with differential attention (Ye et al. 2024).
func diffLlama(c *Config) *Decoder {
	d := llama(c)
	for i := range d.Blocks {
		a, p := &d.Blocks[i].Attention, block("model.layers", i)+"self_attn."
		if a.Heads%2 != 0 || a.KVHeads > 1 && a.KVHeads%2 != 0 {
			c.fail("%d attention and %d key/value heads do not form two halves", a.Heads, a.KVHeads)
		}
		a.Differential = &Differential{
			Query1: p + "lambda_q1", Key1: p + "lambda_k1", Query2: p + "lambda_q2", Key2: p + "lambda_k2",
			Initial: float32(0.8 - 0.6*math.Exp(-0.3*float64(i))),
			Norm:    &Norm{Epsilon: float32(c.Float("rms_norm_eps", 1e-5))},
		}
	}
	return d
}
