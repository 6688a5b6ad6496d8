package arch

import (
	"math"
	"strings"
	"testing"
)

// Each change contradicts what is described, or is of no executor's size.
func TestContradictoryDescriptionsAreRefused(t *testing.T) {
	const latentConfig = `{"model_type":"deepseek_v3","hidden_size":64,"vocab_size":512,"num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":128,
		"q_lora_rank":8,"kv_lora_rank":16,"qk_nope_head_dim":8,"qk_rope_head_dim":4,"v_head_dim":8,
		"n_routed_experts":8,"moe_intermediate_size":16,"n_shared_experts":1,"n_group":4,"topk_group":2,"num_experts_per_tok":3}`
	const mixedConfig = `{"model_type":"jetmoe","hidden_size":64,"vocab_size":512,"num_hidden_layers":1,"num_key_value_heads":2,"kv_channels":16,
		"intermediate_size":128,"num_experts_per_tok":2,"num_local_experts":4}`
	const differentialConfig = `{"model_type":"diffllama","hidden_size":64,"vocab_size":512,"num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":128}`
	infinite := float32(math.Inf(1))
	for _, test := range []struct {
		name, config string
		change       func(b *Block)
		want         string
	}{
		{"fused groups", llamaConfig, func(b *Block) { b.Attention.Fused.Weight, b.Attention.Groups = "qkv", 3 }, "do not form 3 groups"},
		{"a temperature of no floor", llamaConfig, func(b *Block) { b.Attention.Temperature = &Temperature{} }, "for every 0 positions"},
		{"an infinite temperature", llamaConfig, func(b *Block) { b.Attention.Temperature = &Temperature{1, infinite} }, "scaled by +Inf"},
		{"a vast mlp beside", llamaConfig, func(b *Block) { b.MLPBeside = &MLP{Inner: maxWidth + 1} }, "width of the mlp"},
		{"constants missing", llamaConfig, func(b *Block) { b.MLP.Activation = LearnedIELU }, `"xielu" lacks its constants`},
		{"constants of another activation", llamaConfig, func(b *Block) { b.MLP.XIELU = &XIELU{} }, `"silu" has constants`},
		{"alternating tensors", llamaConfig, func(b *Block) { b.MLP.Alternating = true }, "alternate"},
		{"an offset without a gate", llamaConfig, func(b *Block) { b.MLP.Gate, b.MLP.UpOffset = Linear{}, 1 }, "without a gate"},
		{"a negative limit", llamaConfig, func(b *Block) { b.MLP.GateLimit = -1 }, "limited to -1"},

		{"no rank", latentConfig, func(b *Block) { b.Attention.Latent.Rank = 0 }, "rank of the latent is 0"},
		{"no rank of queries", latentConfig, func(b *Block) { b.Attention.Latent.QueryRank = 0 }, "rank of the latent queries is 0"},
		{"a vast value", latentConfig, func(b *Block) { b.Attention.Latent.ValueSize = math.MaxInt }, "size of a latent value"},
		{"values that are vast together", latentConfig, func(b *Block) { b.Attention.Latent.ValueSize = maxWidth / 2 }, "width of the latent keys and values"},
		{"a latent of another size", latentConfig, func(b *Block) { b.Attention.HeadSize++ }, "1 latents of 21 elements are cached, not one of 20"},
		{"a latent for each head", latentConfig, func(b *Block) { b.Attention.KVHeads = 4 }, "4 latents"},
		{"a latent without a norm", latentConfig, func(b *Block) { b.Attention.Latent.Norm = nil }, "lacks its norm"},
		{"a latent beside keys", latentConfig, func(b *Block) { b.Attention.Key.Weight = "k" }, "of the usual kind too"},
		{"a clamped latent", latentConfig, func(b *Block) { b.Attention.Clip = 1 }, "as only usual ones can be"},
		{"a latent of experts", latentConfig, func(b *Block) {
			b.Attention.Experts = &Experts{Count: 1, PerToken: 1}
		}, "latent and of another kind"},
		{"more turns than the part that does", latentConfig, func(b *Block) { b.Attention.Latent.RopeSize, b.Attention.HeadSize = 2, 18 }, "turn 4 elements of a part of 2"},

		{"heads that experts do not have", mixedConfig, func(b *Block) { b.Attention.Heads = 2 }, "2 attention heads, where 2 experts have 2 each"},
		{"more experts than there are", mixedConfig, func(b *Block) { b.Attention.Experts.PerToken = 5 }, "5 experts per token of 4"},
		{"no experts", mixedConfig, func(b *Block) { b.Attention.Experts.PerToken = 0 }, "0 experts per token of 4"},
		{"no keys", mixedConfig, func(b *Block) { b.Attention.Fused = Linear{} }, "lacks their queries, or the keys"},
		{"a shared expert of attention", mixedConfig, func(b *Block) { b.Attention.Experts.Shared = &MLP{} }, "as only those of an mlp can be"},
		{"corrected experts of attention", mixedConfig, func(b *Block) { b.Attention.Experts.Correction = "c" }, "as only those of an mlp can be"},
		{"a bias of each expert", mixedConfig, func(b *Block) { b.Attention.Output.Bias = "b" }, "biases of their own"},

		{"half a head", differentialConfig, func(b *Block) { b.Attention.Heads, b.Attention.KVHeads = 3, 3 }, "do not form two halves"},
		{"keys without halves", differentialConfig, func(b *Block) { b.Attention.Heads, b.Attention.KVHeads = 6, 3 }, "do not form two halves"},
		{"a difference without a norm", differentialConfig, func(b *Block) { b.Attention.Differential.Norm = nil }, "norm of differential attention"},
		{"a weight of the difference", differentialConfig, func(b *Block) { b.Attention.Differential.Norm.Weight = "w" }, "norm of differential attention"},

		{"a shared mixture", latentConfig, func(b *Block) { b.MLP.Experts.Shared.Experts = &Experts{Count: 1, PerToken: 1} }, "the shared expert is a mixture"},
		{"a shared expert of no width", latentConfig, func(b *Block) { b.MLP.Experts.Shared.Inner = 0 }, "width of the mlp is 0"},
		{"too many experts", latentConfig, func(b *Block) { b.MLP.Experts.Count = maxWidth + 4 }, "number of experts"},
		{"groups that do not divide", latentConfig, func(b *Block) { b.MLP.Experts.Groups = 3 }, "8 experts do not form 3 groups"},
		{"no group", latentConfig, func(b *Block) { b.MLP.Experts.GroupsPerToken = 0 }, "0 groups of experts per token of 4"},
		{"more groups than there are", latentConfig, func(b *Block) { b.MLP.Experts.GroupsPerToken = 5 }, "5 groups of experts per token of 4"},
		{"more experts than in the groups", latentConfig, func(b *Block) { b.MLP.Experts.PerToken = 5 }, "5 experts per token of 2 groups of 2"},
		{"two best of one", latentConfig, func(b *Block) { b.MLP.Experts.Groups, b.MLP.Experts.PerToken = 8, 2 }, "groups of one expert"},
		{"a scaled sparse mixer", latentConfig, func(b *Block) { b.MLP.Experts.Scoring = SparseMixer }, "a sparse mixer has"},
		{"an infinite scale", latentConfig, func(b *Block) { b.MLP.Experts.Scale = infinite }, "weighed by +Inf"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := Parse([]byte(test.config))
			if err != nil {
				t.Fatal(err)
			}
			test.change(&d.Blocks[0])
			if err := d.check(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
}
