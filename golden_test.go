package steer_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/modules"
)

// golden is what the Python library computes on one checkpoint, in float32;
// testdata/goldens/README.md says how.
type golden struct {
	ModelType string `json:"model_type"`
	Note      string
	Layers    int
	Modules   map[lm.Site]goldenModule
	Pairs     []struct {
		Positive, Negative string
		PositiveIDs        []int `json:"positive_ids"`
		NegativeIDs        []int `json:"negative_ids"`
	}
	Probe struct {
		Text      string
		IDs       []int
		Positions []int `json:"positions_of_activations"`
	}
	Steer      []steering
	Generation struct {
		Prompt string
		IDs    []int `json:"prompt_ids"`
		Max    int   `json:"max_new_tokens"`
		Cases  []struct {
			steering
			NewIDs []int `json:"new_ids"`
		}
	}

	dir    string
	values *safetensors.File
}

// goldenModule says which module a layer type is: what the reference guesses,
// and the one whose output is meant. "" is none.
type goldenModule struct {
	Guess string
	Right modulePaths
}

// modulePaths are one path, with {num} for the layer, or a path for each layer.
type modulePaths []string

func (p *modulePaths) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*p = modulePaths{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(p))
}

func (p modulePaths) of(layer int) string {
	return strings.ReplaceAll(p[layer%len(p)], "{num}", strconv.Itoa(layer))
}

// steering is a steered case: a vector among the tensors and how it is applied.
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

// The tolerances are those that the goldens' makers give.
const (
	activationTolerance = 1e-3
	meanTolerance       = 2e-4
	pcaCosine           = 1 - 1e-5
	logisticCosine      = 1 - 1e-6
)

// goldenFolders returns the goldens in the order of their names.
func goldenFolders(t *testing.T) []string {
	t.Helper()
	configs, err := filepath.Glob("testdata/goldens/*/golden.json")
	if err != nil || len(configs) == 0 {
		t.Fatalf("no goldens are there: %v", err)
	}
	for i, path := range configs {
		configs[i] = filepath.Dir(path)
	}
	return configs
}

func openGolden(t *testing.T, dir string) (*golden, *lm.Model) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{dir: dir}
	if err := json.Unmarshal(data, g); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	if g.values, err = safetensors.Open(filepath.Join(dir, "golden.safetensors")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.values.Close() })
	return g, openSeeded(t, dir)
}

// openSeeded makes the golden's weights and opens the model in float32, with the
// attention that the goldens were made with.
func openSeeded(t *testing.T, dir string) *lm.Model {
	t.Helper()
	files, err := seeded.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	config := decode[map[string]any](t, files["config.json"].Data)
	config["attn_implementation"] = "eager"
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	files["config.json"].Data = data
	model, err := lm.OpenFS(t.Context(), files, filepath.Base(dir), lm.Compute(lm.Float32))
	if err != nil {
		t.Fatal(err)
	}
	return model
}

// tensor returns a golden tensor's values, cut into n parts; nil where there is
// no such tensor.
func (g *golden) tensor(t *testing.T, key string, n int) [][]float32 {
	t.Helper()
	tensor, ok := g.values.Tensor(key)
	if !ok {
		return nil
	}
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(slices.Chunk(values, len(values)/n))
}

// record returns the activations of the probe at a layer type, and the logits.
func record(t *testing.T, model *lm.Model, tokens []int, site lm.Site) (layers map[int][][]float32, logits [][]float32) {
	t.Helper()
	r, err := steer.Record(t.Context(), model, tokens, steer.RecordOptions{Site: site, Logits: true})
	if err != nil {
		t.Fatal(err)
	}
	return r.Layers, r.Logits
}

