package ggufwrite

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Convert writes the checkpoint in a folder, in one model.safetensors, as
// llama.cpp's converter does. Matrices become numbers of type kind; without one
// (ok false) they keep theirs. An error says that the format cannot express the
// checkpoint.
func Convert(folder fs.FS, kind gguf.Type, ok bool) (*File, error) {
	c := &converter{file: &File{}, kind: kind, force: ok, stacks: map[string][]matrix{}}
	data, err := fs.ReadFile(folder, "config.json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &c.config); err != nil {
		return nil, err
	}
	weights, err := safetensors.OpenFS(folder, "model.safetensors")
	if err != nil {
		return nil, err
	}
	defer weights.Close()
	if err := c.metadata(weights); err != nil {
		return nil, err
	}
	for _, name := range weights.Names() {
		t, _ := weights.Tensor(name)
		values, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		for alias, stored := range weights.Metadata() { // tied embeddings may be stored as the head
			if stored == name && alias == "model.embed_tokens.weight" {
				name = alias
			}
		}
		if err := c.tensor(name, t.DType, matrix{values, t.Shape}); err != nil {
			return nil, err
		}
	}
	c.stacked()
	// The goldens' vocabulary is cut into words as GPT-2's.
	if err := Tokenizer(c.file, folder, "gpt-2"); err != nil {
		return nil, err
	}
	return c.file, nil
}

type converter struct {
	file   *File
	config map[string]any
	kind   gguf.Type
	force  bool
	arch   string
	names  []string // pairs: a part of the checkpoint's name, and what it becomes
	stacks map[string][]matrix

	layers, hidden, heads, keyHeads, size int
}

type matrix struct {
	values []float32
	shape  []int
}

func (c *converter) number(names ...string) float64 {
	for _, n := range names {
		if f, ok := c.config[n].(float64); ok {
			return f
		}
	}
	return 0
}

func (c *converter) is(name string) bool { b, _ := c.config[name].(bool); return b }

var llamaNames = []string{
	"model.embed_tokens", "token_embd", "model.norm", "output_norm", "lm_head", "output",
	"input_layernorm", "attn_norm", "post_attention_layernorm", "ffn_norm",
	"self_attn.q_proj", "attn_q", "self_attn.k_proj", "attn_k", "self_attn.v_proj", "attn_v", "self_attn.o_proj", "attn_output",
	"mlp.gate_proj", "ffn_gate", "mlp.up_proj", "ffn_up", "mlp.down_proj", "ffn_down",
	"self_attn.q_norm", "attn_q_norm", "self_attn.k_norm", "attn_k_norm",
}

var afterNames = []string{"post_attention_layernorm", "post_attention_norm", "post_feedforward_layernorm", "post_ffw_norm", "pre_feedforward_layernorm", "ffn_norm"}

var transformerNames = []string{
	"transformer.wte", "token_embd", "transformer.wpe", "position_embd", "transformer.word_embeddings_layernorm", "token_embd_norm",
	"transformer.word_embeddings", "token_embd", "transformer.ln_f", "output_norm", "lm_head", "output",
	"ln_1", "attn_norm", "ln_2", "ffn_norm", "attn.c_attn", "attn_qkv", "attn.c_proj", "attn_output", "mlp.c_fc", "ffn_up", "mlp.c_proj", "ffn_down",
	"input_layernorm", "attn_norm", "post_attention_layernorm", "ffn_norm", "ln_mlp", "attn_norm", "ln_attn", "attn_norm_2",
	"self_attention.query_key_value", "attn_qkv", "self_attention.dense", "attn_output",
	"mlp.dense_h_to_4h", "ffn_up", "mlp.dense_4h_to_h", "ffn_down",
}

var moeNames = []string{
	"mlp.shared_expert_gate", "ffn_gate_inp_shexp", "mlp.gate", "ffn_gate_inp",
	"mlp.shared_expert.gate_proj", "ffn_gate_shexp", "mlp.shared_expert.up_proj", "ffn_up_shexp", "mlp.shared_expert.down_proj", "ffn_down_shexp",
	"block_sparse_moe.gate", "ffn_gate_inp",
}

var deepNames = []string{
	"mlp.gate.wg", "ffn_gate_inp", "mlp.gate", "ffn_gate_inp", "mlp.gate.e_score_correction_bias", "exp_probs_b", "mlp.moe_statics.e_score_correction_bias", "exp_probs_b",
	"mlp.shared_experts.gate_proj", "ffn_gate_shexp", "mlp.shared_experts.up_proj", "ffn_up_shexp", "mlp.shared_experts.down_proj", "ffn_down_shexp",
	"mlp.shared_mlp.gate_proj", "ffn_gate_shexp", "mlp.shared_mlp.up_proj", "ffn_up_shexp", "mlp.shared_mlp.down_proj", "ffn_down_shexp",
	"self_attn.query_layernorm", "attn_q_norm", "self_attn.key_layernorm", "attn_k_norm",
}

var mambaNames = []string{
	"mamba.in_proj", "ssm_in", "mamba.conv1d", "ssm_conv1d", "mamba.dt_bias", "ssm_dt", "mamba.A_log", "ssm_a", "mamba.D", "ssm_d", "mamba.norm", "ssm_norm", "mamba.out_proj", "ssm_out",
}

