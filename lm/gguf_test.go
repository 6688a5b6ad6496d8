package lm_test

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/internal/ggufwrite"
)

// asGGUF says for a golden what its config must say for GGUF to express it, and
// whether it can at all. The weights stay.
var asGGUF = map[string]struct {
	set    map[string]any // fields of config.json; nil removes one
	absent string         // why there is no GGUF of it
	loose  bool           // numbers in the metadata were rounded to float32
}{
	"gpt2_base":         {absent: "gelu is not a gpt2 of llama.cpp's"},
	"gpt_neo":           {absent: "llama.cpp has no gpt_neo"},
	"gptj":              {absent: "llama.cpp has no gptj"},
	"helium":            {absent: "llama.cpp has no helium"},
	"opt":               {absent: "llama.cpp has no opt"},
	"opt_postnorm":      {absent: "llama.cpp has no opt"},
	"falcon_alibi":      {absent: "llama.cpp has no falcon with ALiBi"},
	"llama_dynamicrope": {absent: "GGUF has no dynamic scaling"},
	"qwen2_moe":         {},
	"gemma2":            {set: map[string]any{"query_pre_attn_scalar": 16}}, // the head size, as llama.cpp takes it
	"gemma3_text":       {set: map[string]any{"query_pre_attn_scalar": 16}},
	"gpt_neox_seq":      {set: map[string]any{"hidden_act": "gelu"}},
	"llama_llama3rope":  {loose: true},
	"phi3_longrope":     {loose: true},
	"llama_yarnrope":    {loose: true},
	"granite":           {loose: true},
}

// folders returns the goldens' folders by name.
func folders(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"../testdata/goldens/*/config.json", sharedFolder() + "/goldens/*/config.json"} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range matches {
			found[filepath.Base(filepath.Dir(m))] = filepath.Dir(m)
		}
	}
	return found
}

// sharedFolder is the folder of test data beside the project.
func sharedFolder() string {
	if dir := os.Getenv("STEER_SHARED"); dir != "" {
		return dir
	}
	return "../../shared"
}

// adjusted reads a checkpoint's folder with some fields of its config changed.
func adjusted(t *testing.T, dir string, set map[string]any) fstest.MapFS {
	t.Helper()
	folder := fstest.MapFS{}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		folder[name] = &fstest.MapFile{Data: data}
	}
	var config map[string]any
	if err := json.Unmarshal(folder["config.json"].Data, &config); err != nil {
		t.Fatal(err)
	}
	maps.Copy(config, set)
	maps.DeleteFunc(config, func(_ string, v any) bool { return v == nil })
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	folder["config.json"] = &fstest.MapFile{Data: data}
	return folder
}

// The same weights, read from safetensors and from GGUF, give the same tokens
// and the same logits.
func TestGGUFEqualsSafetensors(t *testing.T) {
	for name, dir := range folders(t) {
		t.Run(name, func(t *testing.T) {
			how := asGGUF[name]
			if how.absent != "" {
				t.Skip(how.absent)
			}
			folder := adjusted(t, dir, how.set)
			want, err := lm.OpenFS(t.Context(), folder, name, lm.OpenOptions{Numbers: lm.Float32})
			if err != nil {
				t.Fatal(err)
			}
			file, err := ggufwrite.Convert(folder, 0, false)
			if err != nil {
				t.Fatal(err)
			}
			got := openGGUF(t, name, file, lm.Float32)
			if got.Decoder().Family != want.Decoder().Family {
				t.Errorf("the family is %s, want %s", got.Decoder().Family, want.Decoder().Family)
			}
			const text = "Once upon a time, there was a 3 year old <|endoftext|> Girl.\n\nShe said: \"It's fun!\""
			tokens := tokensOf(t, want, text)
			if ids := tokensOf(t, got, text); !slices.Equal(ids, tokens) {
				t.Errorf("tokens %v, want %v", ids, tokens)
			}
			if !slices.Equal(got.EndTokens(), want.EndTokens()) {
				t.Errorf("generations end at %v, want %v", got.EndTokens(), want.EndTokens())
			}
			tolerance := 0.0
			if how.loose {
				tolerance = 3e-5
			}
			sameLogits(t, got, want, tokens, tolerance)
		})
	}
}

// openGGUF opens a file through the file system, as users do.
func openGGUF(t *testing.T, name string, file *ggufwrite.File, numbers lm.Numbers) *lm.Model {
	t.Helper()
	dir := t.TempDir()
	if keep := os.Getenv("STEER_KEEP_GGUF"); keep != "" { // to be read by llama.cpp
		dir = keep
	}
	path := filepath.Join(dir, name+".gguf")
	if err := os.WriteFile(path, file.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	m, err := lm.Open(t.Context(), path, lm.OpenOptions{Numbers: numbers})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tokensOf(t *testing.T, m *lm.Model, text string) []int {
	t.Helper()
	ids, err := m.Tokenize(text)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func sameLogits(t *testing.T, got, want *lm.Model, tokens []int, tolerance float64) {
	t.Helper()
	a, b := logits(t, got, tokens), logits(t, want, tokens)
	worst := 0.0
	for i := range b {
		for j := range b[i] {
			worst = max(worst, math.Abs(float64(a[i][j]-b[i][j])))
		}
	}
	if !(worst <= tolerance) {
		t.Errorf("logits differ by up to %g, allowed is %g", worst, tolerance)
	}
}

// logits returns those of every position, [tokens, vocabulary].
func logits(t *testing.T, m *lm.Model, tokens []int) [][]float32 {
	t.Helper()
	out := make([][]float32, len(tokens))
	_, err := m.Forward(t.Context(), []lm.Input{{Tokens: tokens}}, lm.ForwardOptions{Logits: func(_, position int, values []float32) {
		out[position] = slices.Clone(values)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
