package translate

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// architecture says what a converter did to a model type of Hugging Face.
type architecture struct {
	modelType  string
	otherTypes []string // that settle may choose instead

	// keys are metadata keys, without the architecture's name before them, and
	// the config's fields of the same meaning; beside those that are common.
	keys map[string]string
	// constants are fields of the config that the format leaves unsaid.
	constants map[string]any
	scaling   map[string]any // the same of rope_scaling
	// settle does what neither table can say.
	settle func(*translation)

	// tell is the inverse of settle: it writes what the tables do not hold.
	tell func(*writing)
	// otherwise finds what the checkpoint has in another form than the file.
	otherwise func(w *writing, name, suffix string) (rows, bool)

	still   bool   // no head turns
	partial string // field that says which fraction of each head turns; "": all of it
	parts   []part
	words   string // the cut into words where the metadata names none
}

// part is a tensor, or one of each block, under its two names without .weight
// and .bias. {num} stands for the block, {expert}, {head} and {stream} for one of
// several that are stacked.
type part struct {
	stored, name string
	how          change
}

// change is what was done to a tensor.
type change uint8

const (
	asItIs     change = iota
	pairedQ           // rows of each query head reordered so that pairs which turn together are neighbours
	pairedK           // the same for key heads
	unfusedQKV        // rows of groups of queries, keys, values sorted into all queries, all keys, all values
	fusedQKV          // three tensors put one below the other; the name holds {qkv}
	plusOne           // 1 added
	transposed        // [in, out] turned into [out, in]
	stacked           // one tensor for each expert or head
	asVector          // [1, n] stored as [n]
	asTaps            // [n, 1, taps] stored as [n, taps]
	upper             // of two tensors, whose rows are one's again, for each expert one after the other
	lower
	asRow       // [n] in any shape, the name without .weight or .bias
	fading      // asRow, of which the exponential was taken and its sign turned, stored as [n, 1]
	fadingFlat  // the same stored as [n]
	padded      // rows that the vocabulary has beyond the tensor's, which models take for row 0
	factorTable // not a weight: read with the metadata
)

// combine returns tables of parts one after the other.
func combine(tables ...[]part) (all []part) {
	for _, t := range tables {
		all = append(all, t...)
	}
	return all
}

// changed returns the table with another change for some of its stored names.
func changed(table []part, how change, stored ...string) []part {
	out := combine(table)
	for i := range out {
		for _, s := range stored {
			if out[i].stored == s || out[i].stored == "blk.{num}."+s {
				out[i].how = how
			}
		}
	}
	return out
}

const (
	blk    = "blk.{num}."
	layers = "model.layers.{num}."
	h      = "transformer.h.{num}."
)

// llamaParts are the tensors of llama and of all that followed its naming.
var llamaParts = []part{
	{"token_embd", "model.embed_tokens", asItIs},
	{"output_norm", "model.norm", asItIs},
	{"output", "lm_head", asItIs},
	{"rope_freqs", "", factorTable},
	{blk + "attn_norm", layers + "input_layernorm", asItIs},
	{blk + "attn_q", layers + "self_attn.q_proj", asItIs},
	{blk + "attn_k", layers + "self_attn.k_proj", asItIs},
	{blk + "attn_v", layers + "self_attn.v_proj", asItIs},
	{blk + "attn_output", layers + "self_attn.o_proj", asItIs},
	{blk + "ffn_norm", layers + "post_attention_layernorm", asItIs},
	{blk + "ffn_gate", layers + "mlp.gate_proj", asItIs},
	{blk + "ffn_up", layers + "mlp.up_proj", asItIs},
	{blk + "ffn_down", layers + "mlp.down_proj", asItIs},
}

var headNorms = []part{
	{blk + "attn_q_norm", layers + "self_attn.q_norm", asItIs},
	{blk + "attn_k_norm", layers + "self_attn.k_norm", asItIs},
}

// pairedParts are those of the architectures whose heads turn by neighbouring
// pairs in llama.cpp, and by halves in Hugging Face's models.
var pairedParts = changed(changed(llamaParts, pairedQ, "attn_q"), pairedK, "attn_k")

var gemmaParts = changed(llamaParts, plusOne, "output_norm", "attn_norm", "ffn_norm")

// sandwichParts are gemma's with norms before and after attention and MLP.
var sandwichParts = combine(without(gemmaParts, "ffn_norm"), []part{
	{blk + "post_attention_norm", layers + "post_attention_layernorm", plusOne},
	{blk + "ffn_norm", layers + "pre_feedforward_layernorm", plusOne},
	{blk + "post_ffw_norm", layers + "post_feedforward_layernorm", plusOne},
})

var plainMLP = []part{
	{blk + "ffn_up", layers + "mlp.c_fc", asItIs},
	{blk + "ffn_down", layers + "mlp.c_proj", asItIs},
}

var mixtralExperts = []part{
	{blk + "ffn_gate_inp", layers + "block_sparse_moe.gate", asItIs},
	{blk + "ffn_gate_exps", layers + "block_sparse_moe.experts.{expert}.w1", stacked},
	{blk + "ffn_down_exps", layers + "block_sparse_moe.experts.{expert}.w2", stacked},
	{blk + "ffn_up_exps", layers + "block_sparse_moe.experts.{expert}.w3", stacked},
}

var qwenExperts = []part{
	{blk + "ffn_gate_inp", layers + "mlp.gate", asItIs},
	{blk + "ffn_gate_exps", layers + "mlp.experts.{expert}.gate_proj", stacked},
	{blk + "ffn_up_exps", layers + "mlp.experts.{expert}.up_proj", stacked},
	{blk + "ffn_down_exps", layers + "mlp.experts.{expert}.down_proj", stacked},
	{blk + "ffn_gate_inp_shexp", layers + "mlp.shared_expert_gate", asVector},
	{blk + "ffn_gate_shexp", layers + "mlp.shared_expert.gate_proj", asItIs},
	{blk + "ffn_up_shexp", layers + "mlp.shared_expert.up_proj", asItIs},
	{blk + "ffn_down_shexp", layers + "mlp.shared_expert.down_proj", asItIs},
}

