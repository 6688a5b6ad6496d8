package vecfile

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A vector that a format can hold comes back from it as it was, to the bit, with
// all that is known of it; equal vectors give equal bytes.
func TestEveryFormatGivesBackWhatItCanHold(t *testing.T) {
	metadata := map[string]string{ModelKey: "org/name", FamilyKey: "llama", ModelLayersKey: "20", AggregatorKey: "mean", ChatTemplateKey: "{% for m in messages %}\n\"é\"", "own": "kept"}
	at := func(key, value string) map[string]string {
		out := map[string]string{key: value}
		for k, v := range metadata {
			if k != key {
				out[k] = v
			}
		}
		return out
	}
	for name, f := range map[string]File{
		"plain":        {Layers: map[int][]float32{1: {1, 2, 3}, 12: {4, 5, 1e-40}, 19: {0.1, -0.5, 3e38}}, Metadata: metadata},
		"first block":  {Layers: map[int][]float32{0: {1, 2}}, Metadata: metadata},
		"from the end": {Layers: map[int][]float32{-1: {1, 2}, -20: {3, 4}}, Metadata: at(ModelLayersKey, "")},
		"other site":   {Layers: map[int][]float32{2: {1, 2}}, Metadata: at(LayerTypeKey, "mlp")},
		"rank 2":       {Layers: map[int][]float32{2: {1, 2, 3, 4, 5, 6}, 3: {1, 0, 0, 0, 1, 0}}, Rank: 2, Metadata: metadata},
		"operator":     {Layers: map[int][]float32{2: {1, 2}}, Metadata: at(OperatorKey, "ablate:share=0.5")},
		"addition":     {Layers: map[int][]float32{2: {1, 2}}, Metadata: at(OperatorKey, "add")},
		"condition":    {Layers: map[int][]float32{2: {1, 2}}, Metadata: at(ConditionKey, "projection at layer 1 > 0.2")},
		"scope":        {Layers: map[int][]float32{2: {1, 2}}, Metadata: at(TokensKey, "response")},
	} {
		refused := map[Format]string{}
		switch name {
		case "first block":
			refused[GGUF] = "layer 0: the format begins at 1"
		case "from the end":
			refused[GGUF], refused[SVEC] = "layer -20: the format begins at 1", "layer -20: the format begins at 0"
		case "other site":
			refused[GGUF], refused[SVEC] = "it acts at mlp", "it acts at mlp"
		case "rank 2":
			refused[GGUF], refused[SVEC] = "2 rows a layer", "2 rows a layer"
		case "operator":
			refused[GGUF], refused[SVEC] = `its operator is "ablate:share=0.5"`, `its operator is "ablate:share=0.5"`
		case "condition":
			refused[GGUF], refused[SVEC] = "its condition is", "its condition is"
		case "scope":
			refused[GGUF], refused[SVEC] = "its tokens is", "its tokens is"
		}
		for _, format := range Formats() {
			t.Run(name+"/"+string(format), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "v")
				_, err := WriteAs(path, f, format, false)
				if want := refused[format]; want != "" {
					if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
						t.Errorf("error %v, want one that says %q", err, want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				got, origin, err := ReadFrom(path, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if origin.Producer.Name != "steer" || !origin.Certain || origin.Format != format {
					t.Errorf("it is told to be %s of %s", origin.Format, origin.Producer.Name)
				}
				delete(got.Metadata, FormatKey)
				if !reflect.DeepEqual(got, f) {
					t.Errorf("%v came back, want %v", got, f)
				}
				first, _ := os.ReadFile(path)
				if _, err := WriteAs(path, f, format, false); err != nil {
					t.Fatal(err)
				}
				if second, _ := os.ReadFile(path); string(first) != string(second) {
					t.Error("equal vectors give other bytes")
				}
			})
		}
	}
}

// With lossy, what a format cannot hold is left out and told.
func TestLossesAreToldWhereTheyAreAllowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v")
	f := File{Layers: map[int][]float32{0: {1, 2, 3, 4}, 3: {5, 6, 7, 8}, -1: {9, 10, 11, 12}}, Rank: 2,
		Metadata: map[string]string{LayerTypeKey: "self_attn", OperatorKey: "ablate", ModelLayersKey: "8", AggregatorKey: "pca"}}
	lost, err := WriteAs(path, f, GGUF, true)
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(lost, "\n"); len(lost) != 4 || !strings.Contains(text, "self_attn") || !strings.Contains(text, "2 rows") || !strings.Contains(text, "ablate") || !strings.Contains(text, "layer 0") {
		t.Errorf("lost is %q", lost)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	want := File{Layers: map[int][]float32{3: {5, 6}, 7: {9, 10}}, Metadata: map[string]string{ModelLayersKey: "8", AggregatorKey: "pca", FormatKey: "1"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v came back, want %v", got, want)
	}
	if _, err := WriteAs(path, File{Layers: map[int][]float32{0: {1}}}, GGUF, true); err == nil || !strings.Contains(err.Error(), "no layer is left") {
		t.Errorf("a file without layers is written: %v", err)
	}
	if _, err := WriteAs(path, File{Layers: map[int][]float32{0: {1}}}, NPY, true); err == nil || !strings.Contains(err.Error(), "read, not written") {
		t.Errorf("a bare array is written: %v", err)
	}
}

func TestTheNameSaysTheFormatThatIsWritten(t *testing.T) {
	for name, want := range map[string]Format{"a.safetensors": Native, "a.GGUF": GGUF, "b/c.npz": NPZ, "c.pt": PyTorch, "d.bin": PyTorch, "e.svec": SVEC, "f.json": JSON} {
		if got, err := FormatFor(name); err != nil || got != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if _, err := FormatFor("vector.npy"); err == nil {
		t.Error("a single array has a format that is written")
	}
}

// The length of a native file's header may have the bytes with which other formats
// begin.
func TestNativeFilesAreKnownWhateverTheirHeadersLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v")
	seen := map[byte]bool{}
	for n := range 64 {
		f := File{Layers: map[int][]float32{1: {1, 2}}, Metadata: map[string]string{"own": strings.Repeat("x", 8*n+400)}}
		if err := Write(path, f); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seen[data[0]] = seen[data[0]] || data[1] == 2
		if _, origin, err := ReadFrom(path, Options{}); err != nil || origin.Format != Native {
			t.Errorf("with a header of %v bytes it is %s, %v", data[:2], origin.Format, err)
		}
	}
	if !seen[0x80] {
		t.Error("no header has the length of a pickle's beginning")
	}
}
