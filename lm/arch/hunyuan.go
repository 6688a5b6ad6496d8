package arch

import "math"

var _ = register(hunYuan, "hunyuan_v1_dense")

// hunYuan is llama with an RMS norm on each head's query and key after the
// rotation. Its "dynamic" scaling with an alpha is a larger base for all lengths.
func hunYuan(c *Config) *Decoder {
	d := llama(c)
	scaling := c.Object("rope_scaling")
	alpha := 0.0
	if scaling != nil {
		alpha = scaling.Float("alpha", 0)
	}
	var rope *Rope
	for i := range d.Blocks {
		a, p := &d.Blocks[i].Attention, block("model.layers", i)+"self_attn."
		a.QueryNorm, a.KeyNorm = rms(c, p+"query_layernorm", ""), rms(c, p+"key_layernorm", "")
		a.NormAfterRope = true
		if alpha == 0 {
			continue
		}
		if rope == nil {
			size := float64(a.HeadSize)
			rope = scaledRope(c, a.HeadSize, c.Float("rope_theta", 10000)*math.Pow(alpha, size/(size-2)), nil)
		}
		a.Rope = rope
	}
	return d
}