// deepExperts are those of deepseek_v3 and of all that have taken them over.
var deepExperts = []part{
	{blk + "ffn_gate_inp", layers + "mlp.gate", asItIs},
	{blk + "exp_probs_b", layers + "mlp.gate.e_score_correction_bias", asRow},
	{blk + "ffn_gate_exps", layers + "mlp.experts.{expert}.gate_proj", stacked},
	{blk + "ffn_up_exps", layers + "mlp.experts.{expert}.up_proj", stacked},
	{blk + "ffn_down_exps", layers + "mlp.experts.{expert}.down_proj", stacked},
	{blk + "ffn_gate_shexp", layers + "mlp.shared_experts.gate_proj", asItIs},
	{blk + "ffn_up_shexp", layers + "mlp.shared_experts.up_proj", asItIs},
	{blk + "ffn_down_shexp", layers + "mlp.shared_experts.down_proj", asItIs},
}

var deepKeys = map[string]string{
	"expert_count": "n_routed_experts", "expert_feed_forward_length": "moe_intermediate_size", "expert_shared_count": "n_shared_experts",
	"leading_dense_block_count": "first_k_dense_replace", "expert_weights_scale": "routed_scaling_factor", "expert_weights_norm": "norm_topk_prob",
	"expert_group_count": "n_group", "expert_group_used_count": "topk_group",
}

var hunyuanParts = combine(llamaParts, []part{
	{blk + "attn_q_norm", layers + "self_attn.query_layernorm", asItIs},
	{blk + "attn_k_norm", layers + "self_attn.key_layernorm", asItIs},
})

const mptBlock = "transformer.blocks.{num}."

// graniteExperts are those of granitemoe, the shared one included.
var graniteExperts = []part{
	{blk + "ffn_gate_inp", layers + "block_sparse_moe.router.layer", asItIs},
	{blk + "ffn_gate_exps", layers + "block_sparse_moe.input_linear", upper},
	{blk + "ffn_up_exps", layers + "block_sparse_moe.input_linear", lower},
	{blk + "ffn_down_exps", layers + "block_sparse_moe.output_linear", asItIs},
	{blk + "ffn_gate_shexp", layers + "shared_mlp.input_linear", upper},
	{blk + "ffn_up_shexp", layers + "shared_mlp.input_linear", lower},
	{blk + "ffn_down_shexp", layers + "shared_mlp.output_linear", asItIs},
}

var graniteKeys = map[string]string{
	"attention.scale": "attention_multiplier", "embedding_scale": "embedding_multiplier",
	"residual_scale": "residual_multiplier", "logit_scale": "logits_scaling", "expert_shared_feed_forward_length": "shared_intermediate_size",
}

var mambaKeys = map[string]string{
	"ssm.conv_kernel": "mamba_d_conv", "ssm.inner_size": "mamba_d_ssm", "ssm.state_size": "mamba_d_state",
	"ssm.time_step_rank": "mamba_n_heads", "ssm.group_count": "mamba_n_groups",
}

var mambaParts = []part{
	{blk + "ssm_in", layers + "mamba.in_proj", asItIs},
	{blk + "ssm_conv1d", layers + "mamba.conv1d", asTaps},
	{blk + "ssm_dt", layers + "mamba.dt_bias", asRow},
	{blk + "ssm_a", layers + "mamba.A_log", fading},
	{blk + "ssm_d", layers + "mamba.D", asRow},
	{blk + "ssm_norm", layers + "mamba.norm.weight", asRow},
	{blk + "ssm_out", layers + "mamba.out_proj", asItIs},
}

var gpt2Parts = []part{
	{"token_embd", "transformer.wte", asItIs},
	{"position_embd", "transformer.wpe", asItIs},
	{"output_norm", "transformer.ln_f", asItIs},
	{"output", "lm_head", asItIs},
	{blk + "attn_norm", h + "ln_1", asItIs},
	{blk + "attn_qkv", h + "attn.c_attn", asItIs},
	{blk + "attn_output", h + "attn.c_proj", asItIs},
	{blk + "ffn_norm", h + "ln_2", asItIs},
	{blk + "ffn_up", h + "mlp.c_fc", asItIs},
	{blk + "ffn_down", h + "mlp.c_proj", asItIs},
}

var gpt2Keys = map[string]string{"context_length": "n_positions", "feed_forward_length": "n_inner"}

// bloomParts are the tensors of bloom and falcon.
var bloomParts = []part{
	{"token_embd", "transformer.word_embeddings", asItIs},
	{"token_embd_norm", "transformer.word_embeddings_layernorm", asItIs},
	{"output_norm", "transformer.ln_f", asItIs},
	{"output", "lm_head", asItIs},
	{blk + "attn_norm", h + "input_layernorm", asItIs},
	{blk + "attn_qkv", h + "self_attention.query_key_value", unfusedQKV},
	{blk + "attn_output", h + "self_attention.dense", asItIs},
	{blk + "ffn_norm", h + "post_attention_layernorm", asItIs},
	{blk + "ffn_up", h + "mlp.dense_h_to_4h", asItIs},
	{blk + "ffn_down", h + "mlp.dense_4h_to_h", asItIs},
}

// falconNorms are those of falcons with a norm for attention beside that for the MLP.
var falconNorms = combine(without(bloomParts, "attn_norm"), []part{
	{blk + "attn_norm", h + "ln_mlp", asItIs},
	{blk + "attn_norm_2", h + "ln_attn", asItIs},
})

const neox = "gpt_neox.layers.{num}."

