package arch

import "math"

var _ = register(miniMax, "minimax")

// miniMax is mixtral with linear attention on some layers, which fades at a rate of
// each head ("lightning attention", MiniMax 2025, section 2.2.1). The residual is
// taken after the norm, and stream and branches have factors.
func miniMax(c *Config) *Decoder {
	d := mixtral(c)
	types := c.Strings("layer_types")
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		b.ResidualAfterNorm = true
		b.MLPKeeps, b.MLPScale = float32(c.Float("mlp_alpha_factor", 1)), float32(c.Float("mlp_beta_factor", 1))
		attends := i%2 == 0
		if i < len(types) {
			attends = types[i] == "full_attention"
		}
		if attends {
			b.AttentionKeeps, b.AttentionScale = float32(c.Float("full_attn_alpha_factor", 1)), float32(c.Float("full_attn_beta_factor", 1))
			continue
		}
		b.AttentionKeeps, b.AttentionScale = float32(c.Float("linear_attn_alpha_factor", 1)), float32(c.Float("linear_attn_beta_factor", 1))
		b.Recurrence = lightning(c, p+"self_attn.", b.Attention.Heads, b.Attention.HeadSize, i, len(d.Blocks))
		b.Attention = Attention{}
	}
	return d
}

func lightning(c *Config, p string, heads, size, layer, layers int) *Recurrence {
	m := &Memory{Heads: heads, KeyHeads: heads, KeySize: size, ValueSize: size}
	slower := 1 - float64(layer)/(float64(layers-1)+1e-5) + 1e-5 // later layers fade less
	for h := range min(heads, maxWidth) {
		m.Slopes = append(m.Slopes, float32(math.Pow(2, -8*float64(h+1)/float64(heads))*slower))
	}
	width := min(heads, maxWidth) * min(size, maxWidth)
	norm := rms(c, p+"norm", "")
	norm.Epsilon = 1e-6 // whatever rms_norm_eps says
	return &Recurrence{
		In: []Projection{
			{Linear: linear(p+"qkv_proj", false), Groups: heads, Parts: []Part{{Role: Query, Size: size}, {Role: Key, Size: size}, {Role: Value, Size: size}}},
			{Linear: linear(p+"output_gate", false), Groups: 1, Parts: []Part{{Role: Gate, Size: width}}},
		},
		Activation: c.activation("hidden_act", "silu"), Memory: m, Width: width,
		GateActivation: Logistic, Norm: norm, NormBeforeGate: true,
		Output: linear(p+"out_proj", false),
	}
}
