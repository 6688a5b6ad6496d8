package arch

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