// mamba writes the sizes of state spaces; layers of other kinds than attention have
// no keys.
func (c *converter) mamba(extra map[string]any, kinds []any) {
	for key, field := range map[string]string{"conv_kernel": "mamba_d_conv", "inner_size": "mamba_d_ssm", "state_size": "mamba_d_state", "time_step_rank": "mamba_n_heads", "group_count": "mamba_n_groups"} {
		extra["ssm."+key] = uint32(c.number(field))
	}
	var keys []uint32
	for _, kind := range kinds {
		if kind == "attention" {
			keys = append(keys, uint32(c.keyHeads))
		} else {
			keys = append(keys, 0)
		}
	}
	if keys != nil {
		extra["attention.head_count_kv"] = keys
	}
}

func (c *converter) granite(extra map[string]any) {
	extra["attention.scale"] = float32(c.number("attention_multiplier"))
	extra["embedding_scale"] = float32(c.number("embedding_multiplier"))
	extra["residual_scale"] = float32(c.number("residual_multiplier"))
	extra["logit_scale"] = float32(c.number("logits_scaling"))
}

// gemma3n writes what gemma3n alone has: streams, sparse gates, shared keys.
func (c *converter) gemma3n(extra map[string]any) {
	extra["altup.active_idx"], extra["altup.num_inputs"] = uint32(c.number("altup_active_idx")), uint32(c.number("altup_num_inputs"))
	extra["embedding_length_per_layer_input"], extra["attention.shared_kv_layers"] = uint32(c.number("hidden_size_per_layer_input")), uint32(c.number("num_kv_shared_layers"))
	extra["final_logit_softcapping"] = float32(c.number("final_logit_softcapping"))
	var quantiles []float32
	for _, share := range c.config["activation_sparsity_pattern"].([]any) {
		quantiles = append(quantiles, float32(math.Sqrt2*math.Erfinv(2*share.(float64)-1)))
	}
	extra["activation_sparsity_scale"] = quantiles
	var sliding []bool
	for _, kind := range c.config["layer_types"].([]any) {
		sliding = append(sliding, kind == "sliding_attention")
	}
	extra["attention.sliding_window_pattern"] = sliding
}

// apart writes the queries, keys and values of linear attention, of all groups one
// kind after the other, and its gates.
func (c *converter) apart(layer string, stored safetensors.DType, m matrix) {
	groups, width := int(c.number("linear_num_key_heads")), m.shape[1]
	keys, values := int(c.number("linear_key_head_dim")), int(c.number("linear_value_head_dim")*c.number("linear_num_value_heads"))/groups
	var parts [4][]float32
	for g := range groups {
		at := g * 2 * (keys + values)
		for i, n := range []int{keys, keys, values, values} {
			parts[i] = append(parts[i], m.values[at*width:(at+n)*width]...)
			at += n
		}
	}
	c.write(layer+"attn_qkv.weight", stored, matrix{slices.Concat(parts[:3]...), []int{groups * (2*keys + values), width}})
	c.write(layer+"attn_gate.weight", stored, matrix{parts[3], []int{groups * values, width}})
}

// rowsApart writes experts that are stored one below the other, [experts*inner, hidden].
func (c *converter) rowsApart(layer, part string, stored safetensors.DType, m matrix) {
	experts, width := int(c.config["ffn_config"].(map[string]any)["moe_num_experts"].(float64)), m.shape[1]
	inner := m.shape[0] / experts
	shape := []int{experts, inner, width}
	if part == "down" {
		var values []float32
		for e := range experts {
			values = append(values, transpose(matrix{m.values[e*inner*width : (e+1)*inner*width], []int{inner, width}}).values...)
		}
		m.values, shape = values, []int{experts, width, inner}
	}
	c.write(layer+"ffn_"+part+"_exps.weight", stored, matrix{m.values, shape})
}

// halves writes gate and up of a tensor in which, for each expert, one stands below
// the other.
func (c *converter) halves(layer, of string, stored safetensors.DType, m matrix) {
	n := m.shape[len(m.shape)-2] / 2
	each := n * m.shape[len(m.shape)-1]
	shape := slices.Clone(m.shape)
	shape[len(shape)-2] = n
	for i, part := range []string{"gate", "up"} {
		var values []float32
		for at := i * each; at < len(m.values); at += 2 * each {
			values = append(values, m.values[at:at+each]...)
		}
		c.write(layer+"ffn_"+part+"_"+of+".weight", stored, matrix{values, shape})
	}
}

// headsApart writes each head's keys, turned, and its values.
func (c *converter) headsApart(layer string, stored safetensors.DType, m matrix) {
	keys, values, rank := int(c.number("qk_nope_head_dim")), int(c.number("v_head_dim")), m.shape[1]
	var k, v []float32
	for h := range c.heads {
		of := m.values[h*(keys+values)*rank:]
		k = append(k, transpose(matrix{of[:keys*rank], []int{keys, rank}}).values...)
		v = append(v, of[keys*rank:(keys+values)*rank]...)
	}
	c.write(layer+"attn_k_b.weight", stored, matrix{k, []int{c.heads, rank, keys}})
	c.write(layer+"attn_v_b.weight", stored, matrix{v, []int{c.heads, values, rank}})
}