// architectures holds what can be translated, by general.architecture.
var architectures = map[string]architecture{
	"llama": {
		modelType: "llama", otherTypes: []string{"mistral", "mixtral"}, words: "llama-bpe", settle: settleLlama,
		parts: combine(pairedParts, mixtralExperts),
	},
	"granite": {
		modelType: "granite", words: "refact", settle: settleBiases, parts: pairedParts, keys: graniteKeys,
	},
	"granitemoe": {
		modelType: "granitemoe", tell: func(w *writing) {
			w.counts(map[string]string{"expert_shared_feed_forward_length": "shared_intermediate_size"})
		}, otherTypes: []string{"granitemoeshared"}, words: "refact", keys: graniteKeys,
		settle: func(t *translation) {
			settleBiases(t)
			if t.has("blk.0.ffn_gate_shexp.weight") {
				t.config["model_type"] = "granitemoeshared"
			}
		},
		parts: combine(without(pairedParts, "ffn_gate", "ffn_up", "ffn_down"), graniteExperts),
	},
	"granitehybrid": {
		modelType: "granitemoehybrid", tell: tellGraniteHybrid, words: "refact", settle: settleGraniteHybrid, keys: joined(graniteKeys, mambaKeys),
		parts: combine(without(pairedParts, "ffn_gate", "ffn_up", "ffn_down"), graniteExperts, mambaParts, []part{
			{blk + "ffn_gate", layers + "shared_mlp.input_linear", upper}, // of a model without experts
			{blk + "ffn_up", layers + "shared_mlp.input_linear", lower},
			{blk + "ffn_down", layers + "shared_mlp.output_linear", asItIs},
		}),
	},
	"olmo": {
		modelType: "olmo", tell: func(w *writing) { w.set("attention.layer_norm_epsilon", float32(1e-5)) }, words: "olmo", parts: pairedParts,
		keys: map[string]string{"attention.clamp_kqv": "clip_qkv"},
	},
	"smollm3": {modelType: "smollm3", words: "smaug-bpe", settle: settleBiases, parts: pairedParts},
	"arcee":   {modelType: "arcee", words: "llama-bpe", settle: settleBiases, parts: without(pairedParts, "ffn_gate")},
	"nemotron": {
		modelType: "nemotron", partial: "partial_rotary_factor", settle: settleBiases,
		keys:  map[string]string{"attention.layer_norm_epsilon": "norm_eps"},
		parts: changed(without(llamaParts, "ffn_gate"), plusOne, "output_norm", "attn_norm", "ffn_norm"),
	},
	"ernie4_5": {
		modelType: "ernie4_5", parts: llamaParts,
		settle: func(t *translation) { t.config["use_bias"] = t.has("blk.0.attn_q.bias") },
	},
	"seed_oss": {
		modelType: "seed_oss", words: "seed-coder",
		settle: func(t *translation) {
			t.config["attention_bias"] = t.has("blk.0.attn_q.bias")
			t.config["attention_out_bias"] = t.has("blk.0.attn_output.bias")
		},
		parts: combine(without(llamaParts, "ffn_norm"), []part{{blk + "post_attention_norm", layers + "post_attention_layernorm", asItIs}}),
	},
	"exaone4": {
		modelType: "exaone4", tell: (*writing).sliding, words: "exaone4", settle: (*translation).slidingPattern,
		parts: combine(without(llamaParts, "attn_norm", "ffn_norm"), headNorms, []part{
			{blk + "post_attention_norm", layers + "post_attention_layernorm", asItIs},
			{blk + "post_ffw_norm", layers + "post_feedforward_layernorm", asItIs},
		}),
	},
	"phimoe": {
		modelType: "phimoe",
		settle: func(t *translation) {
			t.config["attention_bias"] = t.has("blk.0.attn_q.bias")
			t.config["lm_head_bias"] = t.has("output.bias")
		},
		parts: combine(without(llamaParts, "ffn_gate", "ffn_up", "ffn_down"), mixtralExperts, []part{
			{"rope_factors_long", "", factorTable},
			{"rope_factors_short", "", factorTable},
		}),
	},
	"glm4": {
		modelType: "glm4", words: "glm4", partial: "partial_rotary_factor",
		settle: func(t *translation) { t.config["attention_bias"] = t.has("blk.0.attn_q.bias") },
		parts: combine(without(llamaParts, "ffn_gate", "ffn_up"), []part{
			{blk + "ffn_up", layers + "mlp.gate_up_proj", asItIs},
			{blk + "post_attention_norm", layers + "post_self_attn_layernorm", asItIs},
			{blk + "post_ffw_norm", layers + "post_mlp_layernorm", asItIs},
		}),
	},
	"olmoe": {
		modelType: "olmoe", words: "olmo", constants: map[string]any{"norm_topk_prob": false},
		parts: combine(without(llamaParts, "ffn_gate", "ffn_up", "ffn_down"), headNorms, qwenExperts[:4]),
	},
	"olmo2": {
		modelType: "olmo2", tell: (*writing).sliding, otherTypes: []string{"olmo3"}, words: "dbrx", settle: settleOlmo2,
		parts: combine(without(llamaParts, "attn_norm", "ffn_norm"), headNorms, []part{
			{blk + "post_attention_norm", layers + "post_attention_layernorm", asItIs},
			{blk + "post_ffw_norm", layers + "post_feedforward_layernorm", asItIs},
		}),
	},
	"glm4moe": {
		modelType: "glm4_moe", tell: tellDeepExperts, words: "glm4", partial: "partial_rotary_factor", keys: deepKeys,
		settle: func(t *translation) {
			t.config["attention_bias"] = t.has("blk.0.attn_q.bias")
			t.config["use_qk_norm"] = t.has("blk.0.attn_q_norm.weight")
		},
		parts: combine(without(llamaParts, "ffn_norm"), headNorms, deepExperts, []part{{blk + "post_attention_norm", layers + "post_attention_layernorm", asItIs}}),
	},
	"gpt-oss": {
		modelType: "gpt_oss", otherwise: expertsApart, words: "gpt-4o", settle: settleBiases, scaling: map[string]any{"truncate": false},
		constants: map[string]any{"experts_apart": true}, keys: map[string]string{"expert_feed_forward_length": "intermediate_size"},
		parts: combine(without(llamaParts, "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"), deepExperts[2:5], []part{
			{blk + "attn_sinks", layers + "self_attn.sinks", asRow},
			{blk + "post_attention_norm", layers + "post_attention_layernorm", asItIs},
			{blk + "ffn_gate_inp", layers + "mlp.router", asItIs},
		}),
	},
	"deepseek2": {
		modelType: "deepseek_v3", tell: tellDeepSeek, otherwise: headsApart, otherTypes: []string{"deepseek_v2"}, words: "deepseek-v3", settle: settleDeepSeek, constants: map[string]any{"heads_apart": true},
		keys: joined(deepKeys, map[string]string{
			"attention.q_lora_rank": "q_lora_rank", "attention.kv_lora_rank": "kv_lora_rank", "rope.dimension_count": "qk_rope_head_dim", "attention.value_length_mla": "v_head_dim",
		}),
		parts: combine(without(llamaParts, "attn_k", "attn_v"), deepExperts, []part{
			{blk + "attn_q_a", layers + "self_attn.q_a_proj", asItIs},
			{blk + "attn_q_a_norm", layers + "self_attn.q_a_layernorm", asItIs},
			{blk + "attn_q_b", layers + "self_attn.q_b_proj", asItIs},
			{blk + "attn_kv_a_mqa", layers + "self_attn.kv_a_proj_with_mqa", asItIs},
			{blk + "attn_kv_a_norm", layers + "self_attn.kv_a_layernorm", asItIs},
			{blk + "attn_k_b", layers + "self_attn.k_b_proj.{head}", stacked},
			{blk + "attn_v_b", layers + "self_attn.v_b_proj.{head}", stacked},
		}),
	},
	"dots1": {modelType: "dots1", tell: tellDeepExperts, words: "qwen2", keys: deepKeys, parts: combine(llamaParts, headNorms, deepExperts)},
	"ernie4_5-moe": {
		modelType: "ernie4_5_moe", tell: tellErnieMoE, settle: settleErnieMoE,
		keys: map[string]string{
			"expert_count": "moe_num_experts", "expert_used_count": "moe_k", "expert_feed_forward_length": "moe_intermediate_size",
			"leading_dense_block_count": "moe_layer_start_index", "interleave_moe_layer_step": "moe_layer_interval",
		},
		parts: combine(llamaParts, without(deepExperts, "exp_probs_b"), []part{{blk + "exp_probs_b", layers + "mlp.moe_statics.e_score_correction_bias", asRow}}),
	},
	"hunyuan-dense": {modelType: "hunyuan_v1_dense", words: "hunyuan-dense", settle: settleBiases, parts: hunyuanParts},
	"hunyuan-moe": {
		modelType: "hunyuan_v1_moe", tell: tellHunyuanMoE, words: "hunyuan", settle: settleBiases,
		keys: map[string]string{"expert_count": "num_experts", "expert_used_count": "moe_topk"},
		parts: combine(without(hunyuanParts, "ffn_gate", "ffn_up", "ffn_down"), deepExperts[2:5], []part{
			{blk + "ffn_gate_inp", layers + "mlp.gate.wg", asItIs},
			{blk + "ffn_gate_shexp", layers + "mlp.shared_mlp.gate_proj", asItIs},
			{blk + "ffn_up_shexp", layers + "mlp.shared_mlp.up_proj", asItIs},
			{blk + "ffn_down_shexp", layers + "mlp.shared_mlp.down_proj", asItIs},
		}),
	},
	"mpt": {
		modelType: "mpt", still: true, tell: tellMPT, words: "mpt", settle: settleMPT,
		keys: map[string]string{"embedding_length": "d_model", "attention.head_count": "n_heads", "block_count": "n_layers"},
		parts: []part{
			{"token_embd", "transformer.wte", asItIs},
			{"output_norm", "transformer.norm_f", asItIs},
			{"output", "lm_head", asItIs},
			{blk + "attn_norm", mptBlock + "norm_1", asItIs},
			{blk + "attn_qkv", mptBlock + "attn.Wqkv", asItIs},
			{blk + "attn_output", mptBlock + "attn.out_proj", asItIs},
			{blk + "ffn_norm", mptBlock + "norm_2", asItIs},
			{blk + "ffn_up", mptBlock + "ffn.up_proj", asItIs},
			{blk + "ffn_down", mptBlock + "ffn.down_proj", asItIs},
		},
	},
	"lfm2": {
		modelType: "lfm2", tell: tellLFM2, words: "lfm2", settle: settleLFM2, keys: map[string]string{"shortconv.l_cache": "conv_L_cache", "attention.layer_norm_rms_epsilon": "norm_eps"},
		constants: map[string]any{"block_auto_adjust_ff_dim": false, "conv_bias": false},
		parts: []part{
			{"token_embd", "model.embed_tokens", asItIs},
			{"token_embd_norm", "model.embedding_norm", asItIs}, // as files were written at first
			{"output_norm", "model.embedding_norm", asItIs},
			{"output", "lm_head", asItIs},
			{blk + "attn_norm", layers + "operator_norm", asItIs},
			{blk + "attn_q", layers + "self_attn.q_proj", asItIs},
			{blk + "attn_k", layers + "self_attn.k_proj", asItIs},
			{blk + "attn_v", layers + "self_attn.v_proj", asItIs},
			{blk + "attn_output", layers + "self_attn.out_proj", asItIs},
			{blk + "attn_q_norm", layers + "self_attn.q_layernorm", asItIs},
			{blk + "attn_k_norm", layers + "self_attn.k_layernorm", asItIs},
			{blk + "shortconv.conv", layers + "conv.conv", asTaps},
			{blk + "shortconv.in_proj", layers + "conv.in_proj", asItIs},
			{blk + "shortconv.out_proj", layers + "conv.out_proj", asItIs},
			{blk + "ffn_norm", layers + "ffn_norm", asItIs},
			{blk + "ffn_gate", layers + "feed_forward.w1", asItIs},
			{blk + "ffn_up", layers + "feed_forward.w3", asItIs},
			{blk + "ffn_down", layers + "feed_forward.w2", asItIs},
		},
	},
	"falcon-h1": {
		modelType: "falcon_h1", words: "falcon-h1", settle: settleFalconH1, keys: mambaKeys,
		parts: combine(without(llamaParts, "output_norm", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"), mambaParts, []part{
			{"output_norm", "model.final_layernorm", asItIs},
			{blk + "ffn_norm", layers + "pre_ff_layernorm.weight", asRow}, // stored without .weight
			{blk + "ffn_gate", layers + "feed_forward.gate_proj", asItIs},
			{blk + "ffn_up", layers + "feed_forward.up_proj", asItIs},
			{blk + "ffn_down", layers + "feed_forward.down_proj", asItIs},
		}),
	},
	"apertus": {
		modelType: "apertus", tell: tellApertus, words: "tekken", settle: settleApertus,
		parts: combine(without(llamaParts, "attn_norm", "ffn_norm", "ffn_gate"), headNorms, []part{
			{blk + "attn_norm", layers + "attention_layernorm", asItIs},
			{blk + "ffn_norm", layers + "feedforward_layernorm", asItIs},
		}),
	},
	"dbrx": {
		modelType: "dbrx", tell: tellDBRX, otherwise: stackedExperts, words: "dbrx", settle: settleDBRX, constants: map[string]any{"experts_apart": true},
		keys: map[string]string{"embedding_length": "d_model", "attention.head_count": "n_heads", "block_count": "n_layers", "context_length": "max_seq_len"},
		parts: []part{
			{"token_embd", "transformer.wte", asItIs},
			{"output_norm", "transformer.norm_f", asItIs},
			{"output", "lm_head", asItIs},
			{blk + "attn_norm", mptBlock + "norm_attn_norm.norm_1", asItIs},
			{blk + "attn_qkv", mptBlock + "norm_attn_norm.attn.Wqkv", asItIs},
			{blk + "attn_output", mptBlock + "norm_attn_norm.attn.out_proj", asItIs},
			{blk + "attn_output_norm", mptBlock + "norm_attn_norm.norm_2", asItIs},
			{blk + "ffn_gate_inp", mptBlock + "ffn.router.layer", asItIs},
			{blk + "ffn_gate_exps", mptBlock + "ffn.experts.{expert}.w1", stacked},
			{blk + "ffn_up_exps", mptBlock + "ffn.experts.{expert}.v1", stacked},
			{blk + "ffn_down_exps", mptBlock + "ffn.experts.{expert}.w2", stacked},
		},
	},
	"llama4": {
		modelType: "llama4_text", tell: tellLlama4, otherwise: expertsSideBySide, words: "llama4", settle: settleLlama4, constants: map[string]any{"experts_apart": true},
		keys: map[string]string{
			"feed_forward_length": "intermediate_size_mlp", "expert_feed_forward_length": "intermediate_size", "interleave_moe_layer_step": "interleave_moe_layer_step",
		},
		parts: combine(without(llamaParts, "ffn_gate", "ffn_up", "ffn_down"), []part{
			{blk + "ffn_gate", layers + "feed_forward.gate_proj", asItIs},
			{blk + "ffn_up", layers + "feed_forward.up_proj", asItIs},
			{blk + "ffn_down", layers + "feed_forward.down_proj", asItIs},
			{blk + "ffn_gate_inp", layers + "feed_forward.router", asItIs},
			{blk + "ffn_gate_exps", layers + "feed_forward.experts.{expert}.gate_proj", stacked},
			{blk + "ffn_up_exps", layers + "feed_forward.experts.{expert}.up_proj", stacked},
			{blk + "ffn_down_exps", layers + "feed_forward.experts.{expert}.down_proj", stacked},
			{blk + "ffn_gate_shexp", layers + "feed_forward.shared_expert.gate_proj", asItIs},
			{blk + "ffn_up_shexp", layers + "feed_forward.shared_expert.up_proj", asItIs},
			{blk + "ffn_down_shexp", layers + "feed_forward.shared_expert.down_proj", asItIs},
		}),
	},
	"qwen3next": {
		modelType: "qwen3_next", tell: tellQwen3Next, otherwise: gatesApart, words: "qwen2", partial: "partial_rotary_factor", settle: settleQwen3Next, constants: map[string]any{"norm_topk_prob": true},
		keys: map[string]string{
			"ssm.conv_kernel": "linear_conv_kernel_dim", "ssm.state_size": "linear_key_head_dim", "ssm.group_count": "linear_num_key_heads", "ssm.time_step_rank": "linear_num_value_heads",
		},
		parts: combine(without(gemmaParts, "ffn_norm"), changed(headNorms, plusOne, "attn_q_norm", "attn_k_norm"), qwenExperts, []part{
			{blk + "post_attention_norm", layers + "post_attention_layernorm", plusOne},
			{blk + "attn_qkv", layers + "linear_attn.in_proj_qkv", asItIs},
			{blk + "attn_gate", layers + "linear_attn.in_proj_z", asItIs},
			{blk + "ssm_in", layers + "linear_attn.in_proj_qkvz", asItIs}, // as files were written at first
			{blk + "ssm_ba", layers + "linear_attn.in_proj_ba", asItIs},
			{blk + "ssm_conv1d", layers + "linear_attn.conv1d", asTaps},
			{blk + "ssm_dt", layers + "linear_attn.dt_bias", asRow},
			{blk + "ssm_a", layers + "linear_attn.A_log", fadingFlat},
			{blk + "ssm_norm", layers + "linear_attn.norm", asItIs},
			{blk + "ssm_out", layers + "linear_attn.out_proj", asItIs},
		}),
	},
	"qwen2":    {modelType: "qwen2", tell: tellQwen, words: "qwen2", parts: llamaParts},
	"qwen3":    {modelType: "qwen3", tell: tellQwen, words: "qwen2", parts: combine(llamaParts, headNorms)},
	"qwen2moe": {modelType: "qwen2_moe", tell: tellExperts, words: "qwen2", settle: settleExperts, parts: combine(llamaParts, qwenExperts), constants: map[string]any{"norm_topk_prob": false}},
	"qwen3moe": {modelType: "qwen3_moe", tell: tellExperts, words: "qwen2", settle: settleExperts, parts: combine(llamaParts, headNorms, qwenExperts), constants: map[string]any{"norm_topk_prob": true}},
	"gemma":    {modelType: "gemma", parts: gemmaParts},
	"gemma2":   {modelType: "gemma2", tell: tellGemma, settle: func(t *translation) { settleGemma(t, 46) }, parts: sandwichParts},
	"gemma3": {
		modelType: "gemma3_text", tell: tellGemma, settle: settleGemma3,
		parts: combine(sandwichParts, changed(headNorms, plusOne, "attn_q_norm", "attn_k_norm")),
	},
	"gemma3n": {
		modelType: "gemma3n_text", tell: tellGemma3n, settle: settleGemma3n,
		keys: map[string]string{
			"altup.active_idx": "altup_active_idx", "altup.num_inputs": "altup_num_inputs",
			"embedding_length_per_layer_input": "hidden_size_per_layer_input", "attention.shared_kv_layers": "num_kv_shared_layers",
		},
		parts: combine(without(llamaParts, "ffn_norm"), headNorms, []part{
			{blk + "post_attention_norm", layers + "post_attention_layernorm", asItIs},
			{blk + "ffn_norm", layers + "pre_feedforward_layernorm", asItIs},
			{blk + "post_ffw_norm", layers + "post_feedforward_layernorm", asItIs},
			{"altup_proj", "model.altup_projections.{stream}", stacked},
			{"altup_unembd_proj", "model.altup_unembed_projections.{stream}", stacked},
			{"per_layer_token_embd", "model.embed_tokens_per_layer", padded},
			{"per_layer_model_proj", "model.per_layer_model_projection", asItIs},
			{"per_layer_proj_norm", "model.per_layer_projection_norm", asItIs},
			{blk + "inp_gate", layers + "per_layer_input_gate", asItIs},
			{blk + "proj", layers + "per_layer_projection", asItIs},
			{blk + "post_norm", layers + "post_per_layer_input_norm", asItIs},
			{blk + "altup_router", layers + "altup.modality_router", asItIs},
			{blk + "altup_router_norm", layers + "altup.router_norm", asItIs},
			{blk + "altup_predict_coef", layers + "altup.prediction_coefs", asItIs},
			{blk + "altup_correct_coef", layers + "altup.correction_coefs", asItIs},
			{blk + "altup_correct_scale", layers + "altup.correct_output_scale", asRow},
			{blk + "laurel_l", layers + "laurel.linear_left", asItIs},
			{blk + "laurel_r", layers + "laurel.linear_right", asItIs},
			{blk + "laurel_post_norm", layers + "laurel.post_laurel_norm", asItIs},
		}),
	},
	"command-r": {modelType: "cohere", tell: func(w *writing) { w.copy("logit_scale", "logit_scale") }, words: "command-r", settle: settleCohere, parts: combine(llamaParts, headNorms)},
	"cohere2":   {modelType: "cohere2", tell: tellCohere, words: "command-r", settle: settleCohere, parts: llamaParts},
	"phi3": {
		modelType: "phi3", partial: "partial_rotary_factor", words: "gpt-4o",
		parts: combine(without(llamaParts, "attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"), []part{
			{blk + "attn_qkv", layers + "self_attn.qkv_proj", asItIs},
			{blk + "ffn_up", layers + "mlp.gate_up_proj", asItIs},
			{"rope_factors_long", "", factorTable},
			{"rope_factors_short", "", factorTable},
		}),
	},
	"phi2": {
		modelType: "phi", partial: "partial_rotary_factor", words: "gpt-2",
		parts: combine(without(llamaParts, "output_norm", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"), []part{
			{"output_norm", "model.final_layernorm", asItIs},
			{blk + "attn_qkv", layers + "self_attn.{qkv}_proj", fusedQKV},
			{blk + "attn_output", layers + "self_attn.dense", asItIs},
			{blk + "ffn_up", layers + "mlp.fc1", asItIs},
			{blk + "ffn_down", layers + "mlp.fc2", asItIs},
		}),
	},
	"stablelm": {
		modelType: "stablelm", tell: func(w *writing) { w.copy("use_parallel_residual", "use_parallel_residual") }, partial: "partial_rotary_factor", words: "gpt-2", settle: settleStableLM,
		parts: combine(llamaParts, []part{
			{blk + "attn_q_norm", layers + "self_attn.q_layernorm.norms.{head}", stacked},
			{blk + "attn_k_norm", layers + "self_attn.k_layernorm.norms.{head}", stacked},
		}),
	},
	"starcoder2": {modelType: "starcoder2", words: "starcoder", parts: combine(without(llamaParts, "ffn_gate", "ffn_up", "ffn_down"), plainMLP)},
	"starcoder":  {modelType: "gpt_bigcode", still: true, tell: func(w *writing) { w.shape.keyHeads = 1 }, words: "starcoder", keys: gpt2Keys, settle: settleStarCoder, parts: gpt2Parts},
	"gpt2": {
		modelType: "gpt2", still: true, words: "gpt-2", keys: gpt2Keys,
		parts: changed(gpt2Parts, transposed, "attn_qkv", "attn_output", "ffn_up", "ffn_down"),
	},
	"bloom": {modelType: "bloom", still: true, words: "bloom", parts: bloomParts},
	"falcon": {
		modelType: "falcon", tell: tellFalcon, words: "falcon", settle: settleFalcon,
		keys:  map[string]string{"attention.head_count_kv": "num_kv_heads", "feed_forward_length": "ffn_hidden_size"},
		parts: bloomParts,
	},
	"gptneox": {
		modelType: "gpt_neox", partial: "rotary_pct", words: "olmo",
		keys:   map[string]string{"use_parallel_residual": "use_parallel_residual"},
		settle: func(t *translation) { t.config["attention_bias"] = t.has("blk.0.attn_qkv.bias") },
		parts: []part{
			{"token_embd", "gpt_neox.embed_in", asItIs},
			{"output_norm", "gpt_neox.final_layer_norm", asItIs},
			{"output", "embed_out", asItIs},
			{blk + "attn_norm", neox + "input_layernorm", asItIs},
			{blk + "attn_qkv", neox + "attention.query_key_value", unfusedQKV},
			{blk + "attn_output", neox + "attention.dense", asItIs},
			{blk + "ffn_norm", neox + "post_attention_layernorm", asItIs},
			{blk + "ffn_up", neox + "mlp.dense_h_to_4h", asItIs},
			{blk + "ffn_down", neox + "mlp.dense_4h_to_h", asItIs},
		},
	},
}

