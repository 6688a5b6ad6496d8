package steer_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// What a prompt gives does not depend on what else is computed, on how the work is
// cut into runs, on what was computed before, or on what had to leave the cache:
// every way gives the bits that it gives alone, for every family, steered or not.
func TestResultsDoNotDependOnWhatIsComputedTogether(t *testing.T) {
	for i, dir := range goldenFolders(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			if testing.Short() && i%8 != 0 {
				t.Skip("one in eight where it is to be short")
			}
			g, model := openGolden(t, dir)
			testTogether(t, g, g.vector(t, model), model)
		})
	}
}

// The same holds for weights in blocks, of families that store matrices in every way:
// as they are, transposed, fused, as experts. The widths are made whole blocks.
func TestResultsWithBlocksDoNotDependOnWhatIsComputedTogether(t *testing.T) {
	for dir, kind := range map[string]gguf.Type{"llama": gguf.Q4_0, "gpt2": gguf.Q8_0, "gpt_neox": gguf.Q5_1, "mixtral": gguf.IQ4_NL, "gemma2": gguf.Q4_K} {
		t.Run(dir+"/"+kind.String(), func(t *testing.T) {
			g, _ := openGolden(t, filepath.Join("testdata/goldens", dir))
			data, err := os.ReadFile(filepath.Join(g.dir, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			config := decode[map[string]any](t, data)
			for field, value := range map[string]any{
				"hidden_size": 64, "n_embd": 64, "intermediate_size": 96, "num_attention_heads": 4, "n_head": 4, "num_key_value_heads": 2, "head_dim": 16,
			} {
				if _, ok := config[field]; ok {
					config[field] = value
				}
			}
			if data, err = json.Marshal(config); err != nil {
				t.Fatal(err)
			}
			model, err := lm.Random(t.Context(), dir, data, lm.Quantize(kind))
			if err != nil {
				t.Fatal(err)
			}
			if dtype := model.Description().DType; !strings.HasSuffix(dtype, ":i16") {
				t.Fatalf("computes in %s", dtype)
			}
			vector := &steer.Vector{Site: lm.DecoderBlock, Layers: map[int][]float32{1: make([]float32, 64)}}
			for i := range vector.Layers[1] {
				vector.Layers[1][i] = float32(i%5) - 2
			}
			testTogether(t, g, vector, model)
		})
	}
}

// testTogether computes the prompts of a golden, plain and steered, in several ways.
func testTogether(t *testing.T, g *golden, vector *steer.Vector, model *lm.Model) {
	inputs := []lm.Input{{Tokens: g.Probe.IDs}, {Tokens: g.Probe.IDs[:5]}, {Tokens: g.Probe.IDs}}
	for _, p := range g.Pairs[:4] {
		inputs = append(inputs, lm.Input{Tokens: p.PositiveIDs}, lm.Input{Tokens: p.NegativeIDs})
	}
	// each is plain and steered in some ways, all together
	plain := len(inputs)
	for k, edit := range everyEdit(t, vector, model) {
		steering, err := model.Steering(edit)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, k, k + 3} {
			in := inputs[i%plain]
			in.Steering = steering
			inputs = append(inputs, in)
		}
	}
	large, small := model.Cached(4096), model.Cached(48)
	ways := []way{
		{"one forest", model, 0}, {"runs of 64", model, 64}, {"runs of 7", model, 7}, {"token by token", model, 1},
		{"cached", large, 0}, {"found in the cache", large, 7}, {"in a cache that is too small", small, 7}, {"computed again", small, 0},
	}
	var alone [][]float32
	for _, in := range inputs {
		alone = append(alone, logitsOf(t, model, []lm.Input{in}, 0)...)
	}
	for _, way := range ways {
		for i, logits := range logitsOf(t, way.model, inputs, way.tokens) {
			if !slices.Equal(logits, alone[i]) {
				t.Errorf("%s: prompt %d differs by %g", way.name, i, largestDifference(alone[i], logits))
			}
		}
	}
	testTextsTogether(t, model, inputs, ways)
	if err := errors.Join(large.CheckCache(), small.CheckCache()); err != nil {
		t.Error(err)
	}
}

// everyEdit is an edit with each operator, and with each kind of condition and
// schedule.
func everyEdit(t *testing.T, vector *steer.Vector, model *lm.Model) (edits []lm.Edit) {
	r := rand.New(rand.NewPCG(1, 9))
	width, last := model.Decoder().StreamWidth(), model.Layers()-1
	random := func(rows int) []float32 {
		out := make([]float32, rows*width)
		for i := range out {
			out[i] = float32(r.NormFloat64() / math.Sqrt(float64(width)))
		}
		return out
	}
	for _, o := range []struct {
		text string
		rows int
	}{
		{"add-same-norm", 1}, {"ablate:share=0.5", 2}, {"ablate-positive", 1}, {"clamp:floor=0,ceiling=0.5", 1}, {"rotate:by=40", 2},
		{"slerp:share=0.3", 1}, {"multiply:by=2", 3}, {"affine", 2}, {"transport", width + 2}, {"leace", 3},
	} {
		operator, err := steer.ParseOperator(o.text)
		if err != nil {
			t.Fatal(err)
		}
		edits = append(edits, lm.Edit{Layers: map[int][]float32{last: random(o.rows)}, Operator: operator, Tokens: steer.From(2)})
	}
	for _, operator := range []steer.Operator{steer.Add(), steer.Ablate(), steer.AblateThenAdd()} {
		edit, err := vector.Edit(1, steer.Using(operator), steer.OnTokens(steer.From(2)))
		if err != nil {
			t.Fatal(err)
		}
		edits = append(edits, edit)
	}
	evidence := func(when lm.When, below bool, release *float64) *lm.Condition {
		return &lm.Condition{Evidence: &lm.Evidence{Vector: random(1), Measure: lm.Cosine, When: when, Below: below, Release: release}}
	}
	held := -0.1
	for _, condition := range []*lm.Condition{
		evidence(lm.PromptMean, false, nil), evidence(lm.PromptLast, true, nil), evidence(lm.EachToken, false, nil), evidence(lm.EachToken, false, &held),
		{Any: []lm.Condition{*evidence(lm.PromptLast, false, nil), {Not: evidence(lm.EachToken, false, &held)}}},
	} {
		edits = append(edits, lm.Edit{Layers: map[int][]float32{last: random(1)}, Operator: steer.Add(), Condition: condition})
	}
	fading := lm.Edit{Layers: map[int][]float32{last: random(1)}, Operator: steer.Add(), Tokens: steer.Generated(1, 4), Decay: lm.Decay{HalfLife: 1.5}}
	return append(edits, fading)
}

// way is a way to compute some inputs together.
type way struct {
	name   string
	model  *lm.Model
	tokens int // of a run
}

// testTextsTogether continues some prompts greedily and by drawing: alone, and in
// one batch in every way.
func testTextsTogether(t *testing.T, model *lm.Model, inputs []lm.Input, ways []way) {
	for _, temperature := range []float64{0, 1} {
		opts := lm.GenerateOptions{MaxTokens: 5, IgnoreEnd: true, Temperature: temperature, Seed: 7}
		write := func(m *lm.Model, inputs ...lm.Input) (texts [][]int) {
			out, err := m.Generate(t.Context(), inputs, opts)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range out {
				texts = append(texts, g.IDs)
			}
			return texts
		}
		var alone [][]int
		for _, in := range inputs {
			alone = append(alone, write(model, in)...)
		}
		for _, way := range ways {
			opts.RunTokens = way.tokens
			for i, ids := range write(way.model, inputs...) {
				if !slices.Equal(ids, alone[i]) {
					t.Errorf("%s: prompt %d writes %v at temperature %v, alone %v", way.name, i, ids, temperature, alone[i])
				}
			}
		}
	}
}

// logitsOf returns each input's logits, all positions one after the other.
func logitsOf(t *testing.T, model *lm.Model, inputs []lm.Input, nodes int) [][]float32 {
	t.Helper()
	vocabulary := model.Decoder().Vocabulary
	out := make([][]float32, len(inputs))
	for i := range inputs {
		out[i] = make([]float32, len(inputs[i].Tokens)*vocabulary)
	}
	_, err := model.Forward(t.Context(), inputs, lm.ForwardOptions{RunTokens: nodes, Logits: func(input, position int, logits []float32) {
		copy(out[input][position*vocabulary:], logits)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func largestDifference(a, b []float32) float64 {
	worst := 0.0
	for i := range a {
		if d := math.Abs(float64(a[i]) - float64(b[i])); !(d <= worst) {
			worst = d
		}
	}
	return worst
}

// A sequence shares the prefix that it is not yet steered on with one that is
// not steered at all.
func TestSteeringPartsSequencesOnlyWhereItActs(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	edit, err := g.vector(t, model).Edit(1, steer.OnTokens(steer.From(10)))
	if err != nil {
		t.Fatal(err)
	}
	steering, err := model.Steering(edit)
	if err != nil {
		t.Fatal(err)
	}
	n := len(g.Probe.IDs)
	usage, err := model.Forward(t.Context(), []lm.Input{{Tokens: g.Probe.IDs}, {Tokens: g.Probe.IDs, Steering: steering}}, lm.ForwardOptions{
		Logits: func(int, int, []float32) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	if usage.Given != 2*n || usage.Computed != n+(n-10) {
		t.Errorf("%d given and %d computed, want %d and %d", usage.Given, usage.Computed, 2*n, n+(n-10))
	}
}

// What the reference does silently is an error that names the value.
func TestMistakesAreNamed(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	sample := steer.Sample{Positive: g.Pairs[0].Positive, Negative: g.Pairs[0].Negative}
	for _, test := range []struct {
		name    string
		samples []steer.Sample
		opts    steer.TrainOptions
		want    string
	}{
		{"no samples", nil, steer.TrainOptions{}, "train: there are no samples"},
		{"empty prompt", []steer.Sample{sample, {Positive: "a"}}, steer.TrainOptions{}, "train: sample 1, negative prompt: it is empty"},
		{"layer out of range", []steer.Sample{sample}, steer.TrainOptions{Layers: []int{9}},
			"train: layer 9 is out of range: model " + filepath.Base(g.dir) + " has layers 0 to 2 (or -3 to -1)"},
		{"read token outside", []steer.Sample{{Positive: "a", Negative: "b", ReadPositive: steer.ReadAt(-40)}}, steer.TrainOptions{},
			"train: sample 0, positive prompt: read token -40 is outside its 1 tokens"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := steer.Train(t.Context(), model, test.samples, test.opts)
			if err == nil || err.Error() != test.want {
				t.Errorf("error %q, want %q", err, test.want)
			}
		})
	}
	t.Run("selection past the prompt", func(t *testing.T) {
		edit, err := g.vector(t, model).Edit(1, steer.OnTokens(steer.At(99)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := steer.Record(t.Context(), with(t, model, edit), g.Probe.IDs, steer.RecordOptions{}); err == nil {
			t.Error("a selection of token 99 of 12 was accepted")
		}
	})
	t.Run("multiplier 0 with an ablation", func(t *testing.T) {
		if _, err := g.vector(t, model).Edit(0, steer.Using(steer.Ablate())); err == nil {
			t.Error("it was accepted")
		}
	})
}

// firstGolden is a golden that is always there.
func firstGolden() string {
	return "testdata/goldens/gpt2"
}
