package translate

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// tellGraniteHybrid says which layers have a state space, and whether positions turn.
func tellGraniteHybrid(w *writing) {
	w.counts(map[string]string{"expert_shared_feed_forward_length": "shared_intermediate_size"})
	w.kinds("attention")
	w.set("ssm.inner_size", uint32(w.size("mamba_expand", 2)*w.shape.hidden))
	w.set("rope.scaling.finetuned", w.config["position_embedding_type"] == "rope")
	dense := w.number("num_local_experts") == 0
	for _, name := range []string{"ffn_gate", "ffn_up", "ffn_down"} {
		if dense {
			name += "_shexp"
		}
		w.arch.parts = without(w.arch.parts, name)
	}
}

// Of deepExperts, how a token chooses: by a sigmoid, or by a softmax.
const (
	bySoftmax = uint32(1)
	bySigmoid = uint32(2)
)

func tellDeepExperts(w *writing) {
	if w.number("num_nextn_predict_layers") > 0 || w.config["model_type"] == "glm4_moe" {
		w.set("nextn_predict_layers", uint32(0)) // they are left out
	}
	w.counts(deepKeys)
	w.set("expert_gating_func", bySigmoid)
	w.copy("expert_weights_norm", "norm_topk_prob")
}

func tellDeepSeek(w *writing) {
	w.set("expert_gating_func", map[bool]uint32{true: bySoftmax, false: bySigmoid}[w.config["model_type"] == "deepseek_v2"])
	w.counts(deepKeys)
	w.counts(map[string]string{"attention.q_lora_rank": "q_lora_rank"})
	rank, turns := w.size("kv_lora_rank", 0), w.size("qk_rope_head_dim", 0)
	w.set("attention.head_count_kv", uint32(1))
	w.set("attention.key_length", uint32(rank+turns))
	w.set("attention.value_length", uint32(rank))
	w.set("attention.key_length_mla", uint32(w.size("qk_nope_head_dim", 0)+turns))
	w.set("attention.value_length_mla", uint32(w.size("v_head_dim", 0)))
	w.set("rope.dimension_count", uint32(turns))
	if scaling, ok := w.config["rope_scaling"].(object); ok {
		if all, ok := scaling["mscale_all_dim"].(float64); ok {
			w.set("rope.scaling.yarn_log_multiplier", float32(0.1*all))
		}
	}
}

func tellErnieMoE(w *writing) {
	w.counts(map[string]string{"expert_shared_count": "moe_num_shared_experts"})
	if n := w.number("moe_num_shared_experts"); n > 0 {
		w.set("expert_shared_feed_forward_length", uint32(n)*uint32(w.size("moe_intermediate_size", 0)))
	}
}

func tellHunyuanMoE(w *writing) {
	inner := uint32(w.size("intermediate_size", 0))
	w.set("expert_feed_forward_length", inner)
	w.set("expert_shared_feed_forward_length", inner)
}

// tellLFM2 leaves out biases that a checkpoint may hold beside a config that says there
// are none.
func tellLFM2(w *writing) {
	w.kinds("full_attention")
	if w.config["conv_bias"] == true {
		return
	}
	for layer := range w.shape.layers {
		for _, name := range []string{"conv", "in_proj", "out_proj"} {
			w.used[fmt.Sprintf("model.layers.%d.conv.%s.bias", layer, name)] = true
		}
	}
}

func tellMPT(w *writing) {
	options, _ := w.config["attn_config"].(object)
	for _, o := range []struct{ key, field string }{{"attention.max_alibi_bias", "alibi_bias_max"}, {"attention.clamp_kqv", "clip_qkv"}} {
		if n, ok := options[o.field].(float64); ok {
			w.set(o.key, float32(n))
		}
	}
}

// tellQwen leaves a window out that is not used.
func tellQwen(w *writing) {
	if w.config["use_sliding_window"] != true {
		w.config["sliding_window"] = nil
	}
}

func tellExperts(w *writing) {
	tellQwen(w)
	w.copy("expert_feed_forward_length", "moe_intermediate_size")
	w.copy("expert_shared_feed_forward_length", "shared_expert_intermediate_size")
	w.copy("expert_weights_norm", "norm_topk_prob")
}