// without returns the table without some of its stored names.
func without(table []part, stored ...string) (rest []part) {
	for _, p := range table {
		keep := true
		for _, s := range stored {
			keep = keep && p.stored != s && p.stored != blk+s
		}
		if keep {
			rest = append(rest, p)
		}
	}
	return rest
}

// settleLlama tells apart what llama.cpp calls llama: mixtral has experts, and
// mistral is a llama with a sliding window.
func settleLlama(t *translation) {
	if n, _ := t.config["num_local_experts"].(uint64); n > 0 {
		t.config["model_type"] = "mixtral"
	} else if t.config["sliding_window"] != nil {
		t.config["model_type"] = "mistral"
	}
	settleBiases(t)
}

// settleOlmo2 tells apart what llama.cpp calls olmo2: olmo3 has sliding windows.
func settleOlmo2(t *translation) {
	if t.config["sliding_window"] != nil {
		t.config["model_type"] = "olmo3"
		t.slidingPattern()
	}
}

// settleDeepSeek tells DeepSeek-V2 from V3 by how experts are scored.
func settleDeepSeek(t *translation) {
	if t.value("attention.key_length_mla") == nil {
		t.fail("metadata %s.attention.key_length_mla is missing: files from before heads were stored apart are not supported", t.name)
		return
	}
	t.config["qk_nope_head_dim"] = t.size("attention.key_length_mla") - t.size("rope.dimension_count")
	if function, _ := t.value("expert_gating_func").(uint64); function != 2 {
		t.config["model_type"] = "deepseek_v2"
	}
	if grow, _ := t.value("rope.scaling.yarn_log_multiplier").(float64); grow != 0 {
		t.arch.scaling = map[string]any{"mscale": 10 * grow, "mscale_all_dim": 10 * grow}
	}
}

