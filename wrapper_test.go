package steer_test

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
)

// A multimodal checkpoint is read as its text model, whatever its tensors'
// prefix; tensors of other parts are left alone.
func TestMultimodalCheckpointsAreReadAsTheirTextModel(t *testing.T) {
	old := func(name string) string { return "language_model." + name }
	inner := func(name string) string {
		if short, ok := strings.CutPrefix(name, "model."); ok {
			return "model.language_model." + short
		}
		return name
	}
	same := func(name string) string { return name }
	mrope := map[string]any{"rope_scaling": map[string]any{"type": "mrope", "mrope_section": []int{1, 1, 2}}}
	for _, test := range []struct {
		golden, wrapper string
		text            map[string]any // fields of the text model's config that are changed; nil: removed
		flat            bool           // they stand in the config itself
		rename          func(name string) string
	}{
		{"gemma3_text", "gemma3", nil, false, old},
		{"gemma3_text", "gemma3", map[string]any{"num_attention_heads": 6}, false, inner},
		{"gemma3n_text", "gemma3n", nil, false, inner},
		{"llama4_text", "llama4", nil, false, old},
		{"mistral", "mistral3", nil, false, old},
		{"llama", "llava", nil, false, inner},
		{"qwen2", "qwen2_vl", mrope, true, same},
		{"qwen2", "qwen2_5_vl", map[string]any{"model_type": "qwen2_5_vl_text", "rope_scaling": mrope["rope_scaling"]}, false, inner},
		{"qwen3", "qwen3_vl", map[string]any{"model_type": "qwen3_vl_text"}, false, inner},
		{"glm4", "glm4v", map[string]any{"model_type": "glm4v_text"}, false, inner},
	} {
		t.Run(test.wrapper+"/"+test.golden, func(t *testing.T) {
			dir := filepath.Join("testdata/goldens", test.golden)
			g, _ := openGolden(t, dir)
			files, err := seeded.Files(dir)
			if err != nil {
				t.Fatal(err)
			}
			config := decode[map[string]any](t, files["config.json"].Data)
			maps.Copy(config, test.text)
			outer := map[string]any{"model_type": test.wrapper, "text_config": config, "vision_config": map[string]any{}}
			if test.flat {
				config["model_type"] = test.wrapper
				outer = config
			}
			if files["config.json"].Data, err = json.Marshal(outer); err != nil {
				t.Fatal(err)
			}
			files["model.safetensors"].Data = renamed(t, files["model.safetensors"].Data, test.rename)
			model, err := lm.OpenFS(t.Context(), files, test.wrapper, lm.Compute(lm.Float32))
			if err != nil {
				t.Fatal(err)
			}
			if got := model.Decoder().Wrapper; got != test.wrapper {
				t.Errorf("the wrapper is %q, want %q", got, test.wrapper)
			}
			_, logits := record(t, model, g.Probe.IDs, lm.DecoderBlock)
			within(t, slices.Concat(logits...), g.tensor(t, "logits", 1)[0], activationTolerance)
		})
	}
}

// renamed returns a safetensors file with other names, and a tensor of a vision
// model besides.
func renamed(t *testing.T, file []byte, rename func(name string) string) []byte {
	t.Helper()
	n := binary.LittleEndian.Uint64(file)
	header := decode[map[string]any](t, file[8:8+n])
	out := map[string]any{}
	for name, tensor := range header {
		out[rename(name)] = tensor
	}
	data := file[8+n:]
	out["vision_tower.patches.weight"] = map[string]any{"dtype": "F32", "shape": []int{0, 4}, "data_offsets": []int{len(data), len(data)}}
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, data)
}
