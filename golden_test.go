package steer_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/modules"
)

// golden is what the Python library computes on one checkpoint, in float32.
type golden struct {
	Note      string
	ModelType string `json:"model_type"`
	// LayerConfig is what the reference guesses, right or wrong.
	LayerConfig map[lm.Site]modules.Template `json:"layer_config"`
	Pairs       []struct {
		Positive, Negative string
		PositiveIDs        []int `json:"positive_ids"`
		NegativeIDs        []int `json:"negative_ids"`
	}
	PairsForMinusTwo []int `json:"pairs_used_for_index_-2"`
	CustomIndex      []struct {
		Positive *int `json:"pos_index"`
		Negative *int `json:"neg_index"`
	} `json:"custom_index"`
	Probe struct {
		Text string
		IDs  []int
	}
	Generation struct {
		Prompt string
		IDs    []int `json:"prompt_ids"`
		Max    int   `json:"max_new_tokens"`
		Cases  []struct {
			steering
			NewIDs []int `json:"new_ids"`
			Text   string
		}
	}
	Tensors []struct {
		steering
		LayerType   lm.Site           `json:"layer_type"`
		LayerConfig map[string]string `json:"layer_config"`
		Layer       int
		Aggregator  string
		ReadToken   json.RawMessage `json:"read_token_index"` // a number, or for train_custom a sentence
	}

	dir    string
	values *safetensors.File
}

// steering is a steered case: a vector among the tensors and how it is applied.
type steering struct {
	Key          string
	Vector       string
	VectorLayers []int `json:"vector_layers"`
	Operator     string
	Multiplier   *float64
	MinToken     *int            `json:"min_token_index"`
	Tokens       json.RawMessage `json:"token_indices"`
	TokensKind   string          `json:"token_indices_kind"`
}

const (
	activationTolerance = 1e-3
	meanTolerance       = 2e-4
	pcaCosine           = 1 - 1e-5
	logisticCosine      = 1 - 1e-6
)

// goldenFolders returns the committed goldens, and beside the project all others.
func goldenFolders(t *testing.T) []string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"testdata/goldens/*/golden.json", "../shared/goldens/*/golden.json"} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range matches {
			found[filepath.Base(filepath.Dir(m))] = filepath.Dir(m)
		}
	}
	if len(found) == 0 {
		t.Fatal("no goldens are there: testdata/goldens is missing")
	}
	folders := make([]string, 0, len(found))
	for _, dir := range found {
		folders = append(folders, dir)
	}
	slices.SortFunc(folders, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	return folders
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
	if !slices.Contains(arch.Families(), g.ModelType) {
		t.Skipf("family %s is not described", g.ModelType)
	}
	model, err := lm.Open(t.Context(), dir, lm.Compute(lm.Float32))
	if err != nil {
		t.Fatal(err)
	}
	return g, model
}

