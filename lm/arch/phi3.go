package arch

var _ = register(phi3, "phi3")

// phi3 is llama with fused projections and a sliding window; part of each head
// turns where partial_rotary_factor says so.
func phi3(c *Config) *Decoder {
	d := llama(c)
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		a := &b.Attention
		a.Query, a.Key, a.Value = Linear{}, Linear{}, Linear{}
		a.Fused, a.Groups = linear(p+"self_attn.qkv_proj", false), 1
		a.Window = c.IntOr("sliding_window", 0)
		b.MLP.Gate, b.MLP.Up = Linear{}, Linear{}
		b.MLP.GateUp = linear(p+"mlp.gate_up_proj", false)
	}
	if c.Has("partial_rotary_factor") {
		turnPart(c, d, c.Float("partial_rotary_factor", 1))
	}
	return d
}

// turnPart makes only a fraction of each head turn.
func turnPart(c *Config, d *Decoder, fraction float64) {
	var rope *Rope
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		if rope == nil {
			rope = newRope(c, int(float64(a.HeadSize)*fraction))
		}
		a.Rope = rope
	}
}
