package llamacpp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/checkpoint/translate"
)

// expressed says for a golden what its config must say for llama.cpp to compute it, and
// where llama.cpp does something else.
var expressed = map[string]struct {
	set       map[string]any // fields of config.json; nil removes one
	refused   string         // what the error says: llama.cpp's, or ours about it
	unlike    string         // what llama.cpp does in its place
	tolerance float64        // 0: 1e-3
}{
	"bloom":               {tolerance: gelu},
	"falcon":              {tolerance: gelu},
	"falcon_new":          {tolerance: gelu},
	"gemma":               {tolerance: gelu},
	"gemma2":              {tolerance: gelu, set: map[string]any{"query_pre_attn_scalar": 10}}, // the head size, as llama.cpp takes it
	"gemma3_text":         {tolerance: gelu, set: map[string]any{"query_pre_attn_scalar": 10}},
	"gpt2":                {tolerance: gelu},
	"gpt2_base":           {tolerance: gelu},
	"gpt_bigcode":         {tolerance: gelu},
	"gpt_neox":            {tolerance: gelu},
	"gpt_neox_seq":        {tolerance: gelu, set: map[string]any{"hidden_act": "gelu"}, refused: "'output.weight' not found"},
	"phi":                 {tolerance: gelu},
	"starcoder2":          {tolerance: gelu, refused: "window of 5"},
	"mistral":             {refused: "window of 5"},
	"phi3":                {refused: "window of 5"},
	"phi3_longrope":       {refused: "positions are scaled"},
	"mpt":                 {tolerance: gelu, set: map[string]any{"expansion_ratio": 4}}, // as transformers takes it, whatever is written there
	"qwen2_window":        {set: map[string]any{"use_sliding_window": false}},
	"smollm3":             {set: map[string]any{"no_rope_layers": nil, "layer_types": nil}}, // every fourth, as llama.cpp takes it
	"dots1":               {refused: "'blk.0.attn_k.weight' has wrong shape", set: map[string]any{"layer_types": nil}},
	"lfm2":                {set: map[string]any{"conv_bias": false}}, // the format has no word for it
	"cohere_qknorm":       {refused: "wrong number of tensors"},      // norms of queries and keys, in models of 64 layers alone
	"deepseek_v2":         {refused: "attention.q_lora_rank"},        // without it, in models of 27 layers alone
	"ernie4_5":            {refused: "wrong number of tensors"},      // biases
	"olmoe":               {refused: "'blk.0.attn_k_norm.weight' has wrong shape", set: map[string]any{"clip_qkv": nil}},
	"qwen2_moe":           {refused: "'blk.0.ffn_gate_inp.weight' not found"}, // dense layers among the others
	"qwen3_moe":           {refused: "'blk.1.ffn_gate_inp.weight' not found"},
	"starcoder2_nowindow": {refused: "bias"},
	"llama4_text":         {unlike: "it takes more for granted than the golden has, and ends the process where that is missing"},
	"qwen3_next":          {refused: "check_tensor_dims"},
	"gemma3n_text":        {refused: "'altup_proj.weight' has wrong shape"},
	"phimoe":              {unlike: "norms take no mean away"},
	"deepseek_v2_group":   {unlike: "experts are chosen without regard to their groups"},
	"exaone4":             {unlike: "the window, and the layers without positions, are those of models of 64 layers alone"},
	"olmo3":               {unlike: "rotary positions of layers with a window are scaled too"},
}

// gelu is the tolerance where llama.cpp's CPU library looks GELU up in a table of
// float16.
const gelu = 2e-2

type steering struct {
	Key        string
	Vector     string
	Layers     []int
	Operator   string
	Multiplier *float64
	MinToken   *int            `json:"min_token_index"`
	Tokens     json.RawMessage `json:"token_indices"`
	TokensKind string          `json:"token_indices_kind"`
}

type golden struct {
	Layers int
	Pairs  []steer.Sample
	Probe  struct {
		IDs []int
	}
	Steer      []steering
	Generation struct {
		IDs   []int `json:"prompt_ids"`
		Max   int   `json:"max_new_tokens"`
		Cases []steering
	}

	tolerance    float64
	ours, theirs *lm.Model
	values       *safetensors.File
}

const goldens = "../testdata/goldens/"