// settleErnieMoE counts the shared experts, which stand in one MLP.
func settleErnieMoE(t *translation) {
	t.config["use_bias"] = t.has("blk.0.attn_q.bias")
	inner, _ := t.config["moe_intermediate_size"].(uint64)
	for layer := range t.shape.layers {
		if shared, ok := t.file.Tensor(block(layer, "ffn_gate_shexp.weight")); ok && inner > 0 {
			t.config["moe_num_shared_experts"] = uint64(shared.Shape[0]) / inner
			return
		}
	}
}

// settleApertus makes tensors of the constants of activations, which are metadata.
func settleApertus(t *translation) {
	settleBiases(t)
	for key, name := range map[string]string{"xielu.alpha_p": "alpha_p", "xielu.alpha_n": "alpha_n", "xielu.beta": "beta", "xielu.eps": "eps"} {
		values, _ := t.file.Value(key).([]float64)
		if len(values) != t.shape.layers {
			t.fail("metadata %s has %d numbers for %d layers", key, len(values), t.shape.layers)
			return
		}
		for layer, v := range values {
			data := safetensors.AppendFloats(nil, safetensors.F32, []float32{float32(v)})
			t.put("model.layers."+strconv.Itoa(layer)+".mlp.act_fn."+name, source{
				tensor: gguf.Tensor{Name: key, Type: gguf.F32, Shape: []int{1}, Data: data}, shape: []int{1}, rows: 1, width: 1,
			})
		}
	}
}