// turned writes experts that are stored as [experts, in, out], gate and up alternating
// or one after the other.
func (c *converter) turned(layer, to string, stored safetensors.DType, m matrix) {
	experts, in, out := m.shape[0], m.shape[1], m.shape[2]
	parts, step, apart := []string{"down"}, 1, 0
	switch to {
	case "gate_up_exps":
		parts, step, apart = []string{"gate", "up"}, 2, 1
	case "gate_then_up_exps":
		parts, apart = []string{"gate", "up"}, out/2
	}
	for which, part := range parts {
		var values []float32
		rows := out / len(parts)
		for e := range experts {
			for n := range rows {
				o := which*apart + n*step
				for i := range in {
					values = append(values, m.values[(e*in+i)*out+o])
				}
			}
		}
		c.write(layer+"ffn_"+part+"_exps.weight", stored, matrix{values, []int{experts, rows, in}})
	}
}

// metadata settles the architecture and writes what it has to say.
func (c *converter) metadata(weights *safetensors.File) error {
	c.layers = int(c.number("num_hidden_layers", "n_layer", "n_layers"))
	c.hidden = int(c.number("hidden_size", "n_embd", "d_model"))
	c.heads = int(c.number("num_attention_heads", "n_head", "n_heads"))
	c.keyHeads = int(c.number("num_key_value_heads"))
	if c.keyHeads == 0 {
		c.keyHeads = c.heads
	}
	c.size = c.hidden / c.heads
	if n := int(c.number("head_dim")); n != 0 {
		c.size = n
	}
	inner := c.number("intermediate_size", "n_inner", "ffn_hidden_size")
	if inner == 0 {
		inner = 4 * float64(c.hidden)
	}
	modelType := c.config["model_type"].(string)
	c.arch = modelType
	norm, turning := "attention.layer_norm_rms_epsilon", float64(c.size)
	epsilon := c.number("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")
	layerNorm := func() { norm = "attention.layer_norm_epsilon" }
	names := combineNames(llamaNames)
	extra := map[string]any{}
	switch modelType {
	case "llama", "mistral", "mixtral":
		c.arch = "llama"
		names = combineNames(moeNames, llamaNames)
	case "granitemoe", "granitemoeshared", "granitemoehybrid":
		c.arch = map[bool]string{true: "granitehybrid", false: "granitemoe"}[modelType == "granitemoehybrid"]
		names = combineNames([]string{
			"block_sparse_moe.router.layer", "ffn_gate_inp", "block_sparse_moe.input_linear", "exps", "block_sparse_moe.output_linear", "ffn_down_exps",
			"shared_mlp.input_linear", "shexp", "shared_mlp.output_linear", "ffn_down_shexp",
		}, mambaNames, llamaNames)
		if n := c.number("shared_intermediate_size"); n != 0 {
			extra["expert_shared_feed_forward_length"] = uint32(n)
		}
		if kinds, ok := c.config["layer_types"].([]any); ok {
			c.mamba(extra, kinds)
			extra["ssm.inner_size"] = uint32(c.number("mamba_expand") * float64(c.hidden))
			extra["rope.scaling.finetuned"] = c.config["position_embedding_type"] == "rope"
		}
		c.granite(extra)
	case "granite":
		c.granite(extra)
	case "olmo":
		layerNorm()
		epsilon = 1e-5
		extra["attention.clamp_kqv"] = float32(c.number("clip_qkv"))
	case "phimoe":
		names = combineNames(moeNames, llamaNames)
	case "olmo2", "olmo3", "exaone4":
		if modelType == "olmo3" {
			c.arch = "olmo2"
		}
		names = combineNames(afterNames, llamaNames)
		if modelType != "olmo2" {
			var sliding []bool
			for _, kind := range c.config["layer_types"].([]any) {
				sliding = append(sliding, kind == "sliding_attention")
			}
			extra["attention.sliding_window_pattern"] = sliding
		}
	case "smollm3", "arcee", "ernie4_5":
	case "seed_oss":
		names = combineNames([]string{"post_attention_layernorm", "post_attention_norm"}, llamaNames)
	case "glm4":
		turning *= c.number("partial_rotary_factor")
		names = combineNames([]string{"post_self_attn_layernorm", "post_attention_norm", "post_mlp_layernorm", "post_ffw_norm", "mlp.gate_up_proj", "ffn_up"}, llamaNames)
	case "nemotron":
		layerNorm()
		epsilon = c.number("norm_eps")
		turning *= c.number("partial_rotary_factor")
	case "olmoe":
		names = combineNames(moeNames, llamaNames)
	case "glm4_moe", "dots1", "ernie4_5_moe", "hunyuan_v1_moe":
		c.arch = map[string]string{"glm4_moe": "glm4moe", "dots1": "dots1", "ernie4_5_moe": "ernie4_5-moe", "hunyuan_v1_moe": "hunyuan-moe"}[modelType]
		names = combineNames(deepNames, llamaNames)
		if modelType == "glm4_moe" {
			names = combineNames(afterNames[:2], names)
			turning *= c.number("partial_rotary_factor")
			extra["nextn_predict_layers"] = uint32(0)
		}
		for key, field := range map[string]string{
			"expert_count": "moe_num_experts", "expert_used_count": "moe_k moe_topk", "expert_feed_forward_length": "moe_intermediate_size",
			"expert_shared_count": "n_shared_experts moe_num_shared_experts", "leading_dense_block_count": "first_k_dense_replace moe_layer_start_index",
			"interleave_moe_layer_step": "moe_layer_interval",
		} {
			if n := c.number(strings.Fields(field)...); n != 0 {
				extra[key] = uint32(n)
			}
		}
		if n := c.number("moe_num_shared_experts"); n != 0 {
			extra["expert_shared_feed_forward_length"] = uint32(n * c.number("moe_intermediate_size"))
		}
		if n := c.number("n_routed_experts"); n != 0 {
			extra["expert_count"], extra["expert_used_count"] = uint32(n), uint32(c.number("num_experts_per_tok"))
			extra["expert_weights_scale"], extra["expert_weights_norm"] = float32(c.number("routed_scaling_factor")), c.is("norm_topk_prob")
			extra["expert_gating_func"] = uint32(2)
		}
		if modelType == "hunyuan_v1_moe" {
			extra["expert_feed_forward_length"], extra["expert_shared_feed_forward_length"] = uint32(inner), uint32(inner)
		}
	case "deepseek_v2", "deepseek_v3":
		c.arch = "deepseek2"
		names = combineNames([]string{
			"self_attn.q_a_proj", "attn_q_a", "self_attn.q_a_layernorm", "attn_q_a_norm", "self_attn.q_b_proj", "attn_q_b",
			"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", "self_attn.kv_a_layernorm", "attn_kv_a_norm", "self_attn.kv_b_proj", "kv_b",
		}, deepNames, llamaNames)
		rank, turns := c.number("kv_lora_rank"), c.number("qk_rope_head_dim")
		turning = turns
		for key, n := range map[string]float64{
			"attention.q_lora_rank": c.number("q_lora_rank"), "attention.kv_lora_rank": rank, "attention.key_length": rank + turns, "attention.value_length": rank,
			"attention.key_length_mla": c.number("qk_nope_head_dim") + turns, "attention.value_length_mla": c.number("v_head_dim"), "attention.head_count_kv": 1,
			"leading_dense_block_count": c.number("first_k_dense_replace"), "expert_feed_forward_length": c.number("moe_intermediate_size"),
			"expert_count": c.number("n_routed_experts"), "expert_used_count": c.number("num_experts_per_tok"), "expert_shared_count": c.number("n_shared_experts"),
			"expert_group_count": c.number("n_group"), "expert_group_used_count": c.number("topk_group"),
		} {
			if n != 0 {
				extra[key] = uint32(n)
			}
		}
		extra["expert_weights_scale"], extra["expert_weights_norm"] = float32(c.number("routed_scaling_factor")), c.is("norm_topk_prob")
		extra["expert_gating_func"] = uint32(map[string]int{"deepseek_v2": 1, "deepseek_v3": 2}[modelType])
		if scaling, ok := c.config["rope_scaling"].(map[string]any); ok {
			if all, ok := scaling["mscale_all_dim"].(float64); ok {
				extra["rope.scaling.yarn_log_multiplier"] = float32(0.1 * all)
			}
		}
	case "gpt_oss":
		c.arch = "gpt-oss"
		extra["expert_feed_forward_length"] = uint32(inner)
		names = combineNames(afterNames[:2], []string{
			"mlp.router", "ffn_gate_inp", "self_attn.sinks", "attn_sinks", "mlp.experts.gate_up_proj", "gate_up_exps", "mlp.experts.down_proj", "down_exps",
			"mlp.experts.gate_up_proj_bias", "gate_up_exps_bias", "mlp.experts.down_proj_bias", "down_exps_bias",
		}, llamaNames)
	case "hunyuan_v1_dense":
		c.arch = "hunyuan-dense"
		names = combineNames(deepNames, llamaNames)
	case "mpt":
		layerNorm()
		options, _ := c.config["attn_config"].(map[string]any)
		if n, ok := options["alibi_bias_max"].(float64); ok {
			extra["attention.max_alibi_bias"] = float32(n)
		}
		if n, ok := options["clip_qkv"].(float64); ok {
			extra["attention.clamp_kqv"] = float32(n)
		}
		names = []string{
			"transformer.wte", "token_embd", "transformer.norm_f", "output_norm", "lm_head", "output",
			"norm_1", "attn_norm", "attn.Wqkv", "attn_qkv", "attn.out_proj", "attn_output", "norm_2", "ffn_norm", "ffn.up_proj", "ffn_up", "ffn.down_proj", "ffn_down",
		}
	case "lfm2":
		epsilon = c.number("norm_eps")
		extra["shortconv.l_cache"] = uint32(c.number("conv_L_cache"))
		var keys []uint32
		for _, kind := range c.config["layer_types"].([]any) {
			if kind == "full_attention" {
				keys = append(keys, uint32(c.keyHeads))
			} else {
				keys = append(keys, 0)
			}
		}
		extra["attention.head_count_kv"] = keys
		names = combineNames([]string{
			"model.embedding_norm", "token_embd_norm", "operator_norm", "attn_norm", "ffn_norm", "ffn_norm",
			"feed_forward.w1", "ffn_gate", "feed_forward.w3", "ffn_up", "feed_forward.w2", "ffn_down",
			"self_attn.out_proj", "attn_output", "self_attn.q_layernorm", "attn_q_norm", "self_attn.k_layernorm", "attn_k_norm",
			"conv.conv", "shortconv.conv", "conv.in_proj", "shortconv.in_proj", "conv.out_proj", "shortconv.out_proj",
		}, llamaNames)
	case "falcon_h1":
		c.arch = "falcon-h1"
		c.mamba(extra, nil)
		names = combineNames([]string{
			"model.final_layernorm", "output_norm", "pre_ff_layernorm", "ffn_norm",
			"feed_forward.gate_proj", "ffn_gate", "feed_forward.up_proj", "ffn_up", "feed_forward.down_proj", "ffn_down",
		}, mambaNames, llamaNames)
	case "apertus":
		names = combineNames([]string{"attention_layernorm", "attn_norm", "feedforward_layernorm", "ffn_norm"}, llamaNames)
		for key, constant := range map[string]string{"alpha_p": "alpha_p", "alpha_n": "alpha_n", "beta": "beta", "eps": "eps"} {
			var values []float32
			for layer := range c.layers {
				t, _ := weights.Tensor(fmt.Sprintf("model.layers.%d.mlp.act_fn.%s", layer, constant))
				value, err := t.Float32s()
				if err != nil {
					return err
				}
				values = append(values, value...)
			}
			c.file.Set("xielu."+key, values)
		}
	case "dbrx":
		layerNorm()
		epsilon = 1e-5
		attention, ffn := c.config["attn_config"].(map[string]any), c.config["ffn_config"].(map[string]any)
		c.keyHeads, inner = int(attention["kv_n_heads"].(float64)), ffn["ffn_hidden_size"].(float64)
		extra["attention.clamp_kqv"], extra["rope.freq_base"] = float32(attention["clip_qkv"].(float64)), float32(attention["rope_theta"].(float64))
		extra["expert_count"], extra["expert_used_count"] = uint32(ffn["moe_num_experts"].(float64)), uint32(ffn["moe_top_k"].(float64))
		names = []string{
			"transformer.wte", "token_embd", "transformer.norm_f", "output_norm", "lm_head", "output",
			"norm_attn_norm.norm_1", "attn_norm", "norm_attn_norm.attn.Wqkv", "attn_qkv", "norm_attn_norm.attn.out_proj", "attn_output", "norm_attn_norm.norm_2", "attn_output_norm",
			"ffn.router.layer", "ffn_gate_inp", "ffn.experts.mlp.w1", "gate_rows", "ffn.experts.mlp.v1", "up_rows", "ffn.experts.mlp.w2", "down_rows",
		}
	case "llama4_text":
		c.arch = "llama4"
		extra["expert_feed_forward_length"], extra["interleave_moe_layer_step"] = uint32(inner), uint32(c.number("interleave_moe_layer_step"))
		inner = c.number("intermediate_size_mlp")
		names = combineNames([]string{
			"feed_forward.gate_proj", "ffn_gate", "feed_forward.up_proj", "ffn_up", "feed_forward.down_proj", "ffn_down", "feed_forward.router", "ffn_gate_inp",
			"feed_forward.shared_expert.gate_proj", "ffn_gate_shexp", "feed_forward.shared_expert.up_proj", "ffn_up_shexp", "feed_forward.shared_expert.down_proj", "ffn_down_shexp",
			"feed_forward.experts.gate_up_proj", "gate_then_up_exps", "feed_forward.experts.down_proj", "down_exps",
		}, llamaNames)
	case "qwen3_next":
		c.arch = "qwen3next"
		turning *= c.number("partial_rotary_factor")
		heads := c.number("linear_num_value_heads")
		for key, n := range map[string]float64{
			"conv_kernel": c.number("linear_conv_kernel_dim"), "state_size": c.number("linear_key_head_dim"), "group_count": c.number("linear_num_key_heads"),
			"time_step_rank": heads, "inner_size": heads * c.number("linear_value_head_dim"),
		} {
			extra["ssm."+key] = uint32(n)
		}
		extra["expert_feed_forward_length"], extra["expert_shared_feed_forward_length"] = uint32(c.number("moe_intermediate_size")), uint32(c.number("shared_expert_intermediate_size"))
		interval := c.number("full_attention_interval")
		if interval == 0 {
			interval = 4
		}
		extra["full_attention_interval"] = uint32(interval)
		names = combineNames(afterNames[:2], []string{
			"linear_attn.in_proj_qkvz", "qkvz", "linear_attn.in_proj_ba", "ssm_ba", "linear_attn.conv1d", "ssm_conv1d", "linear_attn.dt_bias", "ssm_dt",
			"linear_attn.A_log", "ssm_a", "linear_attn.norm", "ssm_norm", "linear_attn.out_proj", "ssm_out",
		}, moeNames, llamaNames)
	case "gemma3n_text":
		c.arch = "gemma3n"
		c.gemma3n(extra)
		if list, ok := c.config["intermediate_size"].([]any); ok {
			inner = list[0].(float64)
		}
		names = combineNames(afterNames, []string{
			"model.embed_tokens_per_layer", "per_layer_token_embd", "model.per_layer_model_projection", "per_layer_model_proj", "model.per_layer_projection_norm", "per_layer_proj_norm",
			"per_layer_input_gate", "inp_gate", "per_layer_projection", "proj", "post_per_layer_input_norm", "post_norm",
			"altup.modality_router", "altup_router", "altup.router_norm", "altup_router_norm", "altup.prediction_coefs", "altup_predict_coef",
			"altup.correction_coefs", "altup_correct_coef", "altup.correct_output_scale", "altup_correct_scale",
			"laurel.linear_left", "laurel_l", "laurel.linear_right", "laurel_r", "laurel.post_laurel_norm", "laurel_post_norm",
		}, llamaNames)
	case "qwen2", "qwen3":
	case "qwen2_moe", "qwen3_moe":
		c.arch = strings.ReplaceAll(modelType, "_", "")
		names = combineNames(moeNames, llamaNames)
		extra["expert_feed_forward_length"] = uint32(c.number("moe_intermediate_size"))
		if n := c.number("shared_expert_intermediate_size"); n != 0 {
			extra["expert_shared_feed_forward_length"] = uint32(n)
		}
	case "gemma":
	case "gemma2", "gemma3_text":
		c.arch = strings.TrimSuffix(modelType, "_text")
		names = combineNames(afterNames, llamaNames)
		for _, key := range []string{"attn_logit_softcapping", "final_logit_softcapping"} {
			if n := c.number(key); n != 0 {
				extra[key] = float32(n)
			}
		}
	case "cohere", "cohere2":
		layerNorm()
		if modelType == "cohere" {
			c.arch = "command-r"
		}
		extra["logit_scale"] = float32(c.number("logit_scale"))
	case "phi3":
		names = combineNames([]string{"self_attn.qkv_proj", "attn_qkv", "mlp.gate_up_proj", "ffn_up"}, llamaNames)
	case "phi":
		c.arch = "phi2"
		layerNorm()
		turning *= c.number("partial_rotary_factor")
		names = combineNames([]string{"model.final_layernorm", "output_norm", "self_attn.dense", "attn_output", "mlp.fc1", "ffn_up", "mlp.fc2", "ffn_down"}, llamaNames)
	case "stablelm":
		layerNorm()
		turning *= c.number("partial_rotary_factor")
		extra["use_parallel_residual"] = c.is("use_parallel_residual")
	case "starcoder2":
		layerNorm()
		names = combineNames([]string{"mlp.c_fc", "ffn_up", "mlp.c_proj", "ffn_down"}, llamaNames)
	case "gpt2", "gpt_bigcode", "bloom", "falcon":
		layerNorm()
		names = transformerNames
		switch modelType {
		case "gpt_bigcode":
			c.arch, c.keyHeads = "starcoder", 1
		case "falcon":
			c.keyHeads = 1
			if c.is("new_decoder_architecture") {
				c.keyHeads = int(c.number("num_kv_heads"))
			}
			if c.is("alibi") {
				return fmt.Errorf("llama.cpp has no falcon with ALiBi")
			}
		}
	case "gpt_neox":
		c.arch = "gptneox"
		layerNorm()
		turning *= c.number("rotary_pct")
		extra["use_parallel_residual"] = c.is("use_parallel_residual")
		names = []string{
			"gpt_neox.embed_in", "token_embd", "gpt_neox.final_layer_norm", "output_norm", "embed_out", "output",
			"input_layernorm", "attn_norm", "post_attention_layernorm", "ffn_norm", "attention.query_key_value", "attn_qkv",
			"attention.dense", "attn_output", "mlp.dense_h_to_4h", "ffn_up", "mlp.dense_4h_to_h", "ffn_down",
		}
	default:
		return fmt.Errorf("llama.cpp has no %s", modelType)
	}
	c.names = names

	set := func(key string, value any) {
		if _, own := extra[key]; !own {
			c.file.Set(c.arch+"."+key, value)
		}
	}
	c.file.Set("general.architecture", c.arch)
	c.file.Set("general.name", "test")
	context := c.number("max_position_embeddings", "n_positions", "max_seq_len")
	if context == 0 {
		context = 2048
	}
	set("context_length", uint32(context))
	set("block_count", uint32(c.layers))
	set("embedding_length", uint32(c.hidden))
	set("feed_forward_length", uint32(inner))
	set("attention.head_count", uint32(c.heads))
	set("attention.head_count_kv", uint32(c.keyHeads))
	set(norm, float32(epsilon))
	if c.number("head_dim") != 0 {
		set("attention.key_length", uint32(c.size))
		set("attention.value_length", uint32(c.size))
	}
	if modelType != "gpt2" && modelType != "gpt_bigcode" && modelType != "bloom" && modelType != "mpt" {
		set("rope.dimension_count", uint32(turning))
		if theta := c.number("rope_theta"); theta != 0 {
			set("rope.freq_base", float32(theta))
		}
	}
	if n := c.number("num_local_experts", "num_experts"); n != 0 {
		set("expert_count", uint32(n))
		set("expert_used_count", uint32(c.number("num_experts_per_tok")))
	}
	if n := c.number("sliding_window"); n != 0 && !strings.HasPrefix(modelType, "qwen") {
		set("attention.sliding_window", uint32(n))
	}
	if n := c.number("sliding_window_pattern"); n != 0 && extra["attention.sliding_window_pattern"] == nil {
		set("attention.sliding_window_pattern", uint32(n))
	}
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		c.file.Set(c.arch+"."+key, extra[key])
	}
	return c.scaling(set)
}

