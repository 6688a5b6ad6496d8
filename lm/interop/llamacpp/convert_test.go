package llamacpp

import (
	"testing"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/demo"
)

// What a checkpoint is written as, llama.cpp opens, and computes the same logits. Not
// compared are goldens with what libllama leaves out, refuses or takes otherwise: the
// windows of exaone4 and olmo3, the sparse mixer of phimoe, groups of experts and the
// size of deepseek_v2, query norms of cohere, biases of ernie4_5 and of gpt_neox_seq, fewer
// keys than queries of dots1 and olmoe, experts on some layers only of qwen2_moe and
// qwen3_moe, and phi3's long factors, which it chooses by the size of its context.
func TestConvertedCheckpointsComputeTheSameInBoth(t *testing.T) {
	libraries(t)
	const (
		exact = 1e-4
		gelu  = 1.2e-2 // llama.cpp looks GELU up in a table of float16
	)
	for name, c := range map[string]struct {
		tolerance float64
		set       map[string]any
	}{
		demo.Name: {exact, nil}, "arcee": {exact, nil}, "cohere": {exact, nil}, "cohere2": {exact, nil}, "ernie4_5_moe": {exact, nil}, "falcon_h1": {exact, nil}, "glm4": {exact, nil},
		"glm4_moe": {exact, nil}, "gpt_oss": {exact, nil}, "granite": {exact, nil}, "granitemoe": {exact, nil}, "granitemoehybrid": {exact, nil}, "granitemoeshared": {exact, nil},
		"hunyuan_v1_dense": {exact, nil}, "hunyuan_v1_moe": {exact, nil}, "llama": {exact, nil}, "llama_linearrope": {exact, nil}, "llama_llama3rope": {exact, nil}, "llama_mha_bias_tied": {exact, nil},
		"llama_yarnrope": {exact, nil}, "llama_yarnrope_orig": {exact, nil}, "mistral_headdim": {exact, nil}, "mixtral": {exact, nil}, "nemotron": {exact, nil}, "olmo": {exact, nil},
		"olmo2": {exact, nil}, "qwen2": {exact, nil}, "qwen3": {exact, nil}, "seed_oss": {exact, nil}, "stablelm": {exact, nil}, "stablelm_parallel": {exact, nil},
		"bloom": {gelu, nil}, "falcon": {gelu, nil}, "falcon_new": {gelu, nil}, "gemma": {gelu, nil}, "gemma2": {gelu, nil}, "gpt2": {gelu, nil}, "gpt_bigcode": {gelu, nil}, "gpt_neox": {gelu, nil},
		"mpt": {gelu, nil}, "phi": {gelu, nil},
		"gemma3_text": {gelu, map[string]any{"query_pre_attn_scalar": 10}},
		"lfm2":        {exact, map[string]any{"conv_bias": false}}, "qwen2_window": {exact, map[string]any{"use_sliding_window": false}},
		"smollm3":     {exact, map[string]any{"no_rope_layers": nil, "layer_types": nil}},
		"deepseek_v3": {exact, map[string]any{"rope_scaling": map[string]any{"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 16, "mscale": 0.8, "mscale_all_dim": 0.8}}},
		"phi3":        {exact, map[string]any{"sliding_window": nil}}, "starcoder2": {gelu, map[string]any{"sliding_window": nil}},
		"mistral": {exact, map[string]any{"sliding_window": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := openBoth(t, name, conversion{gguf.F32, c.set}, 0)
			theirs.tolerance = c.tolerance
			theirs.compare(t, "logits", nil, ours.Decoder().Hidden, ourLogits(t, ours), 0)
		})
	}
}

// In other numbers than float32 llama.cpp rounds the activations as well, to eight bits
// where weights are in blocks.
func TestRoundedCheckpointsComputeNearlyTheSameInBoth(t *testing.T) {
	libraries(t)
	for _, kind := range append([]gguf.Type{gguf.BF16, gguf.F16}, gguf.Quantizable()...) {
		t.Run(kind.String(), func(t *testing.T) {
			ours, theirs := openBoth(t, demo.Name, conversion{kind: kind}, 0)
			theirs.tolerance = 0.2
			theirs.compare(t, "logits", nil, ours.Decoder().Hidden, ourLogits(t, ours), 0)
		})
	}
}