// train trains a vector on the golden's pairs.
func (g *golden) train(t *testing.T, model *lm.Model, site lm.Site, aggregator steer.Aggregator) *steer.Vector {
	t.Helper()
	var samples []steer.Sample
	for _, p := range g.Pairs {
		samples = append(samples, steer.Sample{Positive: p.Positive, Negative: p.Negative})
	}
	vector, err := steer.Train(t.Context(), model, samples, steer.TrainOptions{Aggregator: aggregator, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	return vector
}

// vectorOf is a golden's vector at some layers. The key names the layer type:
// train.TYPE.AGGREGATOR.
func (g *golden) vectorOf(t *testing.T, key string, layers ...int) *steer.Vector {
	t.Helper()
	values := g.tensor(t, key, g.Layers)
	vector := &steer.Vector{Site: lm.Site(strings.Split(key, ".")[1]), Layers: map[int][]float32{}}
	for _, layer := range layers {
		vector.Layers[layer] = values[layer]
	}
	return vector
}

// vector is the golden mean vector at layers 1 and 2, or one that is trained here where
// the library cannot.
func (g *golden) vector(t *testing.T, model *lm.Model) *steer.Vector {
	t.Helper()
	if g.tensor(t, "train.decoder_block.mean", g.Layers) == nil {
		v := g.train(t, model, lm.DecoderBlock, steer.Mean())
		return &steer.Vector{Site: v.Site, Layers: map[int][]float32{1: v.Layers[1], 2: v.Layers[2]}}
	}
	return g.vectorOf(t, "train.decoder_block.mean", 1, 2)
}

// edit builds the edit of a steered case.
func (g *golden) edit(t *testing.T, s steering) lm.Edit {
	t.Helper()
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
		opts = append(opts, steer.OnTokens(steer.At(decode[[]int](t, s.Tokens)...)))
	case s.TokensKind == "mask":
		var mask []bool
		for _, v := range decode[[]float64](t, s.Tokens) {
			mask = append(mask, v != 0)
		}
		opts = append(opts, steer.OnTokens(steer.Mask(mask...)))
	case s.TokensKind == "slice":
		bounds := decode[[]*int](t, s.Tokens)
		from, to, step := 0, steer.End, 1
		for i, target := range []*int{&from, &to, &step} {
			if bounds[i] != nil {
				*target = *bounds[i]
			}
		}
		opts = append(opts, steer.OnTokens(steer.Range(from, to, step)))
	}
	edit, err := g.vectorOf(t, s.Vector, s.Layers...).Edit(multiplier, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return edit
}

// steered returns the logits of the probe under an edit.
func (g *golden) steered(t *testing.T, model *lm.Model, edit lm.Edit) [][]float32 {
	t.Helper()
	_, logits := record(t, with(t, model, edit), g.Probe.IDs, lm.DecoderBlock)
	return logits
}

// generate decodes all cases of generation in one call, each steered in its own way.
func (g *golden) generate(t *testing.T, model *lm.Model) [][]int {
	t.Helper()
	var prompts []lm.Input
	for _, c := range g.Generation.Cases {
		in := lm.Input{Tokens: g.Generation.IDs}
		if c.Vector != "" {
			var err error
			if in.Steering, err = model.Steering(g.edit(t, c.steering)); err != nil {
				t.Fatal(err)
			}
		}
		prompts = append(prompts, in)
	}
	out, err := model.Generate(t.Context(), prompts, lm.GenerateOptions{MaxTokens: g.Generation.Max, IgnoreEnd: true})
	if err != nil {
		t.Fatal(err)
	}
	var ids [][]int
	for _, o := range out {
		ids = append(ids, o.IDs)
	}
	return ids
}

func decode[T any](t *testing.T, data []byte) (out T) {
	t.Helper()
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGoldens(t *testing.T) {
	for _, dir := range goldenFolders(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			g, model := openGolden(t, dir)
			t.Run("tokens", func(t *testing.T) { testGoldenTokens(t, g, model) })
			t.Run("modules", func(t *testing.T) { testGoldenModules(t, g, model) })
			t.Run("record", func(t *testing.T) { testGoldenRecord(t, g, model) })
			t.Run("train", func(t *testing.T) { testGoldenTrain(t, g, model) })
			t.Run("steer", func(t *testing.T) { testGoldenSteer(t, g, model) })
			t.Run("generate", func(t *testing.T) { testGoldenGenerate(t, g, model) })
		})
	}
}

func testGoldenTokens(t *testing.T, g *golden, model *lm.Model) {
	check := func(text string, want []int) {
		t.Helper()
		if got, err := model.Tokenize(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q became %v (%v), want %v", text, got, err, want)
		}
	}
	check(g.Probe.Text, g.Probe.IDs)
	check(g.Generation.Prompt, g.Generation.IDs)
	for _, p := range g.Pairs {
		check(p.Positive, p.PositiveIDs)
		check(p.Negative, p.NegativeIDs)
	}
}

// The description names for every layer type the module that is right.
func testGoldenModules(t *testing.T, g *golden, model *lm.Model) {
	for site, m := range g.Modules {
		for layer := range model.Layers() {
			if got, want := model.Decoder().Module(layer, site), m.Right.of(layer); got != want {
				t.Errorf("%s is module %q, want %q", site, got, want)
			}
		}
	}
}

func testGoldenRecord(t *testing.T, g *golden, model *lm.Model) {
	check := func(t *testing.T, site lm.Site, want [][]float32) {
		layers, _ := record(t, model, g.Probe.IDs, site)
		if streams := model.Decoder().Streams; streams != nil && site == lm.DecoderBlock {
			want = sideBySide(want, streams.Count, len(g.Probe.Positions))
		}
		for layer, rows := range want {
			var got []float32
			for _, position := range g.Probe.Positions {
				got = append(got, layers[layer][position]...)
			}
			t.Run(strconv.Itoa(layer), func(t *testing.T) { within(t, got, rows, activationTolerance) })
		}
	}
	// In the order of computation: the first that fails holds the mistake.
	for _, site := range arch.Sites() {
		if want := g.tensor(t, "act."+string(site), g.Layers); want != nil {
			t.Run(string(site), func(t *testing.T) { check(t, site, want) })
		}
		if want := g.tensor(t, "act_guess."+string(site), g.Layers); want != nil {
			t.Run("guessed "+string(site), func(t *testing.T) {
				guess := modules.Template(g.Modules[site].Guess)
				at, err := modules.SiteOf(model.Modules(), site, modules.Config{site: guess})
				if err != nil {
					t.Skipf("no site shows module %s", guess)
				}
				check(t, at, want)
			})
		}
	}
	t.Run("logits", func(t *testing.T) {
		_, logits := record(t, model, g.Probe.IDs, lm.DecoderBlock)
		within(t, slices.Concat(logits...), g.tensor(t, "logits", 1)[0], activationTolerance)
	})
}

// sideBySide puts the streams of each position side by side, which goldens have one
// after the other: [streams, positions, hidden].
func sideBySide(layers [][]float32, streams, positions int) (out [][]float32) {
	for _, values := range layers {
		rows := slices.Collect(slices.Chunk(values, len(values)/streams/positions))
		var layer []float32
		for p := range positions {
			for s := range streams {
				layer = append(layer, rows[s*positions+p]...)
			}
		}
		out = append(out, layer)
	}
	return out
}

func testGoldenTrain(t *testing.T, g *golden, model *lm.Model) {
	for _, test := range []struct {
		site       lm.Site
		name       string
		aggregator steer.Aggregator
	}{
		{lm.DecoderBlock, "mean", steer.Mean()},
		{lm.DecoderBlock, "pca", steer.PCA()},
		{lm.DecoderBlock, "logistic_exact", steer.Logistic()},
		{lm.SelfAttn, "mean", steer.Mean()},
		{lm.MLP, "mean", steer.Mean()},
	} {
		want := g.tensor(t, "train."+string(test.site)+"."+test.name, g.Layers)
		if want == nil {
			continue
		}
		t.Run(string(test.site)+"/"+test.name, func(t *testing.T) {
			vector := g.train(t, model, test.site, test.aggregator)
			for layer, want := range want {
				switch got := vector.Layers[layer]; test.name {
				case "mean":
					within(t, got, want, meanTolerance)
				case "pca":
					closeDirection(t, got, want, pcaCosine)
				default:
					closeDirection(t, got, want, logisticCosine)
				}
			}
		})
	}
}

func testGoldenSteer(t *testing.T, g *golden, model *lm.Model) {
	for _, s := range g.Steer {
		t.Run(s.Key, func(t *testing.T) {
			want := g.tensor(t, "steer."+s.Key, 1)[0]
			got := slices.Concat(g.steered(t, model, g.edit(t, s))...)
			within(t, got[len(got)-len(want):], want, activationTolerance)
		})
	}
}

func testGoldenGenerate(t *testing.T, g *golden, model *lm.Model) {
	for i, ids := range g.generate(t, model) {
		if c := g.Generation.Cases[i]; !slices.Equal(ids, c.NewIDs) {
			t.Errorf("%s: wrote %v, want %v", c.Key, ids, c.NewIDs)
		}
	}
}

func within(t *testing.T, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	worst, at := 0.0, 0
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= tolerance) {
		t.Errorf("value %d is %v, want %v: off by %.3g, more than %g", at, got[at], want[at], worst, tolerance)
	}
}

func closeDirection(t *testing.T, got, want []float32, least float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	var dot, a, b float64
	for i := range got {
		x, y := float64(got[i]), float64(want[i])
		dot, a, b = dot+x*y, a+x*x, b+y*y
	}
	if cosine := dot / math.Sqrt(a*b); !(cosine >= least) {
		t.Errorf("cosine %.9f, want at least %.9f", cosine, least)
	}
}