func combineNames(tables ...[]string) []string { return slices.Concat(tables...) }

// scaling writes how rotary frequencies are scaled.
func (c *converter) scaling(set func(string, any)) error {
	scaling, ok := c.config["rope_scaling"].(map[string]any)
	if !ok {
		return nil
	}
	number := func(name string) float64 { f, _ := scaling[name].(float64); return f }
	kind, _ := scaling["rope_type"].(string)
	if kind == "" {
		kind, _ = scaling["type"].(string)
	}
	list := func(name string) (out []float32) {
		for _, v := range scaling[name].([]any) {
			out = append(out, float32(v.(float64)))
		}
		return out
	}
	table := func(name string, values []float32) {
		c.file.Tensors = append(c.file.Tensors, Tensor{name, gguf.F32, []int{len(values)}, Encode(gguf.F32, values)})
	}
	switch kind {
	case "linear":
		set("rope.scaling.type", "linear")
		set("rope.scaling.factor", float32(number("factor")))
	case "yarn":
		set("rope.scaling.type", "yarn")
		set("rope.scaling.factor", float32(number("factor")))
		original := number("original_max_position_embeddings")
		if original == 0 {
			original = c.number("max_position_embeddings")
		}
		set("rope.scaling.original_context_length", uint32(original))
		if n := number("attention_factor"); n != 0 {
			set("rope.scaling.attn_factor", float32(n))
		}
	case "llama3":
		// The factors that transformers' frequencies are divided by.
		var factors []float32
		low := number("original_max_position_embeddings") / number("low_freq_factor")
		high := number("original_max_position_embeddings") / number("high_freq_factor")
		for i := 0; i < c.size; i += 2 {
			wave := 2 * math.Pi * math.Pow(c.number("rope_theta"), float64(i)/float64(c.size))
			switch {
			case wave < high:
				factors = append(factors, 1)
			case wave > low:
				factors = append(factors, float32(number("factor")))
			default:
				smooth := (number("original_max_position_embeddings")/wave - number("low_freq_factor")) / (number("high_freq_factor") - number("low_freq_factor"))
				factors = append(factors, float32(1/((1-smooth)/number("factor")+smooth)))
			}
		}
		table("rope_freqs.weight", factors)
	case "longrope":
		set("rope.scaling.original_context_length", uint32(c.number("original_max_position_embeddings")))
		scale := c.number("max_position_embeddings") / c.number("original_max_position_embeddings")
		set("rope.scaling.attn_factor", float32(math.Sqrt(1+math.Log(scale)/math.Log(c.number("original_max_position_embeddings")))))
		table("rope_factors_long.weight", list("long_factor"))
		table("rope_factors_short.weight", list("short_factor"))
	default:
		return fmt.Errorf("GGUF has no rope scaling of type %q", kind)
	}
	return nil
}