// openGolden opens a golden's GGUF file in both engines.
func openGolden(t *testing.T, name string) *golden {
	t.Helper()
	how := expressed[name]
	if how.unlike != "" {
		t.Skipf("llama.cpp does something else: %s", how.unlike)
	}
	files, err := seeded.Files(goldens + name)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(files["config.json"].Data, &config); err != nil {
		t.Fatal(err)
	}
	maps.Copy(config, how.set)
	maps.DeleteFunc(config, func(_ string, v any) bool { return v == nil })
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	files["config.json"] = &fstest.MapFile{Data: data}
	path, err := writeGGUF(t, files, name)
	if err != nil {
		t.Skipf("GGUF cannot express it: %v", err)
	}
	g := &golden{tolerance: how.tolerance}
	if g.tolerance == 0 {
		g.tolerance = 1e-3
	}
	if data, err = os.ReadFile(goldens + name + "/golden.json"); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, g); err != nil {
		t.Fatal(err)
	}
	if g.values, err = safetensors.Open(goldens + name + "/golden.safetensors"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.values.Close() })
	if g.ours, err = lm.Open(t.Context(), path, lm.Compute(lm.Float32)); err != nil && how.refused == "" {
		t.Fatal(err)
	}
	g.theirs, err = lm.Open(t.Context(), path, lm.Compute(lm.Float32), lm.OnFiles(Open(options(t))))
	if err == nil && how.refused != "" {
		_, err = steer.Record(t.Context(), g.theirs, g.Probe.IDs, steer.RecordOptions{Logits: true})
	}
	switch refused := err != nil && how.refused != "" && strings.Contains(err.Error(), how.refused); {
	case refused:
		t.Skipf("it is refused: %v", err)
	case err != nil:
		t.Fatal(err)
	case how.refused != "":
		t.Fatal("what was to be refused is computed")
	}
	return g
}

// writeGGUF writes a folder's checkpoint as a GGUF file of float32 numbers.
func writeGGUF(t *testing.T, files fstest.MapFS, name string) (string, error) {
	t.Helper()
	c, err := checkpoint.OpenFS(files, name, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	plan, err := translate.NewPlan(c, gguf.F32)
	if err != nil {
		return "", err
	}
	var file bytes.Buffer
	if err := plan.Write(t.Context(), &file); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name+".gguf")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, nil
}

// edit is that of a steered case.
func (g *golden) edit(t *testing.T, s steering) lm.Edit {
	t.Helper()
	tensor, ok := g.values.Tensor(s.Vector)
	if !ok {
		t.Fatalf("there is no vector %s", s.Vector)
	}
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	width := len(values) / g.Layers
	v := &steer.Vector{Site: lm.Site(strings.Split(s.Vector, ".")[1]), Layers: map[int][]float32{}}
	for _, layer := range s.Layers {
		v.Layers[layer] = values[layer*width : (layer+1)*width]
	}
	multiplier, opts := 1.0, []steer.EditOption(nil)
	if s.Multiplier != nil {
		multiplier = *s.Multiplier
	}
	switch s.Operator {
	case "ablation":
		opts = append(opts, steer.Using(steer.Ablate()))
	case "ablation_then_addition":
		opts = append(opts, steer.Using(steer.AblateThenAdd()))
	}
	switch {
	case s.MinToken != nil:
		opts = append(opts, steer.OnTokens(steer.From(*s.MinToken)))
	case s.TokensKind == "list":
		opts = append(opts, steer.OnTokens(steer.At(parse[[]int](t, s.Tokens)...)))
	case s.TokensKind == "mask":
		var mask []bool
		for _, v := range parse[[]float64](t, s.Tokens) {
			mask = append(mask, v != 0)
		}
		opts = append(opts, steer.OnTokens(steer.Mask(mask...)))
	case s.TokensKind == "slice":
		from, to, step := 0, steer.End, 1
		for i, target := range []*int{&from, &to, &step} {
			if bound := parse[[]*int](t, s.Tokens)[i]; bound != nil {
				*target = *bound
			}
		}
		opts = append(opts, steer.OnTokens(steer.Range(from, to, step)))
	}
	edit, err := v.Edit(multiplier, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return edit
}

func parse[T any](t *testing.T, data []byte) (out T) {
	t.Helper()
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// What the goldens hold is computed as the CPU engine does.
func TestGoldens(t *testing.T) {
	configs, err := filepath.Glob(goldens + "*/golden.json")
	if err != nil || len(configs) == 0 {
		t.Fatalf("no goldens are there: %v", err)
	}
	for _, config := range configs {
		name := filepath.Base(filepath.Dir(config))
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			t.Run("record", g.record)
			t.Run("train", g.train)
			t.Run("steer", g.steer)
			t.Run("generate", g.generate)
		})
	}
}

