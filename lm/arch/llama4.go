package arch

import (
	"encoding/json"
	"slices"
)

var _ = register(llama4, "llama4_text")

// llama4 is llama with neighbouring pairs turning and keys and queries normalised
// after that, in chunks of positions, but on every fourth layer, which has no
// positions and scales its queries by them. Some layers have experts, all in one
// tensor, whose input is weighed, beside a shared one.
func llama4(c *Config) *Decoder {
	d := llama(c)
	d.Modules[MLPOutput] = "model.layers.{num}.feed_forward"
	turning, sparse := c.Floats("no_rope_layers"), c.Floats("moe_layers")
	step := max(c.IntOr("interleave_moe_layer_step", 1), 1)
	var temperature *Temperature
	if tuned := c.fields["attn_temperature_tuning"]; tuned != false && tuned != json.Number("0") { // some configs have a number
		temperature = &Temperature{Floor: float32(c.Float("floor_scale", 8192)), Scale: float32(c.Float("attn_scale", 0.1))}
	}
	for i := range d.Blocks {
		a, m, p := &d.Blocks[i].Attention, &d.Blocks[i].MLP, block("model.layers", i)+"feed_forward."
		turns := (i+1)%max(c.IntOr("no_rope_layer_interval", 4), 1) != 0
		if i < len(turning) {
			turns = turning[i] != 0
		}
		if turns {
			a.Chunk = c.IntOr("attention_chunk_size", 8192)
			if a.Rope != nil {
				a.Rope.Interleaved = true
			}
			if c.Bool("use_qk_norm", true) {
				norm := &Norm{Epsilon: float32(c.Float("rms_norm_eps", 1e-5))}
				a.QueryNorm, a.KeyNorm, a.NormAfterRope = norm, norm, true
			}
		} else {
			a.Rope, a.Temperature = nil, temperature
		}
		if expert := slices.Contains(sparse, float64(i)); !expert && (sparse != nil || (i+1)%step != 0) {
			m.Inner = c.Int("intermediate_size_mlp")
			m.Gate, m.Up, m.Down = linear(p+"gate_proj", false), linear(p+"up_proj", false), linear(p+"down_proj", false)
			continue
		}
		shared := MLP{
			Activation: m.Activation, Inner: m.Inner,
			Gate: linear(p+"shared_expert.gate_proj", false), Up: linear(p+"shared_expert.up_proj", false), Down: linear(p+"shared_expert.down_proj", false),
		}
		*m = MLP{
			Activation: m.Activation, Inner: m.Inner,
			GateUp: Linear{Weight: p + "experts.gate_up_proj", Transposed: true},
			Down:   Linear{Weight: p + "experts.down_proj", Transposed: true},
			Experts: &Experts{
				Router: linear(p+"router", false), Count: c.Int("num_local_experts"), PerToken: c.IntOr("num_experts_per_tok", 1),
				Scoring: Sigmoid, WeighInput: true, Shared: &shared,
			},
		}
		if c.Bool("experts_apart", false) { // as a GGUF file has them
			m.GateUp = Linear{}
			m.Gate, m.Up, m.Down = linear(p+"experts.{expert}.gate_proj", false), linear(p+"experts.{expert}.up_proj", false), linear(p+"experts.{expert}.down_proj", false)
		}
	}
	return d
}
