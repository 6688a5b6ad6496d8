package doctor

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/vecfile"
)

func openDemo(t *testing.T) *lm.Model {
	t.Helper()
	m, err := lm.OpenFS(t.Context(), demo.Files(), demo.Name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// damaged is a file that no vector of this package could become.
func damaged(t *testing.T, layers map[string][]float32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "v.safetensors")
	var tensors []safetensors.Tensor
	for name, values := range layers {
		tensors = append(tensors, safetensors.New(name, []int{len(values)}, values))
	}
	if err := safetensors.Write(path, tensors, map[string]string{vecfile.FormatKey: "1"}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFaultsOfVectorsAreTold(t *testing.T) {
	path := damaged(t, map[string][]float32{
		"layer.0": {1, 2}, "layer.1": {1, float32(math.NaN())}, "layer.2": {0, 0}, "layer.3": {1, 2}, "layer.4": {1, 2, 3}, "layer.5": {2, 1},
	})
	if _, err := steer.LoadVector(path); err == nil {
		t.Fatal("the vector is read")
	}
	r, err := Examine(t.Context(), path, vecfile.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"layer 1 is not finite: element 1 is NaN", "layer 2 is zero: it steers nothing", "layer 3 is the same as layer 0", "layer 4 has 3 elements where layer 0 has 2"}
	if !slices.Equal(r.Problems, want) {
		t.Errorf("the problems are %q, want %q", r.Problems, want)
	}
	if r.Layers[1].Norm != 0 || math.Abs(r.Layers[0].Norm-math.Sqrt(5)) > 1e-12 {
		t.Errorf("the lengths are %v and %v", r.Layers[0].Norm, r.Layers[1].Norm)
	}
}

func TestAVectorIsHeldAgainstAModel(t *testing.T) {
	model := openDemo(t)
	width, layers := model.Decoder().Hidden, model.Layers()
	direction := func(n int) []float32 {
		out := make([]float32, width)
		out[n%width] = 2
		return out
	}
	good := &steer.Vector{Layers: map[int][]float32{1: direction(1), layers - 1: direction(2)},
		Provenance: steer.Provenance{Family: model.Decoder().Family, WeightsHash: model.Fingerprint()}}
	for _, test := range []struct {
		name     string
		change   func(v *steer.Vector)
		problems []string
		weights  string
	}{
		{"fitting", func(*steer.Vector) {}, nil, SameWeights},
		{"of other weights", func(v *steer.Vector) { v.Provenance.WeightsHash = "sha256:other" }, nil, OtherWeights},
		{"of unknown weights", func(v *steer.Vector) { v.Provenance.WeightsHash = "" }, nil, UnknownWeights},
		{"of another family", func(v *steer.Vector) { v.Provenance.Family = "gpt2" }, []string{"for models of family gpt2"}, SameWeights},
		{"of another width", func(v *steer.Vector) { v.Layers = map[int][]float32{1: {1, 2, 3}} }, []string{"has 3 elements"}, SameWeights},
		{"with a layer too many", func(v *steer.Vector) { v.Layers[layers] = direction(5) }, []string{"layer 6"}, SameWeights},
	} {
		v, err := good.Cut(1, layers-1)
		if err != nil {
			t.Fatal(err)
		}
		test.change(v)
		path := filepath.Join(t.TempDir(), "v")
		if err := v.Save(path); err != nil {
			t.Fatal(err)
		}
		r, err := Examine(t.Context(), path, vecfile.Options{}, model)
		if err != nil {
			t.Fatal(err)
		}
		if r.Weights != test.weights || len(r.Problems) != len(test.problems) {
			t.Errorf("%s: %s; %q", test.name, r.Weights, r.Problems)
		}
		for i, want := range test.problems {
			if !strings.Contains(r.Problems[i], want) {
				t.Errorf("%s: problem %q, want %q", test.name, r.Problems[i], want)
			}
		}
	}
}

// The model's own lengths are means over its activations, without the first token.
func TestActivationsAreMeasured(t *testing.T) {
	model := openDemo(t)
	path := filepath.Join(t.TempDir(), "v")
	values := make([]float32, model.Decoder().Hidden)
	values[3] = 1
	if err := (&steer.Vector{Layers: map[int][]float32{2: values}}).Save(path); err != nil {
		t.Fatal(err)
	}
	r, err := Examine(t.Context(), path, vecfile.Options{}, model)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := model.Tokenize(neutral)
	if err != nil {
		t.Fatal(err)
	}
	recording, err := steer.Record(t.Context(), model, tokens, steer.RecordOptions{Layers: []int{2}})
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, row := range recording.Layers[2][1:] {
		square := 0.0
		for _, x := range row {
			square += float64(x) * float64(x)
		}
		sum += math.Sqrt(square)
	}
	if want := sum / float64(len(tokens)-1); math.Abs(r.Layers[0].ActivationNorm-want) > 1e-9*want {
		t.Errorf("the mean length is %v, want %v", r.Layers[0].ActivationNorm, want)
	}
}

// Where the model is known, so is its last block.
func TestATrapOfTheLastBlockIsToldWhereItIsInTheFile(t *testing.T) {
	const repeng = "../vecfile/testdata/repeng.gguf"
	model := openDemo(t) // has more blocks than the file
	if r, err := Examine(t.Context(), repeng, vecfile.Options{}, model); err != nil || len(r.Traps) != 0 {
		t.Errorf("traps %q, %v", r.Traps, err)
	}
	if r, err := Examine(t.Context(), repeng, vecfile.Options{}, nil); err != nil || len(r.Traps) != 1 || !strings.HasPrefix(r.Traps[0], "if block 3 is the model's last") {
		t.Errorf("traps %q, %v", r.Traps, err)
	}
}