// unnamed reports whether the engine says that the graph does not name a site.
func (g *golden) unnamed(t *testing.T, site lm.Site) bool {
	t.Helper()
	for layer := range g.theirs.Layers() {
		if g.theirs.CheckSite(layer, site) != nil {
			continue
		}
		if _, err := steer.Record(t.Context(), g.theirs, g.Probe.IDs[:1], steer.RecordOptions{Site: site, Layers: []int{layer}}); err != nil {
			if !strings.Contains(err.Error(), "llama.cpp's graph") {
				t.Errorf("layer %d, %s: %v", layer, site, err)
			}
			return true
		}
	}
	return false
}

func (g *golden) record(t *testing.T) {
	for _, site := range arch.Sites() {
		if len(g.ours.LayersOf(site)) == 0 || g.unnamed(t, site) {
			continue
		}
		t.Run(string(site), func(t *testing.T) {
			want, got := g.recorded(t, g.ours, site), g.recorded(t, g.theirs, site)
			for layer, rows := range want.Layers {
				near(t, fmt.Sprintf("layer %d", layer), slices.Concat(got.Layers[layer]...), slices.Concat(rows...), g.tolerance)
			}
			near(t, "logits", slices.Concat(got.Logits...), slices.Concat(want.Logits...), g.tolerance)
		})
	}
}

func (g *golden) recorded(t *testing.T, m *lm.Model, site lm.Site) *steer.Recording {
	t.Helper()
	r, err := steer.Record(t.Context(), m, g.Probe.IDs, steer.RecordOptions{Site: site, Logits: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (g *golden) train(t *testing.T) {
	for _, site := range []lm.Site{lm.DecoderBlock, lm.SelfAttn, lm.MLP} {
		if len(g.ours.LayersOf(site)) == 0 || g.unnamed(t, site) {
			continue
		}
		for name, aggregator := range map[string]steer.Aggregator{"mean": steer.Mean(), "pca": steer.PCA()} {
			t.Run(string(site)+"/"+name, func(t *testing.T) {
				var vectors []*steer.Vector
				for _, m := range []*lm.Model{g.ours, g.theirs} {
					v, err := steer.Train(t.Context(), m, g.Pairs, steer.TrainOptions{Aggregator: aggregator, Site: site})
					if err != nil {
						t.Fatal(err)
					}
					vectors = append(vectors, v)
				}
				for layer, want := range vectors[0].Layers {
					near(t, fmt.Sprintf("layer %d", layer), vectors[1].Layers[layer], want, g.tolerance)
				}
			})
		}
	}
}

func (g *golden) steer(t *testing.T) {
	for _, s := range g.Steer {
		edit := g.edit(t, s)
		if g.unnamed(t, edit.Site) {
			continue
		}
		t.Run(s.Key, func(t *testing.T) {
			var logits [2][][]float32
			for i, m := range []*lm.Model{g.ours, g.theirs} {
				steered, err := m.With(edit)
				if err != nil {
					t.Fatal(err)
				}
				logits[i] = g.recorded(t, steered, lm.DecoderBlock).Logits
			}
			near(t, "logits", slices.Concat(logits[1]...), slices.Concat(logits[0]...), g.tolerance)
		})
	}
}

func (g *golden) generate(t *testing.T) {
	var texts [2][]lm.Generation
	for i, m := range []*lm.Model{g.ours, g.theirs} {
		var prompts []lm.Input
		for _, c := range g.Generation.Cases {
			in := lm.Input{Tokens: g.Generation.IDs}
			if c.Vector != "" {
				edit := g.edit(t, c)
				if g.unnamed(t, edit.Site) {
					continue
				}
				var err error
				if in.Steering, err = m.Steering(edit); err != nil {
					t.Fatal(err)
				}
			}
			prompts = append(prompts, in)
		}
		var err error
		if texts[i], err = m.Generate(t.Context(), prompts, lm.GenerateOptions{MaxTokens: g.Generation.Max, IgnoreEnd: true}); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range texts[0] {
		if got := texts[1][i]; !slices.Equal(got.IDs, want.IDs) {
			t.Errorf("text %d: wrote %v, want %v", i, got.IDs, want.IDs)
		}
	}
}

// near holds values to others. On Vulkan's software device numbers are rougher: of the
// goldens' residual streams, of about ten in size, by a hundredth.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if onDevice() {
		tolerance = max(tolerance, 3e-2)
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	worst := 0.0
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= worst) {
			worst = d
		}
	}
	if !(worst <= tolerance) {
		t.Errorf("%s: differs by up to %.3g; at most %g may be", what, worst, tolerance)
	}
}