// settleDBRX sorts what the config has in objects of its own.
func settleDBRX(t *translation) {
	t.config["attn_config"] = map[string]any{"kv_n_heads": t.shape.keyHeads, "rope_theta": t.config["rope_theta"], "clip_qkv": t.value("attention.clamp_kqv")}
	t.config["ffn_config"] = map[string]any{
		"ffn_hidden_size": t.config["intermediate_size"], "moe_num_experts": t.config["num_local_experts"], "moe_top_k": t.config["num_experts_per_tok"],
	}
}

// settleLlama4 lets every layer see and turn everything where a file says that there
// is no window; else llama.cpp's chunks, temperature and step are what the config
// usually has. The largest model has no norms of queries and keys.
func settleLlama4(t *translation) {
	t.config["use_qk_norm"] = t.config["num_local_experts"] != uint64(128)
	if window, ok := t.config["sliding_window"].(uint64); ok && window == 0 {
		t.config["attention_chunk_size"], t.config["no_rope_layer_interval"] = 0, t.shape.layers+1
	}
}

// settleQwen3Next finds the layers without attention by their keys, of which there
// are none.
func settleQwen3Next(t *translation) {
	settleExperts(t)
	var types []string
	for layer := range t.shape.layers {
		kind := "linear_attention"
		if t.has(block(layer, "attn_k.weight")) {
			kind = "full_attention"
		} else if t.has(block(layer, "attn_gate.weight")) {
			t.config["gates_apart"] = true
		}
		types = append(types, kind)
	}
	t.config["layer_types"] = types
	t.config["linear_value_head_dim"] = t.size("ssm.inner_size") / t.size("ssm.time_step_rank")
}

