package steer_test

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

func testVector() *steer.Vector {
	return &steer.Vector{
		Layers:          map[int][]float32{0: {1, 0}, 3: {3, 4}, -1: {0, 2}},
		Provenance:      steer.Provenance{Family: "llama", ModelLayers: 6, PairsHash: "p", Aggregator: "mean"},
		ActivationNorms: map[int]float64{0: 10, 3: 10},
	}
}

func TestEditsMultiplyTheVector(t *testing.T) {
	v := testVector()
	for _, test := range []struct {
		name       string
		multiplier float64
		options    []steer.EditOption
		want       map[int][]float32
		operator   steer.Operator
	}{
		{"as usual", 2, nil, map[int][]float32{0: {2, 0}, 3: {6, 8}, -1: {0, 4}}, steer.Add()},
		{"some layers", -1, []steer.EditOption{steer.AtLayers(3)}, map[int][]float32{3: {-3, -4}}, steer.Add()},
		{"layers from the last", 1, []steer.EditOption{steer.AtLayers(-3, 5)}, map[int][]float32{3: {3, 4}, -1: {0, 2}}, steer.Add()},
		{"an operator", 1, []steer.EditOption{steer.Using(steer.Ablate()), steer.AtLayers(0)}, map[int][]float32{0: {1, 0}}, steer.Ablate()},
		{"nothing", 0, []steer.EditOption{steer.AtLayers(0)}, map[int][]float32{0: {0, 0}}, steer.Add()},
	} {
		edit, err := v.Edit(test.multiplier, test.options...)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		same := len(edit.Layers) == len(test.want)
		for layer, want := range test.want {
			same = same && slices.Equal(edit.Layers[layer], want)
		}
		if !same || edit.Operator != test.operator || edit.Site != lm.DecoderBlock {
			t.Errorf("%s: %+v, want layers %v", test.name, edit, test.want)
		}
	}
}

func TestEditsThatMakeNoSenseAreErrors(t *testing.T) {
	broken := func(values ...float32) *steer.Vector { return &steer.Vector{Layers: map[int][]float32{7: values}} }
	for _, test := range []struct {
		name       string
		vector     *steer.Vector
		multiplier float64
		options    []steer.EditOption
		want       string
	}{
		{"a zero vector", broken(0, 0), 1, nil, "the vector of layer 7: it is zero"},
		{"a zero vector with multiplier 0", broken(0, 0), 0, nil, "the vector of layer 7: it is zero"},
		{"a vector that is not finite", broken(1, float32(math.NaN())), 1, nil, "element 1 is NaN"},
		{"a multiplier that is not finite", testVector(), math.Inf(1), nil, "the multiplier is +Inf"},
		{"a product that is not finite", broken(1e30, 1), 1e30, nil, "multiplied by 1e+30 it is not finite"},
		{"a product that vanishes", testVector(), 1e-60, nil, "multiplied by 1e-60 nothing is left of it"},
		{"an ablation of what vanishes", testVector(), 1e-60, []steer.EditOption{steer.Using(steer.Ablate())}, "nothing is left of it"},
		{"an ablation with multiplier 0", testVector(), 0, []steer.EditOption{steer.Using(steer.Ablate())}, "leave the multiplier at 1"},
		{"a layer that it lacks", testVector(), 1, []steer.EditOption{steer.AtLayers(2)}, "the vector has no layer 2; it has [-1 0 3]"},
		{"a negative layer of an unknown model", broken(1), 1, []steer.EditOption{steer.AtLayers(-1)}, "does not say how many layers"},
		{"no layers", testVector(), 1, []steer.EditOption{steer.AtLayers()}, "no layers"},
	} {
		if _, err := test.vector.Edit(test.multiplier, test.options...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
		}
	}
}

// An edit of multiplier 0 is idle: it computes nothing anew.
func TestAMultiplierOfZeroSharesEverything(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	edit, err := g.vector(t, model).Edit(0)
	if err != nil {
		t.Fatal(err)
	}
	if id := with(t, model, edit).SteeringID(); id != "" {
		t.Errorf("it steers as %s", id)
	}
}

