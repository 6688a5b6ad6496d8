package arch

import "math"

var (
	_ = register(deepSeekV2, "deepseek_v2")
	_ = turnsBiasesOn("deepseek_v2", "attention_bias")
	_ = register(deepSeekV3, "deepseek_v3")
	_ = turnsBiasesOn("deepseek_v3", "attention_bias")
)

// deepSeekV2 is llama with latent attention and experts of softmax scores
// (DeepSeek-AI 2024).
func deepSeekV2(c *Config) *Decoder {
	d := llama(c)
	latentAttention(c, d, true)
	deepExperts(c, d, Softmax)
	return d
}

// deepSeekV3 is deepseek_v2 with experts of sigmoid scores, and scores of
// attention that grow with the scaling of positions.
func deepSeekV3(c *Config) *Decoder {
	d := llama(c)
	latentAttention(c, d, c.Bool("rope_interleave", true))
	deepExperts(c, d, Sigmoid)
	growScores(c, d)
	return d
}

// growScores makes the scores of attention grow as the scaling of positions says.
func growScores(c *Config, d *Decoder) {
	scaling := c.Object("rope_scaling")
	if scaling == nil {
		return
	}
	if all, factor := scaling.Float("mscale_all_dim", 0), scaling.Float("factor", 1); all != 0 && factor > 1 {
		growth := 0.1*all*math.Log(factor) + 1
		for _, b := range d.Passed() {
			b.Attention.Scale *= float32(growth * growth)
		}
	}
}

// latentAttention replaces the attention of every layer.
func latentAttention(c *Config, d *Decoder, interleaved bool) {
	latent := latentAttentions(c, interleaved)
	for i := range d.Blocks {
		d.Blocks[i].Attention = latent(block("model.layers", i) + "self_attn.")
	}
}

// latentAttentions reads the sizes of latent attention. What it returns describes
// the attention of a module's path.
func latentAttentions(c *Config, interleaved bool) func(p string) Attention {
	heads, rank := c.Int("num_attention_heads"), c.Int("kv_lora_rank")
	l := Latent{
		QueryRank: c.IntOr("q_lora_rank", 0), Rank: rank,
		KeySize: c.Int("qk_nope_head_dim"), RopeSize: c.Int("qk_rope_head_dim"), ValueSize: c.Int("v_head_dim"),
	}
	for _, size := range []int{max(l.QueryRank, 1), rank, l.KeySize, l.RopeSize, l.ValueSize} {
		if size < 1 || size > maxWidth/max(heads, 1) {
			c.fail("latent attention of %d heads with a part of %d elements", heads, size)
			return func(string) Attention { return Attention{} }
		}
	}
	rope := newRope(c, l.RopeSize)
	if rope != nil {
		rope.Interleaved = interleaved
	}
	bias := c.Bool("attention_bias", false)
	return func(p string) Attention {
		one := l
		one.Down, one.Norm = linear(p+"kv_a_proj_with_mqa", bias), rms(c, p+"kv_a_layernorm", "")
		one.Norm.Epsilon = 1e-6 // whatever rms_norm_eps says
		one.Up = linear(p+"kv_b_proj", false)
		if c.Bool("heads_apart", false) { // as a GGUF file has them
			one.Up, one.KeyUp, one.ValueUp = Linear{}, p+"k_b_proj.{head}.weight", p+"v_b_proj.{head}.weight"
		}
		one.QueryUp = linear(p+"q_proj", false)
		if l.QueryRank > 0 {
			one.QueryDown, one.QueryNorm = linear(p+"q_a_proj", bias), rms(c, p+"q_a_layernorm", "")
			one.QueryNorm.Epsilon = 1e-6
			one.QueryUp = linear(p+"q_b_proj", false)
		}
		return Attention{
			Heads: heads, KVHeads: 1, HeadSize: rank + l.RopeSize, Latent: &one,
			Output: linear(p+"o_proj", bias), Rope: rope, Scale: inverseRoot(l.KeySize + l.RopeSize),
		}
	}
}

// deepExperts puts DeepSeek's experts on the layers from first_k_dense_replace on:
// many small ones of which a token's groups are chosen first, and shared ones in
// one MLP. With sigmoid scores, a correction decides which are chosen
// (DeepSeek-AI 2024).
func deepExperts(c *Config, d *Decoder, scoring Scoring) {
	count, inner, shared := c.Int("n_routed_experts"), c.Int("moe_intermediate_size"), c.IntOr("n_shared_experts", 0)
	groups := c.IntOr("n_group", 1)
	c.divide(count, max(groups, 1), "experts by groups")
	for i := c.IntOr("first_k_dense_replace", 0); i < len(d.Blocks); i++ {
		p := block("model.layers", i) + "mlp."
		m := MLP{
			Activation: d.Blocks[i].MLP.Activation, Inner: inner,
			Gate: linear(p+"experts.{expert}.gate_proj", false),
			Up:   linear(p+"experts.{expert}.up_proj", false),
			Down: linear(p+"experts.{expert}.down_proj", false),
			Experts: &Experts{
				Router: linear(p+"gate", false), Count: count, PerToken: c.Int("num_experts_per_tok"),
				Scoring: scoring, Scale: float32(c.Float("routed_scaling_factor", 1)),
			},
		}
		e := m.Experts
		if groups > 1 {
			e.Groups, e.GroupsPerToken = groups, c.Int("topk_group")
		}
		if scoring == Sigmoid {
			e.Correction, e.GroupByTwo, e.Normalize = p+"gate.e_score_correction_bias", true, c.Bool("norm_topk_prob", true)
		}
		if shared > 0 {
			e.Shared = &MLP{
				Activation: m.Activation, Inner: inner * shared,
				Gate: linear(p+"shared_experts.gate_proj", false),
				Up:   linear(p+"shared_experts.up_proj", false),
				Down: linear(p+"shared_experts.down_proj", false),
			}
		}
		d.Blocks[i].MLP = m
	}
}
