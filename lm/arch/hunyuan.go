package arch

import "math"

var (
	_ = register(hunYuan, "hunyuan_v1_dense")
	_ = turnsBiasesOn("hunyuan_v1_dense", "attention_bias")
	_ = register(hunYuanMoE, "hunyuan_v1_moe")
)

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

// hunYuanMoE is hunyuan_v1_dense with experts on every layer beside a shared one.
func hunYuanMoE(c *Config) *Decoder {
	d := hunYuan(c)
	perLayer := func(name string, layer int) int {
		if list, ok := c.fields[name].([]any); ok {
			if all := c.Floats(name); layer < len(list) && len(all) == len(list) {
				return int(all[layer])
			}
			c.fail("%s has no entry for layer %d", name, layer)
			return 1
		}
		return c.Int(name)
	}
	for i := range d.Blocks {
		p := block("model.layers", i) + "mlp."
		m := &d.Blocks[i].MLP
		shared := *m
		shared.Gate, shared.Up, shared.Down = linear(p+"shared_mlp.gate_proj", false), linear(p+"shared_mlp.up_proj", false), linear(p+"shared_mlp.down_proj", false)
		m.Gate, m.Up, m.Down = linear(p+"experts.{expert}.gate_proj", false), linear(p+"experts.{expert}.up_proj", false), linear(p+"experts.{expert}.down_proj", false)
		m.Experts = &Experts{
			Router: linear(p+"gate.wg", false), Count: perLayer("num_experts", i), PerToken: perLayer("moe_topk", i),
			Normalize: true, Shared: &shared,
		}
	}
	return d
}