// settleGemma3n reads the sparsity of gates, of which a file has the quantile, and
// sizes that only tensors say.
func settleGemma3n(t *translation) {
	t.config["final_logit_softcapping"] = 30.0
	t.copy("final_logit_softcapping", "final_logit_softcapping")
	t.copy("rope.freq_base_swa", "rope_local_base_freq")
	if t.config["rope_theta"] == nil {
		t.config["rope_theta"] = 1e6
	}
	t.slidingPattern()
	if quantiles, ok := t.value("activation_sparsity_scale").([]float64); ok {
		pattern := make([]float64, len(quantiles))
		for i, q := range quantiles {
			pattern[i] = math.Erfc(-q/math.Sqrt2) / 2
		}
		t.config["activation_sparsity_pattern"] = pattern
	}
	for name, field := range map[string]string{"per_layer_token_embd.weight": "vocab_size_per_layer_input", "blk.0.laurel_l.weight": "laurel_rank"} {
		if tensor, ok := t.file.Tensor(name); ok {
			t.config[field] = tensor.Shape[0]
		}
	}
}

func settleMPT(t *translation) {
	options := map[string]any{"alibi": true}
	for key, field := range map[string]string{"attention.max_alibi_bias": "alibi_bias_max", "attention.clamp_kqv": "clip_qkv"} {
		if value := t.value(key); value != nil {
			options[field] = value
		}
	}
	t.config["attn_config"] = options
}