var (
	inBlock  = regexp.MustCompile(`^(?:model\.layers|transformer\.h|transformer\.blocks|gpt_neox\.layers)\.(\d+)\.(.+)\.(weight|bias)$`)
	bare     = regexp.MustCompile(`^model\.layers\.(\d+)\.(.+\.(?:A_log|D|dt_bias|e_score_correction_bias|sinks|gate_up_proj|down_proj|gate_up_proj_bias|down_proj_bias|correct_output_scale))$`)
	rows     = regexp.MustCompile(`^transformer\.blocks\.(\d+)\.(ffn\.experts\.mlp\.[wv]\d)$`)
	outside  = regexp.MustCompile(`^(.+)\.(weight|bias)$`)
	expertOf = regexp.MustCompile(`^(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)$`)
	streamOf = regexp.MustCompile(`^model\.altup_(unembed_)?projections\.(\d+)$`)
	headOf   = regexp.MustCompile(`^self_attn\.([qk])_layernorm\.norms\.(\d+)$`)
)

// tensor writes one tensor, or keeps it to be stacked.
func (c *converter) tensor(name string, stored safetensors.DType, m matrix) error {
	layer, base, suffix := "", "", ""
	if parts := inBlock.FindStringSubmatch(name); parts != nil {
		layer, base, suffix = "blk."+parts[1]+".", parts[2], parts[3]
	} else if parts := bare.FindStringSubmatch(name); parts != nil {
		layer, base = "blk."+parts[1]+".", parts[2]
	} else if parts := rows.FindStringSubmatch(name); parts != nil {
		layer, base = "blk."+parts[1]+".", parts[2]
	} else if parts := outside.FindStringSubmatch(name); parts != nil {
		base, suffix = parts[1], parts[2]
	}
	if strings.Contains(name, ".mlp.act_fn.") {
		return nil // metadata
	}
	if parts := streamOf.FindStringSubmatch(base); parts != nil {
		c.stack(map[string]string{"": "altup_proj", "unembed_": "altup_unembd_proj"}[parts[1]]+".weight", parts[2], m)
		return nil
	}
	if parts := expertOf.FindStringSubmatch(base); parts != nil {
		part := map[string]string{"w1": "gate", "w2": "down", "w3": "up", "gate_proj": "gate", "down_proj": "down", "up_proj": "up"}[parts[2]]
		c.stack(layer+"ffn_"+part+"_exps."+suffix, parts[1], m)
		return nil
	}
	if parts := headOf.FindStringSubmatch(base); parts != nil {
		c.stack(layer+"attn_"+parts[1]+"_norm."+suffix, parts[2], m)
		return nil
	}
	to := ""
	for i := 0; i < len(c.names); i += 2 {
		if c.names[i] == base {
			to = c.names[i+1]
			break
		}
	}
	if to == "" {
		return fmt.Errorf("llama.cpp has no name for %s", name)
	}
	switch c.arch {
	case "llama", "granite", "granitemoe", "granitehybrid", "olmo", "smollm3", "arcee":
		switch to {
		case "attn_q":
			m = pair(m, c.heads)
		case "attn_k":
			m = pair(m, c.keyHeads)
		}
	case "gemma", "gemma2", "gemma3", "nemotron", "qwen3next":
		if strings.HasSuffix(to, "norm") && to != "ssm_norm" && suffix == "weight" {
			m.values = slices.Clone(m.values)
			for i := range m.values {
				m.values[i]++
			}
		}
	case "gpt2":
		if len(m.shape) == 2 && layer != "" {
			m = transpose(m)
		}
	case "bloom", "gptneox", "falcon":
		if to == "attn_qkv" {
			m = c.separate(m)
		}
	}
	switch to {
	case "kv_b":
		c.headsApart(layer, stored, m)
		return nil
	case "attn_sinks":
		suffix = "weight"
	case "qkvz":
		c.apart(layer, stored, m)
		return nil
	case "gate_rows", "up_rows", "down_rows":
		c.rowsApart(layer, strings.TrimSuffix(to, "_rows"), stored, m)
		return nil
	case "altup_correct_scale":
		suffix = "weight"
	case "gate_up_exps", "gate_then_up_exps", "down_exps": // [experts, in, out]
		c.turned(layer, to, stored, m)
		return nil
	case "down_exps_bias":
		c.write(layer+"ffn_down_exps.bias", stored, m)
		return nil
	case "gate_up_exps_bias":
		for i, part := range []string{"gate", "up"} {
			var values []float32
			for at := i; at < len(m.values); at += 2 {
				values = append(values, m.values[at])
			}
			c.write(layer+"ffn_"+part+"_exps.bias", stored, matrix{values, []int{m.shape[0], m.shape[1] / 2}})
		}
		return nil
	case "exps", "shexp":
		c.halves(layer, to, stored, m)
		return nil
	case "ssm_norm":
		if c.arch == "qwen3next" {
			break
		}
		m.shape = []int{int(c.number("mamba_n_groups")), len(m.values) / int(c.number("mamba_n_groups"))}
	case "exp_probs_b", "ssm_dt":
		suffix, m.shape = "bias", []int{len(m.values)}
	case "ssm_a", "ssm_d":
		if m.shape = []int{len(m.values), 1}; c.arch == "qwen3next" {
			m.shape = []int{len(m.values)}
		}
		if to == "ssm_a" {
			m.values = slices.Clone(m.values)
			for i, v := range m.values {
				m.values[i] = float32(-math.Exp(float64(v)))
			}
		}
		c.write(layer+to, stored, m)
		return nil
	case "ffn_norm":
		if c.arch == "falcon-h1" {
			c.write(layer+to, stored, m)
			return nil
		}
	case "ssm_conv1d", "shortconv.conv":
		if suffix == "weight" {
			m.shape = []int{m.shape[0], m.shape[2]}
		} else if !c.is("conv_bias") && to == "shortconv.conv" {
			return nil // the format has none
		}
	case "shortconv.in_proj", "shortconv.out_proj":
		if suffix == "bias" {
			return nil
		}
	}
	if to == "ffn_gate_inp_shexp" {
		m.shape = []int{c.hidden}
	}
	c.write(layer+to+"."+suffix, stored, m)
	return nil
}

