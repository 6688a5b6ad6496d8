package llamacpp

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/demo"
)

// exactly is how far logits of up to 15 are apart that two engines compute in float32;
// byTable, where llama.cpp looks GELU up in a table of float16.
const (
	exactly = 1e-4
	byTable = 3e-2
)

// comparable are the goldens that llama.cpp computes as they are described, given
// what it takes for granted. Not among them are those of which it leaves something
// out, refuses it or takes it otherwise: the windows of exaone4 and olmo3, the sparse
// mixer of phimoe, the size of deepseek_v2, biases of ernie4_5 and of gpt_neox_seq, fewer
// keys than queries of dots1 and olmoe, experts on some layers only of qwen2_moe and
// qwen3_moe, and phi3's long factors, which it chooses by the size of its context.
var comparable = map[string]struct {
	set       map[string]any // fields of config.json; nil removes one
	remake    func(tensors []seeded.Tensor) []seeded.Tensor
	tolerance float64
}{
	"apertus": {tolerance: exactly},
	"arcee":   {tolerance: exactly},
	"bloom":   {tolerance: byTable},
	"cohere":  {tolerance: exactly},
	"cohere2": {tolerance: exactly},
	"dbrx":    {tolerance: exactly},
	// Without YaRN and groups of experts, which transformers takes otherwise. Other models need 26 or 27 layers where queries are not compressed.
	"deepseek_v2_group": {tolerance: exactly, set: map[string]any{"rope_scaling": nil, "n_group": 1, "topk_group": 1}},
	"deepseek_v3": {tolerance: exactly, set: map[string]any{"rope_scaling": map[string]any{ // the format has one magnitude for both
		"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 16, "mscale": 0.8, "mscale_all_dim": 0.8}}},
	"ernie4_5_moe": {tolerance: exactly},
	"falcon":       {tolerance: byTable},
	"falcon_h1":    {tolerance: exactly},
	"falcon_new":   {tolerance: byTable},
	"gemma":        {tolerance: byTable},
	"gemma2":       {tolerance: byTable, set: map[string]any{"query_pre_attn_scalar": 10}}, // the head size
	"gemma3_text":  {tolerance: byTable, set: map[string]any{"query_pre_attn_scalar": 10}},
	// 23 layers of GELUs, and a deviation that llama.cpp takes over one gate less.
	"gemma3n_text":        {tolerance: 0.1, set: gemma3nConfig, remake: remakeGemma3n},
	"glm4":                {tolerance: exactly},
	"glm4_moe":            {tolerance: exactly},
	"gpt2":                {tolerance: byTable},
	"gpt_bigcode":         {tolerance: byTable},
	"gpt_neox":            {tolerance: byTable},
	"gpt_oss":             {tolerance: exactly},
	"granite":             {tolerance: exactly},
	"granitemoe":          {tolerance: exactly},
	"granitemoehybrid":    {tolerance: exactly},
	"granitemoeshared":    {tolerance: exactly},
	"hunyuan_v1_dense":    {tolerance: exactly},
	"hunyuan_v1_moe":      {tolerance: exactly},
	"lfm2":                {tolerance: exactly, set: map[string]any{"conv_bias": false}}, // the format has no word for it
	"llama":               {tolerance: exactly},
	"llama4_text":         {tolerance: exactly, set: llama4Config, remake: remakeLlama4},
	"llama_linearrope":    {tolerance: exactly},
	"llama_llama3rope":    {tolerance: exactly},
	"llama_mha_bias_tied": {tolerance: exactly},
	"llama_yarnrope":      {tolerance: exactly},
	"llama_yarnrope_orig": {tolerance: exactly},
	"mistral":             {tolerance: exactly, set: map[string]any{"sliding_window": nil}},
	"mistral_headdim":     {tolerance: exactly},
	"mixtral":             {tolerance: exactly},
	"mpt":                 {tolerance: byTable},
	"nemotron":            {tolerance: exactly},
	"olmo":                {tolerance: exactly},
	"olmo2":               {tolerance: exactly},
	"phi":                 {tolerance: byTable},
	"phi3":                {tolerance: exactly, set: map[string]any{"sliding_window": nil}},
	"qwen2":               {tolerance: exactly},
	"qwen2_window":        {tolerance: exactly, set: map[string]any{"use_sliding_window": false}},
	"qwen3":               {tolerance: exactly},
	"qwen3_next":          {tolerance: exactly, set: qwen3NextConfig, remake: remakeQwen3Next},
	"seed_oss":            {tolerance: exactly},
	"smollm3":             {tolerance: exactly, set: map[string]any{"no_rope_layers": nil, "layer_types": nil}},
	"stablelm":            {tolerance: exactly},
	"stablelm_parallel":   {tolerance: exactly},
	"starcoder2":          {tolerance: byTable, set: map[string]any{"sliding_window": nil}},
}

// A file that our converter writes gives here the logits that llama.cpp computes of it.
func TestLogitsAreThoseOfLlamaCpp(t *testing.T) {
	libraries(t)
	for _, name := range slices.Sorted(maps.Keys(comparable)) {
		how := comparable[name]
		t.Run(name, func(t *testing.T) {
			ours, theirs := openBoth(t, name, gguf.F32, 0)
			theirs.tolerance = how.tolerance
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
			ours, theirs := openBoth(t, demo.Name, kind, 0)
			theirs.tolerance = 0.2
			theirs.compare(t, "logits", nil, ours.Decoder().Hidden, ourLogits(t, ours), 0)
		})
	}
}

// adjusted makes a golden's checkpoint with some fields of its config and some tensors
// changed.
func adjusted(t *testing.T, name string, set map[string]any, remake func([]seeded.Tensor) []seeded.Tensor) fstest.MapFS {
	t.Helper()
	above := t.TempDir()
	folder := filepath.Join(above, name)
	if err := os.CopyFS(folder, os.DirFS(goldens+name)); err != nil {
		t.Fatal(err)
	}
	for _, shared := range []string{"tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(goldens + shared)
		if err == nil {
			err = os.WriteFile(filepath.Join(above, shared), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	edit(t, filepath.Join(folder, "config.json"), func(config map[string]any) {
		maps.Copy(config, set)
		maps.DeleteFunc(config, func(_ string, v any) bool { return v == nil })
	})
	if remake != nil {
		edit(t, filepath.Join(folder, "tensors.json"), func(made map[string]any) {
			data, err := json.Marshal(made["tensors"])
			if err != nil {
				t.Fatal(err)
			}
			var tensors []seeded.Tensor
			if err := json.Unmarshal(data, &tensors); err != nil {
				t.Fatal(err)
			}
			made["tensors"] = remake(tensors)
		})
	}
	files, err := seeded.Files(folder)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// edit changes a JSON file.
func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	change(object)
	if data, err = json.Marshal(object); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// llama4Config is what llama.cpp takes for granted: chunks of 8192 positions, and no
// rotation on every fourth layer, of which there is one.
var llama4Config = map[string]any{"num_hidden_layers": 4, "no_rope_layers": nil, "moe_layers": nil, "layer_types": nil, "attention_chunk_size": nil, "floor_scale": nil}

func remakeLlama4(tensors []seeded.Tensor) (out []seeded.Tensor) {
	for _, tensor := range tensors {
		if out = append(out, tensor); strings.HasPrefix(tensor.Name, "model.layers.1.") {
			fourth := tensor
			fourth.Name = strings.Replace(tensor.Name, ".1.", ".3.", 1)
			out = append(out, fourth)
		}
	}
	return out
}

// qwen3NextConfig has values as large as keys, and experts on every layer.
var qwen3NextConfig = map[string]any{"linear_value_head_dim": 6, "mlp_only_layers": []int{}, "full_attention_interval": 2}

func remakeQwen3Next(tensors []seeded.Tensor) (out []seeded.Tensor) {
	shapes := map[string][]int{"conv1d.weight": {48, 1, 4}, "in_proj_qkvz.weight": {72, 48}, "linear_attn.norm.weight": {6}, "linear_attn.out_proj.weight": {48, 24}}
	for _, tensor := range tensors {
		if strings.HasPrefix(tensor.Name, "model.layers.0.mlp.") {
			continue
		}
		if rest, is := strings.CutPrefix(tensor.Name, "model.layers.2.mlp."); is {
			first := tensor
			first.Name = "model.layers.0.mlp." + rest
			out = append(out, first)
		}
		out = append(out, reshaped(tensor, shapes))
	}
	return out
}

// gemma3nConfig has as many streams, elements and sparse layers as llama.cpp expects;
// of more than 20 layers the last have no keys.
var gemma3nConfig = map[string]any{
	"num_hidden_layers": 23, "num_kv_shared_layers": 3, "altup_num_inputs": 4, "hidden_size_per_layer_input": 256, "laurel_rank": 64, "final_logit_softcapping": 30,
	"rope_theta": 1e6, "intermediate_size": 2048, "layer_types": gemma3nLayers(), "activation_sparsity_pattern": gemma3nSparsity(),
}

func gemma3nLayers() (types []string) {
	for layer := range 23 {
		if (layer+1)%5 == 0 {
			types = append(types, "full_attention")
		} else {
			types = append(types, "sliding_attention")
		}
	}
	return types
}

func gemma3nSparsity() []float64 {
	pattern := make([]float64, 23)
	for layer := range 10 {
		pattern[layer] = 0.95
	}
	return pattern
}

var layerZero = regexp.MustCompile(`^model\.layers\.0\.`)

func remakeGemma3n(tensors []seeded.Tensor) (out []seeded.Tensor) {
	shapes := map[string][]int{
		"gate_proj.weight": {2048, 48}, "up_proj.weight": {2048, 48}, "down_proj.weight": {48, 2048}, "correction_coefs.weight": {4, 4}, "prediction_coefs.weight": {16, 4},
		"modality_router.weight": {4, 48}, "linear_left.weight": {64, 48}, "linear_right.weight": {48, 64}, "per_layer_input_gate.weight": {256, 48},
		"per_layer_projection.weight": {48, 256}, "embed_tokens_per_layer.weight": {263, 23 * 256}, "per_layer_model_projection.weight": {23 * 256, 48}, "per_layer_projection_norm.weight": {256},
	}
	for _, tensor := range tensors {
		tensor = reshaped(tensor, shapes)
		switch {
		case layerZero.MatchString(tensor.Name):
			for layer := range 23 {
				one := tensor
				one.Name = layerZero.ReplaceAllString(tensor.Name, "model.layers."+strconv.Itoa(layer)+".")
				out = append(out, one)
			}
		case strings.Contains(tensor.Name, ".layers."):
		case strings.Contains(tensor.Name, "altup_") && strings.Contains(tensor.Name, ".1."):
			another := tensor
			another.Name = strings.Replace(tensor.Name, ".1.", ".2.", 1)
			out = append(out, tensor, another)
		default:
			out = append(out, tensor)
		}
	}
	return out
}

// reshaped gives a tensor another shape by the end of its name.
func reshaped(tensor seeded.Tensor, shapes map[string][]int) seeded.Tensor {
	for end, shape := range shapes {
		if strings.HasSuffix(tensor.Name, end) {
			tensor.Shape = shape
		}
	}
	return tensor
}