// settleLFM2 finds the layers without attention by their keys, of which there are none.
func settleLFM2(t *translation) {
	var types []string
	for layer := range t.shape.layers {
		if t.has(block(layer, "attn_k.weight")) {
			types = append(types, "full_attention")
		} else {
			types = append(types, "conv")
		}
	}
	t.config["layer_types"] = types
}

// settleGraniteHybrid finds which layers have a state space, and positions, by what
// the file has of them.
func settleGraniteHybrid(t *translation) {
	settleBiases(t)
	var types []string
	for layer := range t.shape.layers {
		if !t.has(block(layer, "ssm_in.weight")) {
			types = append(types, "attention")
			continue
		}
		types = append(types, "mamba")
		t.config["mamba_conv_bias"] = t.has(block(layer, "ssm_conv1d.bias"))
		t.config["mamba_proj_bias"] = t.has(block(layer, "ssm_in.bias"))
	}
	t.config["layer_types"] = types
	if slices.Contains(types, "mamba") {
		inner := t.size("ssm.inner_size")
		if inner%t.shape.hidden != 0 {
			t.fail("metadata %s.ssm.inner_size is %d, no multiple of %d", t.name, inner, t.shape.hidden)
		}
		t.config["mamba_expand"], t.config["mamba_d_head"] = inner/t.shape.hidden, inner/t.size("ssm.time_step_rank")
	}
	t.config["position_embedding_type"] = "rope"
	if turns, ok := t.value("rope.scaling.finetuned").(bool); ok && !turns {
		t.config["position_embedding_type"] = "nope"
	}
	if dense, ok := t.file.Tensor("blk.0.ffn_up.weight"); ok {
		t.config["shared_intermediate_size"] = dense.Shape[0]
	}
}

// joined returns the entries of both tables.
func joined(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// settleFalconH1 finds what the tensors say; the multipliers are in the weights.
func settleFalconH1(t *translation) {
	settleBiases(t)
	t.config["mamba_d_head"] = t.size("ssm.inner_size") / t.size("ssm.time_step_rank")
	t.config["mamba_rms_norm"] = t.has("blk.0.ssm_norm.weight")
	t.config["mamba_conv_bias"] = t.has("blk.0.ssm_conv1d.bias")
	t.config["mamba_proj_bias"] = t.has("blk.0.ssm_in.bias")
}

func settleBiases(t *translation) {
	t.config["attention_bias"] = t.has("blk.0.attn_q.bias")
	t.config["mlp_bias"] = t.has("blk.0.ffn_up.bias")
}

// settleExperts finds which layers have experts, and how wide they are, by
// their tensors.
func settleExperts(t *translation) {
	t.config["num_experts"] = t.config["num_local_experts"]
	t.config["decoder_sparse_step"] = 1
	dense := []int{}
	for layer := range t.shape.layers {
		name := block(layer, "ffn_gate_exps.weight")
		experts, ok := t.file.Tensor(name)
		if !ok {
			dense = append(dense, layer)
			continue
		}
		if len(experts.Shape) != 3 {
			t.fail("tensor %q has shape %v; one of experts has three dimensions", name, experts.Shape)
			return
		}
		t.config["moe_intermediate_size"] = experts.Shape[1]
		if shared, ok := t.file.Tensor(block(layer, "ffn_gate_shexp.weight")); ok {
			t.config["shared_expert_intermediate_size"] = shared.Shape[0]
		}
	}
	t.config["mlp_only_layers"] = dense
	if normalize, ok := t.value("expert_weights_norm").(bool); ok {
		t.config["norm_topk_prob"] = normalize
	}
}

// settleGemma scales the scores by the head size, but for the model of so many
// layers, the largest, by hidden/heads, as llama.cpp does: the format does not say.
func settleGemma(t *translation, largest int) {
	scalar := t.shape.size
	if t.shape.layers == largest {
		scalar = t.shape.hidden / t.shape.heads
	}
	t.config["query_pre_attn_scalar"] = scalar
	t.copy("attn_logit_softcapping", "attn_logit_softcapping")
	t.copy("final_logit_softcapping", "final_logit_softcapping")
	t.slidingPattern()
}

func settleGemma3(t *translation) {
	settleGemma(t, 62)
	t.copy("rope.freq_base_swa", "rope_local_base_freq")
	if t.config["rope_theta"] == nil {
		t.config["rope_theta"] = 1e6
	}
}

func settleCohere(t *translation) {
	t.copy("logit_scale", "logit_scale")
	t.config["use_qk_norm"] = t.has("blk.0.attn_q_norm.weight")
	t.slidingPattern()
}

func settleStableLM(t *translation) {
	t.config["use_qkv_bias"] = t.has("blk.0.attn_q.bias")
	t.config["qk_layernorm"] = t.has("blk.0.attn_q_norm.weight")
	t.config["use_parallel_residual"] = !t.has("blk.0.ffn_norm.weight")
}

func settleStarCoder(t *translation) {
	t.config["multi_query"] = t.shape.keyHeads == 1
	if t.shape.keyHeads != 1 {
		t.fail("starcoder with %d key/value heads is not supported", t.shape.keyHeads)
	}
}

// settleFalcon tells the 7B layout from that of the larger models, of which the
// 40B and 180B have a norm for attention beside that for the MLP.
func settleFalcon(t *translation) {
	larger := t.shape.keyHeads != 1
	t.config["new_decoder_architecture"] = larger
	t.config["multi_query"] = !larger
	t.config["num_ln_in_parallel_attn"] = 1
	t.config["bias"] = t.has("blk.0.attn_qkv.bias")
	if t.has("blk.0.attn_norm_2.weight") {
		t.config["num_ln_in_parallel_attn"] = 2
		t.arch.parts = falconNorms
	}
}