func tellGemma(w *writing) {
	for _, key := range []string{"attn_logit_softcapping", "final_logit_softcapping"} {
		w.copy(key, key)
	}
	w.copy("rope.freq_base_swa", "rope_local_base_freq")
	w.sliding()
}

func tellCohere(w *writing) {
	w.copy("logit_scale", "logit_scale")
	w.sliding()
}

// tellApertus writes the constants of activations, which checkpoints keep as tensors.
func tellApertus(w *writing) {
	for _, name := range []string{"alpha_p", "alpha_n", "beta", "eps"} {
		var all []float32
		for layer := range w.shape.layers {
			t, ok := w.find(fmt.Sprintf("model.layers.%d.mlp.act_fn.%s", layer, name))
			if !ok || t.Len() != 1 {
				w.fail("layer %d has no constant %s of its activation", layer, name)
				return
			}
			value, err := t.Float32s()
			if err != nil {
				w.fail("%w", err)
				return
			}
			all = append(all, value...)
		}
		w.file.Set("xielu."+name, all)
	}
}

// tellDBRX tells what the config has in objects of its own.
func tellDBRX(w *writing) {
	attention, _ := w.config["attn_config"].(object)
	ffn, _ := w.config["ffn_config"].(object)
	of := writing{config: object{}}
	maps.Copy(of.config, attention)
	maps.Copy(of.config, ffn)
	w.shape.keyHeads = of.size("kv_n_heads", 1)
	w.set("feed_forward_length", uint32(of.size("ffn_hidden_size", 0)))
	w.set("expert_count", uint32(of.size("moe_num_experts", 0)))
	w.set("expert_used_count", uint32(of.size("moe_top_k", 0)))
	w.set("attention.layer_norm_epsilon", float32(1e-5))
	w.set("rope.freq_base", float32(of.number("rope_theta")))
	if clip := of.number("clip_qkv"); clip > 0 {
		w.set("attention.clamp_kqv", float32(clip))
	}
	if w.err == nil {
		w.err = of.err
	}
}

// tellLlama4 tells the two widths that a config has under other names.
func tellLlama4(w *writing) {
	w.set("feed_forward_length", uint32(w.size("intermediate_size_mlp", 0)))
}

func tellQwen3Next(w *writing) {
	tellExperts(w)
	for field, usual := range map[string]float64{"partial_rotary_factor": 0.25, "full_attention_interval": 4} {
		if w.config[field] == nil {
			w.config[field] = usual
		}
	}
	w.copy("full_attention_interval", "full_attention_interval")
	w.set("ssm.inner_size", uint32(w.size("linear_num_value_heads", 0))*uint32(w.size("linear_value_head_dim", 0)))
	w.arch.parts = without(w.arch.parts, "ssm_in")
}

// tellGemma3n writes the quantile for the share of gates that are closed.
func tellGemma3n(w *writing) {
	if list, ok := w.config["intermediate_size"].([]any); ok && len(list) > 0 {
		if slices.ContainsFunc(list, func(n any) bool { return n != list[0] }) {
			w.fail("config.json: intermediate_size differs from layer to layer, which is not written")
			return
		}
		w.config["intermediate_size"] = list[0]
	}
	tellGemma(w)
	shares, _ := w.config["activation_sparsity_pattern"].([]any)
	if shares == nil {
		return
	}
	quantiles := make([]float32, len(shares))
	for i, share := range shares {
		n, _ := share.(float64)
		quantiles[i] = float32(math.Sqrt2 * math.Erfinv(2*n-1))
	}
	w.set("activation_sparsity_scale", quantiles)
}

// tellFalcon tells how many keys there are, and which names norms have: see settleFalcon.
func tellFalcon(w *writing) {
	w.shape.keyHeads = 1
	if w.config["new_decoder_architecture"] == true {
		w.shape.keyHeads = w.size("num_kv_heads", w.shape.heads)
	}
	if w.config["alibi"] == true {
		w.fail("config.json: llama.cpp has no falcon with ALiBi")
	}
	if _, ok := w.from.Tensor("transformer.h.0.ln_mlp.weight"); ok {
		w.arch.parts = falconNorms
	}
}