// write stores vectors and routers as F32 and matrices as asked for.
func (c *converter) write(name string, stored safetensors.DType, m matrix) {
	kind := gguf.F32
	if len(m.shape) > 1 && !strings.Contains(name, "norm") && !strings.Contains(name, "ffn_gate_inp") && !strings.HasSuffix(name, ".bias") && !strings.Contains(name, "ssm_") && !strings.Contains(name, "shortconv.conv") {
		switch {
		case c.force:
			kind = c.kind
		case stored == safetensors.BF16:
			kind = gguf.BF16
		}
	}
	c.file.Tensors = append(c.file.Tensors, Tensor{name, kind, m.shape, Encode(kind, m.values)})
}

func (c *converter) stack(name, number string, m matrix) {
	i, _ := strconv.Atoi(number)
	for len(c.stacks[name]) <= i {
		c.stacks[name] = append(c.stacks[name], matrix{})
	}
	c.stacks[name][i] = m
}

func (c *converter) stacked() {
	for _, name := range slices.Sorted(maps.Keys(c.stacks)) {
		var all matrix
		for _, m := range c.stacks[name] {
			all.values = append(all.values, m.values...)
			all.shape = append([]int{len(c.stacks[name])}, m.shape...)
		}
		c.write(name, safetensors.F32, all)
	}
}