// tensor returns a golden tensor's values; nil where a trimmed file lacks it.
func (g *golden) tensor(t *testing.T, key string) []float32 {
	t.Helper()
	tensor, ok := g.values.Tensor(key)
	if !ok {
		return nil
	}
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// config is the layer config that the reference guesses.
func (g *golden) config() modules.Config {
	config := modules.Config{}
	for site, template := range g.LayerConfig {
		config[site] = template
	}
	return config
}

// siteOf is the site whose module a layer config gives for a layer type.
func siteOf(t *testing.T, model *lm.Model, layerType lm.Site, config modules.Config) lm.Site {
	t.Helper()
	site, err := modules.SiteOf(model.Modules(), layerType, config)
	if err != nil {
		t.Fatal(err)
	}
	return site
}

func TestGoldens(t *testing.T) {
	for _, dir := range goldenFolders(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			g, model := openGolden(t, dir)
			t.Run("tokens", func(t *testing.T) { testGoldenTokens(t, g, model) })
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

func testGoldenRecord(t *testing.T, g *golden, model *lm.Model) {
	for _, entry := range g.Tensors {
		want := g.tensor(t, entry.Key)
		config := g.config()
		opts := steer.RecordOptions{Layers: []int{entry.Layer}}
		switch kind, _, _ := strings.Cut(entry.Key, "."); {
		case want == nil:
			continue
		case kind == "logits":
			opts = steer.RecordOptions{Logits: true}
		case kind == "act_custom":
			for name, template := range entry.LayerConfig {
				config[lm.Site(name)] = modules.Template(template)
			}
		case kind != "act":
			continue
		}
		t.Run(entry.Key, func(t *testing.T) {
			opts.Site = siteOf(t, model, entry.LayerType, config)
			r, err := steer.Record(t.Context(), model, g.Probe.IDs, opts)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Logits
			if !opts.Logits {
				got = r.Layers[entry.Layer]
			}
			within(t, slices.Concat(got...), want, activationTolerance)
		})
	}
}

func testGoldenTrain(t *testing.T, g *golden, model *lm.Model) {
	all := make([]steer.Sample, len(g.Pairs))
	for i, p := range g.Pairs {
		all[i] = steer.Sample{Positive: p.Positive, Negative: p.Negative}
	}
	type run struct {
		site       lm.Site
		aggregator string
		read       int
	}
	trained := map[run]*steer.Vector{}
	for _, entry := range g.Tensors {
		want := g.tensor(t, entry.Key)
		if want == nil || !strings.HasPrefix(entry.Key, "train") {
			continue
		}
		t.Run(entry.Key, func(t *testing.T) {
			var opts steer.TrainOptions
			samples := all
			r := run{entry.LayerType, entry.Aggregator, -1}
			switch {
			case strings.HasPrefix(entry.Key, "train_exact."):
				r = run{lm.DecoderBlock, "exact", -1}
			case strings.HasPrefix(entry.Key, "train_custom."):
				r = run{lm.DecoderBlock, "custom", 0}
			default:
				r.read = decode[int](t, entry.ReadToken)
			}
			vector := trained[r]
			if vector == nil {
				opts.Site, opts.Read = siteOf(t, model, r.site, g.config()), steer.ReadAt(r.read)
				switch r.aggregator {
				case "mean":
				case "pca":
					opts.Aggregator = steer.PCA()
				case "custom":
					samples = slices.Clone(all)
					for i, c := range g.CustomIndex {
						if c.Positive != nil {
							samples[i].ReadPositive = steer.ReadAt(*c.Positive)
						}
						if c.Negative != nil {
							samples[i].ReadNegative = steer.ReadAt(*c.Negative)
						}
					}
					opts.Layers = []int{0, -1}
					opts.Read = steer.ReadFunc("custom", func(prompt string) int {
						if n := utf8.RuneCountInString(prompt); n > 5 {
							return n%2 - 1
						}
						return -1
					})
				default:
					opts.Aggregator = steer.Logistic(steer.LogisticOptions{})
				}
				if r.read == -2 {
					samples = nil
					for _, i := range g.PairsForMinusTwo {
						samples = append(samples, all[i])
					}
				}
				var err error
				if vector, err = steer.Train(t.Context(), model, samples, opts); err != nil {
					t.Fatal(err)
				}
				trained[r] = vector
			}
			got := vector.Layers[entry.Layer]
			switch r.aggregator {
			case "mean", "custom":
				within(t, got, want, meanTolerance)
			case "pca":
				closeDirection(t, got, want, pcaCosine)
			case "logistic": // at the default tolerance of the reference's solver
				within(t, got, want, 2e-4)
			default:
				closeDirection(t, got, want, logisticCosine)
			}
		})
	}
}

// edit builds the edit of a steered case.
func (g *golden) edit(t *testing.T, model *lm.Model, s steering, site lm.Site) lm.Edit {
	t.Helper()
	if site == "" {
		site = lm.DecoderBlock
	}
	key, _, _ := strings.Cut(s.Vector, " ")
	vector := &steer.Vector{Site: site, Layers: map[int][]float32{}}
	for _, layer := range s.VectorLayers {
		from := layer
		if layer < 0 {
			from += model.Layers()
		}
		vector.Layers[layer] = g.tensor(t, fmt.Sprintf("%s.%d", key, from))
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
		opts = append(opts, steer.OnTokens(steer.At(decode[[]int](t, s.Tokens)...)))
	case s.TokensKind == "Tensor":
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
	edit, err := vector.Edit(multiplier, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return edit
}

func decode[T any](t *testing.T, data []byte) (out T) {
	t.Helper()
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func testGoldenSteer(t *testing.T, g *golden, model *lm.Model) {
	for _, entry := range g.Tensors {
		want := g.tensor(t, entry.Key)
		if want == nil || !strings.HasPrefix(entry.Key, "steer.") {
			continue
		}
		t.Run(strings.TrimPrefix(entry.Key, "steer."), func(t *testing.T) {
			site := siteOf(t, model, entry.LayerType, g.config())
			edit := g.edit(t, model, entry.steering, site)
			r, err := steer.Record(t.Context(), with(t, model, edit), g.Probe.IDs, steer.RecordOptions{Layers: []int{0}, Logits: true})
			if err != nil {
				t.Fatal(err)
			}
			within(t, slices.Concat(r.Logits...), want, activationTolerance)
		})
	}
}

// Every case of generation decodes in one call, each steered in its own way.
func testGoldenGenerate(t *testing.T, g *golden, model *lm.Model) {
	var prompts []lm.Input
	for _, c := range g.Generation.Cases {
		in := lm.Input{Tokens: g.Generation.IDs}
		if c.Vector != "" {
			var err error
			if in.Steering, err = model.Steering(g.edit(t, model, c.steering, "")); err != nil {
				t.Fatal(err)
			}
		}
		prompts = append(prompts, in)
	}
	out, err := model.Generate(t.Context(), prompts, lm.GenerateOptions{MaxTokens: g.Generation.Max, IgnoreEnd: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range g.Generation.Cases {
		t.Run(c.Key, func(t *testing.T) {
			if !slices.Equal(out[i].IDs, c.NewIDs) {
				t.Errorf("wrote %v, want %v", out[i].IDs, c.NewIDs)
			} else if out[i].Text != c.Text {
				t.Errorf("wrote %q, want %q", out[i].Text, c.Text)
			}
		})
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