func TestArithmeticGivesNewVectorsThatSayWhatWasDone(t *testing.T) {
	v := testVector()
	must := func(v *steer.Vector, err error) *steer.Vector {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	negated := must(v.Negate())
	for _, test := range []struct {
		name  string
		got   *steer.Vector
		third []float32 // layer 3
		done  string
	}{
		{"scaled", must(v.Scale(0.5)), []float32{1.5, 2}, "scaled by 0.5"},
		{"negated", negated, []float32{-3, -4}, "negated"},
		{"normalised", must(v.Normalise()), []float32{0.6, 0.8}, "normalised"},
		{"twice", must(must(v.Scale(2)).Normalise()), []float32{0.6, 0.8}, "scaled by 2; normalised"},
		{"added", must(v.Add(v)), []float32{6, 8}, `plus a vector of model "", pairs "p", mean`},
		{"subtracted", must(v.Sub(negated)), []float32{6, 8}, `minus a vector of model "", pairs "p", mean (negated)`},
		{"cut", must(v.Cut(-3)), []float32{3, 4}, "cut to layers [-3]"},
	} {
		if got := test.got.Layers[3]; !slices.Equal(got, test.third) || test.got.Provenance.Operations != test.done {
			t.Errorf("%s: %v, said to be %q; want %v and %q", test.name, got, test.got.Provenance.Operations, test.third, test.done)
		}
	}
	if cut := must(v.Cut(3)); len(cut.Layers) != 1 {
		t.Errorf("cut to one layer it has %v", cut.Layers)
	}
	if want := testVector(); !slices.Equal(v.Layers[3], want.Layers[3]) || v.Provenance != want.Provenance {
		t.Errorf("the vector itself became %+v", v)
	}
	other := &steer.Vector{Layers: map[int][]float32{0: {0, 3}, 3: {6, 8}, 5: {1, -1}}, Provenance: v.Provenance}
	cosines, err := v.Cosine(other)
	if err != nil || cosines[0] != 0 || cosines[3] != 1 || math.Abs(cosines[-1]+math.Sqrt2/2) > 1e-15 {
		t.Errorf("cosines %v (%v)", cosines, err)
	}
}

func TestVectorsThatDoNotMatchAreNotCombined(t *testing.T) {
	v := testVector()
	for _, test := range []struct {
		name  string
		other *steer.Vector
		want  string
	}{
		{"another site", &steer.Vector{Site: lm.MLP, Layers: v.Layers}, "different layer types, decoder_block and mlp"},
		{"another family", &steer.Vector{Layers: v.Layers, Provenance: steer.Provenance{Family: "gpt2"}}, "different model families, llama and gpt2"},
		{"no layer in common", &steer.Vector{Layers: map[int][]float32{1: {1, 2}}}, "layer"},
		{"other widths", &steer.Vector{Layers: map[int][]float32{0: {1}, 3: {1, 2}, -1: {1, 2}}}, "have 2 and 1 elements"},
	} {
		for _, combine := range []func() error{
			func() error { _, err := v.Add(test.other); return err },
			func() error { _, err := v.Cosine(test.other); return err },
		} {
			if err := combine(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
			}
		}
	}
	for name, err := range map[string]error{
		"scaled by 0":         second(v.Scale(0)),
		"scaled to infinity":  second(v.Scale(1e39)),
		"less itself":         second(v.Sub(v)),
		"cut to nothing":      second(v.Cut()),
		"cut to others":       second(v.Cut(1)),
		"of other layers":     second(v.Add(&steer.Vector{Layers: map[int][]float32{0: {1, 2}}})),
		"of other ranks":      second(v.Add(&steer.Vector{Rank: 2, Layers: v.Layers})),
		"acting otherwise":    second(v.Add(&steer.Vector{Operator: "ablate", Layers: v.Layers})),
		"that is a map":       second((&steer.Vector{Operator: "affine", Rank: 2, Layers: map[int][]float32{1: {1, 1, 2, 2}}}).Scale(2)),
		"without a map":       second(v.Orthogonalise(&steer.Vector{Operator: "affine", Rank: 2, Layers: map[int][]float32{0: {1, 1, 2, 2}}})),
		"of other conditions": second(v.Add(&steer.Vector{Condition: &steer.When{Always: true}, Layers: v.Layers})),
		"averaged to nothing": second(steer.Average(v, &steer.Vector{Layers: map[int][]float32{0: {-1, 0}, 3: {-3, -4}, -1: {0, -2}}})),
		"without itself":      second(v.Orthogonalise(v)),
		"of too many":         second(steer.Principal(2, v, v)),
		"zero and normalised": second((&steer.Vector{Layers: map[int][]float32{1: {0}}}).Normalise()),
	} {
		if err == nil {
			t.Errorf("a vector %s is no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// What is applied to a model is compared with what the vector says of the one
// that it was trained on.
func TestAVectorIsCheckedAgainstTheModel(t *testing.T) {
	model := openDemo(t)
	samples := []steer.Sample{{Positive: "Tom was happy.", Negative: "Tom was sad.", ReadPositive: steer.ReadAt(-2), ReadNegative: steer.ReadAt(-2)}}
	trained, err := steer.Train(t.Context(), model, samples, steer.TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func(v *steer.Vector)) *steer.Vector {
		v, err := trained.Cut(0, 1, 2, 3, 4, 5)
		if err != nil {
			t.Fatal(err)
		}
		change(v)
		return v
	}
	for _, test := range []struct {
		name       string
		vector     *steer.Vector
		multiplier float64
		options    []steer.EditOption
		notes      []string
		err        string
	}{
		{"one layer, gently", trained, 0.5, []steer.EditOption{steer.AtLayers(3)}, nil, ""},
		{"all layers", trained, 0.01, nil, []string{"acts at all 6 layers at once"}, ""},
		{"too strongly", trained, -20, []steer.EditOption{steer.AtLayers(3, 4)}, []string{"times their own length"}, ""},
		{"an ablation, whatever the multiplier", trained, 99, []steer.EditOption{steer.Using(steer.Ablate())}, nil, ""},
		{"other weights", changed(func(v *steer.Vector) { v.Provenance.WeightsHash = "sha256:other" }), 0.1, []steer.EditOption{steer.AtLayers(3)}, []string{"other weights"}, ""},
		{"another family", changed(func(v *steer.Vector) { v.Provenance.Family = "gpt2" }), 1, nil, nil, "of family gpt2; model demo is of family llama"},
		{"another width", changed(func(v *steer.Vector) { v.Layers = map[int][]float32{0: {1, 2}} }), 1, nil, nil, "has 2 elements"},
		{"a layer that the model lacks", changed(func(v *steer.Vector) { v.Layers = map[int][]float32{9: v.Layers[0]} }), 1, nil, nil, "layer 9 is out of range"},
	} {
		edit, err := test.vector.Edit(test.multiplier, test.options...)
		if err != nil {
			t.Fatal(err)
		}
		notes, err := test.vector.Check(model, edit)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.err)
		}
		if len(notes) != len(test.notes) || len(notes) > 0 && !strings.Contains(notes[0], test.notes[0]) {
			t.Errorf("%s: notes %q, want %q", test.name, notes, test.notes)
		}
	}
}

// Equal prompts differ nowhere: no vector comes of them.
func TestAZeroVectorIsNotTrained(t *testing.T) {
	model := openDemo(t)
	samples := []steer.Sample{{Positive: "Tom was happy.", Negative: "Tom was sad."}}
	_, err := steer.Train(t.Context(), model, samples, steer.TrainOptions{Layers: []int{2}, Read: steer.ReadAt(1)})
	if err == nil || !strings.Contains(err.Error(), "layer 2: the direction is zero") {
		t.Errorf("error %v", err)
	}
}

// A vector says how long the activations are that it is to move.
func TestTrainingMeasuresTheActivations(t *testing.T) {
	model := openDemo(t)
	samples := []steer.Sample{{Positive: "Tom was happy.", Negative: "Tom was sad."}, {Positive: "Mia sang.", Negative: "Mia cried."}}
	v, err := steer.Train(t.Context(), model, samples, steer.TrainOptions{Layers: []int{2}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := steer.Extract(t.Context(), model, samples, steer.ExtractOptions{Layers: []int{2}})
	if err != nil {
		t.Fatal(err)
	}
	want := 0.0
	for _, row := range slices.Concat(a.Positive[2], a.Negative[2]) {
		square := 0.0
		for _, x := range row {
			square += float64(x) * float64(x)
		}
		want += math.Sqrt(square) / 4
	}
	if got := v.ActivationNorms[2]; math.Abs(got-want) > 1e-5*want {
		t.Errorf("activations of length %v, want %v", got, want)
	}
}

// A layer has one name in a file of activations.
func TestActivationsHaveOneTensorALayer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	tensor := func(name string) safetensors.Tensor { return safetensors.New(name, []int{1, 2}, []float32{1, 2}) }
	for _, name := range []string{"positive.00", "positive.-1", "positive.+0", "positive.0x0", "neutral.0"} {
		err := safetensors.Write(path, []safetensors.Tensor{tensor("positive.0"), tensor("negative.0"), tensor(name)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := steer.LoadActivations(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s beside positive.0: %v", name, err)
		}
	}
}
