package lm_test

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/checkpoint/translate"
)

// asGGUF says for a golden what its config must say for GGUF to express it, and
// whether it can at all. The weights stay.
var asGGUF = map[string]struct {
	set    map[string]any // fields of config.json; nil removes one
	absent string         // why there is no GGUF of it
	family string         // what it is read as; "": the same
	loose  bool           // numbers in the metadata were rounded to float32
}{
	"gpt2_base":           {absent: "gelu is not a gpt2 of llama.cpp's"},
	"falcon_alibi":        {absent: "llama.cpp has no falcon with ALiBi"},
	"llama_dynamicrope":   {absent: "GGUF has no dynamic scaling"},
	"gemma2":              {set: map[string]any{"query_pre_attn_scalar": 10}}, // the head size, as llama.cpp takes it
	"gemma3_text":         {set: map[string]any{"query_pre_attn_scalar": 10}},
	"mistral_headdim":     {family: "llama"}, // without a window nothing tells them apart
	"qwen2_window":        {set: map[string]any{"use_sliding_window": false}},
	"starcoder2_nowindow": {absent: "llama.cpp's starcoder2 has biases"},
	"olmo3":               {loose: true},
	"olmoe":               {set: map[string]any{"clip_qkv": nil}},                           // the format has no word for it
	"smollm3":             {set: map[string]any{"no_rope_layers": nil, "layer_types": nil}}, // every fourth, as llama.cpp takes it
	"deepseek_v3": {loose: true, set: map[string]any{"rope_scaling": map[string]any{ // the format has one magnitude for both
		"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 16, "mscale": 0.8, "mscale_all_dim": 0.8}}},
	"deepseek_v2_group": {loose: true},
	"dots1":             {set: map[string]any{"layer_types": nil}}, // no window, as llama.cpp takes it
	"lfm2":              {set: map[string]any{"conv_bias": false}}, // the format has no word for it
	"falcon_h1":         {loose: true},
	"glm4_moe":          {loose: true},
	"gpt_neox_seq":      {set: map[string]any{"hidden_act": "gelu"}},
	"llama_llama3rope":  {loose: true},
	"phi3_longrope":     {loose: true},
	"llama_yarnrope":    {loose: true},
	"granite":           {loose: true},
	"apertus":           {loose: true},
	"gemma3n_text":      {loose: true},
	"llama4_text":       {set: map[string]any{"no_rope_layers": nil, "layer_types": nil, "attention_chunk_size": nil, "floor_scale": nil}}, // as llama.cpp takes them
	"granitemoe":        {loose: true},
	"granitemoeshared":  {loose: true},
	"granitemoehybrid":  {loose: true},
}

// sharedFolder is the folder of test data beside the project.
func sharedFolder() string {
	if dir := os.Getenv("STEER_SHARED"); dir != "" {
		return dir
	}
	return "../../shared"
}

// adjusted makes a golden's checkpoint with some fields of its config changed.
func adjusted(t *testing.T, dir string, set map[string]any) fstest.MapFS {
	t.Helper()
	folder, err := seeded.Files(dir)
	if err != nil {
		t.Fatal(err)
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
	folders, err := filepath.Glob("../testdata/goldens/*/config.json")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no goldens are there: %v", err)
	}
	known := map[string]bool{}
	for _, architecture := range translate.Architectures() {
		for _, modelType := range translate.ModelTypes(architecture) {
			known[modelType] = true
		}
	}
	for _, config := range folders {
		dir := filepath.Dir(config)
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			how := asGGUF[name]
			if how.absent != "" {
				t.Skip(how.absent)
			}
			folder := adjusted(t, dir, how.set)
			want, err := lm.OpenFS(t.Context(), folder, name, lm.Compute(lm.Float32))
			if err != nil {
				t.Fatal(err)
			}
			if !known[want.Decoder().Family] {
				t.Skipf("no architecture of llama.cpp's is read as %s", want.Decoder().Family)
			}
			got := openGGUF(t, name, folder, numbersOf(folder), lm.Float32)
			if family := cmp.Or(how.family, want.Decoder().Family); got.Decoder().Family != family {
				t.Errorf("the family is %s, want %s", got.Decoder().Family, family)
			}
			tokens := tokensOf(t, want, shortText)
			if ids := tokensOf(t, got, shortText); !slices.Equal(ids, tokens) {
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

// Whatever a matrix is stored in, the model computes with the numbers that it
// stands for. Blocks stay as they are: with float32 activations their logits are
// those of the numbers written out, with integers they are within 1e-3.
func TestGGUFBlocksStandForTheirNumbers(t *testing.T) {
	plain := randomLlama(t)
	for _, kind := range slices.Concat([]gguf.Type{gguf.F16, gguf.BF16}, gguf.Quantizable()) {
		for _, c := range []struct {
			dtype       lm.DType
			activations string // with blocks
			tolerance   float64
		}{{lm.Float32, "f32", 1e-4}, {lm.Auto, "i16", 1e-3}, {lm.BFloat16, "i16", 1e-3}} {
			stored, reference := map[gguf.Type]safetensors.DType{gguf.F16: safetensors.F16, gguf.BF16: safetensors.BF16}[kind], c.dtype
			if kind.Blocks() {
				stored, reference = safetensors.F32, lm.Float32
			} else {
				c.tolerance = 0
			}
			t.Run(fmt.Sprint(kind, "/", c.dtype), func(t *testing.T) {
				got := openGGUF(t, fmt.Sprint("random_", kind), plain, kind, c.dtype)
				want, err := lm.OpenFS(t.Context(), throughBlocks(t, plain, kind, stored), "random", lm.Compute(reference))
				if err != nil {
					t.Fatal(err)
				}
				if got.Stored() != kind.String() {
					t.Errorf("stored as %q, want %q", got.Stored(), kind)
				}
				description := want.Description()
				if kind.Blocks() {
					description.DType = strings.ToLower(kind.String()) + ":" + c.activations
				}
				if got.Description() != description {
					t.Errorf("computes as %v, want %v", got.Description(), description)
				}
				sameLogits(t, got, want, []int{1, 200, 7, 7, 262, 0, 42}, c.tolerance)
			})
		}
	}
}

// randomLlama is a llama whose rows are whole blocks of 256.
func randomLlama(t *testing.T) fstest.MapFS {
	t.Helper()
	const hidden, inner, layers = 256, 512, 2
	folder := adjusted(t, "../testdata/goldens/llama_bf16", map[string]any{
		"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": hidden / 4,
	})
	r := rand.New(rand.NewPCG(1, 2))
	var tensors []safetensors.Tensor
	add := func(name string, mean, spread float64, shape ...int) {
		n := 1
		for _, s := range shape {
			n *= s
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(mean + spread*r.NormFloat64())
		}
		tensors = append(tensors, safetensors.New(name, shape, values))
	}
	add("model.embed_tokens.weight", 0, 1, 263, hidden)
	add("lm_head.weight", 0, 0.1, 263, hidden)
	add("model.norm.weight", 1, 0.1, hidden)
	for layer := range layers {
		p := fmt.Sprintf("model.layers.%d.", layer)
		add(p+"input_layernorm.weight", 1, 0.1, hidden)
		add(p+"post_attention_layernorm.weight", 1, 0.1, hidden)
		add(p+"self_attn.q_proj.weight", 0, 0.06, hidden, hidden)
		add(p+"self_attn.k_proj.weight", 0, 0.06, hidden/2, hidden)
		add(p+"self_attn.v_proj.weight", 0, 0.06, hidden/2, hidden)
		add(p+"self_attn.o_proj.weight", 0, 0.06, hidden, hidden)
		add(p+"mlp.gate_proj.weight", 0, 0.06, inner, hidden)
		add(p+"mlp.up_proj.weight", 0, 0.06, inner, hidden)
		add(p+"mlp.down_proj.weight", 0, 0.04, hidden, inner)
	}
	folder["model.safetensors"] = &fstest.MapFile{Data: asFile(t, tensors)}
	return folder
}

// throughBlocks returns the folder with its matrices as what is left of them
// when they were stored as a kind and read as a type.
func throughBlocks(t *testing.T, folder fstest.MapFS, kind gguf.Type, dtype safetensors.DType) fstest.MapFS {
	t.Helper()
	weights, err := safetensors.OpenFS(folder, "model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	var tensors []safetensors.Tensor
	for _, name := range weights.Names() {
		tensor, _ := weights.Tensor(name)
		if len(tensor.Shape) == 2 {
			values, err := tensor.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			elements, bytes := kind.Block()
			data := make([]byte, len(values)/elements*bytes)
			if err := kind.Encode(data, values); err != nil {
				t.Fatal(err)
			}
			kind.Expand(values, data)
			tensor.DType, tensor.Data = dtype, safetensors.AppendFloats(nil, dtype, values)
		}
		tensors = append(tensors, tensor)
	}
	out := maps.Clone(folder)
	out["model.safetensors"] = &fstest.MapFile{Data: asFile(t, tensors)}
	return out
}

func asFile(t *testing.T, tensors []safetensors.Tensor) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weights")
	if err := safetensors.Write(path, tensors, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A file that llama.cpp wrote gives its tokens and its logits.
func TestGGUFOfLlamaCpp(t *testing.T) {
	m, err := lm.Open(t.Context(), "testdata/llamacpp/q4_0.gguf", lm.Compute(lm.Float32))
	if err != nil {
		t.Fatal(err)
	}
	if want := "Q4_0 and Q8_0"; m.Stored() != want {
		t.Errorf("stored as %q, want %q", m.Stored(), want)
	}
	reference, err := safetensors.Open("testdata/llamacpp/q4_0.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer reference.Close()
	ids, _ := reference.Tensor("tokens")
	var tokens []int
	for data := ids.Data; len(data) > 0; data = data[4:] {
		tokens = append(tokens, int(binary.LittleEndian.Uint32(data)))
	}
	if got := tokensOf(t, m, mixedText); !slices.Equal(got, tokens) {
		t.Errorf("tokens %v, want %v", got, tokens)
	}
	stored, _ := reference.Tensor("logits")
	want, err := stored.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	const tolerance = 1e-4
	for i, row := range logits(t, m, tokens) {
		for j, got := range row {
			if d := math.Abs(float64(got - want[i*len(row)+j])); !(d <= tolerance) {
				t.Fatalf("token %d: logit %d is %v, want %v", i, j, got, want[i*len(row)+j])
			}
		}
	}
}

// mixedText has words, numbers, signs, white space and a special token.
const mixedText = "Once upon a time, there was a 3 year old <|endoftext|> Girl.\n\nShe said: \"It's fun!\""

// shortText is the same for models of few positions.
const shortText = "He <|endoftext|> 12\n\n\"it's the ring\""

// Small trained models with SentencePiece vocabularies survive GGUF as well.
func TestGGUFOfTrainedModels(t *testing.T) {
	matches, err := filepath.Glob(sharedFolder() + "/models/*/config.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(matches) == 0 {
		t.Skip("the folder of test data beside the project is not there")
	}
	for _, match := range matches {
		name := filepath.Base(filepath.Dir(match))
		t.Run(name, func(t *testing.T) {
			folder := os.DirFS(filepath.Dir(match))
			want, err := lm.OpenFS(t.Context(), folder, name, lm.Compute(lm.Float32))
			if err != nil {
				t.Fatal(err)
			}
			got := openGGUF(t, name, folder, gguf.F32, lm.Float32)
			for _, text := range []string{"Once upon a time, there was a girl called Åse.", "One day, Tom said: \"Hi!\"\n\nLily  laughed 😀", "", "</s> a"} {
				tokens := tokensOf(t, want, text)
				if ids := tokensOf(t, got, text); !slices.Equal(ids, tokens) {
					t.Errorf("%q became %v, want %v", text, ids, tokens)
				}
				sameLogits(t, got, want, tokens, 0)
			}
		})
	}
}

// openGGUF writes a checkpoint as a GGUF file and opens that, as users do.
func openGGUF(t *testing.T, name string, folder fs.FS, kind gguf.Type, dtype lm.DType) *lm.Model {
	t.Helper()
	path, err := writeGGUF(t, name, folder, kind)
	if err != nil {
		t.Fatal(err)
	}
	m, err := lm.Open(t.Context(), path, lm.Compute(dtype))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// writeGGUF writes a checkpoint as a GGUF file and returns its path.
func writeGGUF(t *testing.T, name string, folder fs.FS, kind gguf.Type) (string, error) {
	t.Helper()
	from, dir := filepath.Join(t.TempDir(), name), t.TempDir()
	if err := os.CopyFS(from, folder); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+".gguf")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lm.WriteGGUF(t.Context(), from, file, kind, checkpoint.Options{})
	return path, errors.Join(err, file.Close())
}

// numbersOf returns the type in which a golden stores its matrices.
func numbersOf(folder fstest.MapFS) gguf.Type {
	var config struct{ DType string }
	_ = json.Unmarshal(folder["config.json"].Data, &config) // the goldens' configs are JSON
	kind, ok := map[string]gguf.Type{"bfloat16": gguf.BF16, "float16": gguf.F16}[config.DType]
	if !ok {
		return gguf.F32
	}
	return kind
}

// What the format has no word for is refused, whatever the field: for every golden
// whose config another test has to change, or of which there is no GGUF at all.
func TestWhatGGUFCannotExpressIsRefused(t *testing.T) {
	for name, want := range map[string]string{
		"gpt2_base": "Activation is gelu_tanh, not gelu", "falcon_alibi": "ALiBi", "llama_dynamicrope": `"dynamic"`, "starcoder2_nowindow": "Query.Bias",
		"gemma2": "Attention.Scale", "gemma3_text": "Attention.Scale", "qwen2_window": "Window", "olmoe": "Clip", "smollm3": "Rope",
		"deepseek_v3": "Rope", "dots1": "Window", "lfm2": "Bias", "gpt_neox_seq": "Activation",
		"llama4_text": "Chunk", "biogpt": `"biogpt", for which there is no architecture of GGUF; there are for apertus, arcee, bloom`,
	} {
		folder, err := seeded.Files("../testdata/goldens/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writeGGUF(t, name, folder, gguf.F32); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want one of %s", name, err, want)
		}
	}
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
