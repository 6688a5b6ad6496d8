package vecfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// What is read as a vector has the layers that the file names, each finite and
// as wide as the others.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "seed")
	for _, v := range []File{
		{Layers: map[int][]float32{-1: {1, 2}, 0: {0, -0.5}, 4095: {4, 5}}, Metadata: map[string]string{ModelKey: "org/name"}},
		{Layers: map[int][]float32{0: {1}}},
	} {
		if err := Write(path, v); err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := safetensors.Parse("v", data)
		if err != nil {
			return
		}
		vector, err := parse(file)
		if err != nil {
			return
		}
		width := 0
		for layer, values := range vector.Layers {
			if width == 0 {
				width = len(values)
			}
			if checkLayer(layer) != nil || check(values) != nil || len(values) != width {
				t.Fatalf("layer %d is %v", layer, values)
			}
		}
		if len(vector.Layers) != len(file.Names()) {
			t.Fatalf("%d layers of %q", len(vector.Layers), file.Names())
		}
	})
}
