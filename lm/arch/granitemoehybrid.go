package arch

var _ = register(graniteMoEHybrid, "granitemoehybrid")

// graniteMoEHybrid is granitemoeshared with a state space in place of attention on
// most layers, and often without positions. Some have no experts: the shared MLP is
// then the only one.
func graniteMoEHybrid(c *Config) *Decoder {
	sparse := c.IntOr("num_local_experts", 0) > 0
	var d *Decoder
	if sparse {
		d = graniteMoEShared(c)
	} else {
		d = granite(c)
		d.Modules[MLPOutput] = "model.layers.{num}.shared_mlp"
	}
	types, turns := c.Strings("layer_types"), c.String("position_embedding_type", "") == "rope"
	for i := range d.Blocks {
		b, p := &d.Blocks[i], block("model.layers", i)
		if !sparse {
			b.MLP.Inner, b.MLP.Gate, b.MLP.Up = c.Int("shared_intermediate_size"), Linear{}, Linear{}
			b.MLP.GateUp, b.MLP.Down = linear(p+"shared_mlp.input_linear", false), linear(p+"shared_mlp.output_linear", false)
		}
		if !turns {
			b.Attention.Rope = nil
		}
		if i < len(types) && types[i] == "attention" {
			continue
		}
		r := mamba2(c, p+"mamba.", c.IntOr("mamba_expand", 2)*d.Hidden, [5]float32{})
		r.Norm = rms(c, p+"mamba.norm", "")
		b.Attention, b.Recurrence = Attention{}, r
		b.Modules = map[Site]string{SelfAttn: "model.layers.{num}.mamba"}
	}
	return d
}
