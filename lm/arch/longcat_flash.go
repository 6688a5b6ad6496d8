package arch

import (
	"math"
	"strconv"
)

var _ = register(longcatFlash, "longcat_flash")

// longcatFlash has layers of two blocks, each with latent attention and a dense MLP.
// Experts read what the first MLP reads and are added at the end; some give what
// they read (Meituan LongCat team 2025, section 2).
func longcatFlash(c *Config) *Decoder {
	if c.Has("num_layers") { // num_hidden_layers counts blocks
		c.fields["num_hidden_layers"] = c.fields["num_layers"]
	}
	if c.Has("ffn_hidden_size") {
		c.fields["intermediate_size"] = c.fields["ffn_hidden_size"]
	}
	d := llama(c)
	latent := latentAttentions(c, true)
	d.Modules[SelfAttn] = "model.layers.{num}.self_attn.1"
	d.Modules[InputLayerNorm] = "model.layers.{num}.input_layernorm.0"
	d.Modules[PostAttentionLayerNorm] = "model.layers.{num}.post_attention_layernorm.1"
	for i := range d.Blocks {
		p := block("model.layers", i)
		var halves [2]Block
		for n := range halves {
			b, half := &halves[n], strconv.Itoa(n)
			*b = d.Blocks[i]
			b.BeforeAttention = rms(c, p+"input_layernorm."+half, InputLayerNorm)
			b.BeforeMLP = rms(c, p+"post_attention_layernorm."+half, PostAttentionLayerNorm)
			b.Attention = scaledLatent(latent(p+"self_attn."+half+"."), d.Hidden)
			m := p + "mlps." + half + "."
			b.MLP.Gate, b.MLP.Up, b.MLP.Down = linear(m+"gate_proj", false), linear(m+"up_proj", false), linear(m+"down_proj", false)
		}
		first := &halves[0]
		first.Hidden = []Site{SelfAttn, AttnHeads, ResidualMid, PostAttentionLayerNorm, MLPOutput, DecoderBlock}
		first.Shortcut = longcatExperts(c, p+"mlp.", first.MLP.Activation)
		d.Blocks[i] = halves[1]
		d.Blocks[i].First, d.Blocks[i].Hidden = first, []Site{InputLayerNorm, MLPOutput}
	}
	growScores(c, d)
	return d
}

// scaledLatent scales queries and latents by how much wider the residual stream is.
func scaledLatent(a Attention, hidden int) Attention {
	if l := a.Latent; l != nil {
		wider := func(rank int) float32 { return float32(math.Sqrt(float64(hidden) / float64(rank))) }
		l.Scale = wider(l.Rank)
		if l.QueryRank > 0 {
			a.Scale *= wider(l.QueryRank)
		}
	}
	return a
}

// longcatExperts are chosen by corrected softmax scores, among them idle ones.
func longcatExperts(c *Config, p string, activation Activation) *MLP {
	e := &Experts{
		Router: linear(p+"router.classifier", c.Bool("router_bias", false)), Count: c.Int("n_routed_experts"), Idle: c.IntOr("zero_expert_num", 0),
		PerToken: c.Int("moe_topk"), Scale: float32(c.Float("routed_scaling_factor", 1)), Correction: p + "router.e_score_correction_bias",
	}
	return &MLP{
		Activation: activation, Inner: c.Int("expert_ffn_hidden_size"), Experts: e,
		Gate: linear(p+"experts.{expert}.gate_proj", false), Up: linear(p+"experts.{expert}.up_proj", false), Down: linear(p+"experts.{expert}.down_proj", false),
	}
}