// rowsOf returns the rows of a matrix and their width; a vector has a row for
// each element.
func rowsOf(m matrix) (rows, width int) {
	if len(m.shape) == 1 {
		return m.shape[0], 1
	}
	return m.shape[0], m.shape[1]
}

// pair views each head's rows as [2, size/2] and turns that into [size/2, 2].
func pair(m matrix, heads int) matrix {
	rows, width := rowsOf(m)
	half := rows / heads / 2
	var out []float32
	for head := range heads {
		for i := range half {
			for j := range 2 {
				row := head*2*half + j*half + i
				out = append(out, m.values[row*width:(row+1)*width]...)
			}
		}
	}
	return matrix{out, m.shape}
}

// separate takes a fused projection apart: all queries, all keys, all values.
func (c *converter) separate(m matrix) matrix {
	_, width := rowsOf(m)
	each := (c.heads/c.keyHeads + 2) * c.size // rows of a group
	var q, k, v []float32
	for g := range c.keyHeads {
		at := g * each
		take := func(heads int) []float32 {
			from := at
			at += heads * c.size
			return m.values[from*width : at*width]
		}
		q = append(q, take(c.heads/c.keyHeads)...)
		k = append(k, take(1)...)
		v = append(v, take(1)...)
	}
	return matrix{slices.Concat(q, k, v), m.shape}
}

func transpose(m matrix) matrix {
	out := make([]float32, len(m.values))
	rows, width := m.shape[0], m.shape[1]
	for r := range rows {
		for i := range width {
			out[i*rows+r] = m.values[r*width+i]
		}
	}
	return matrix{out, []int{width, rows}}
}
