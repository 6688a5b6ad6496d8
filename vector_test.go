package steer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/steervec/steer"
)

func FuzzLoadVector(f *testing.F) {
	path := filepath.Join(f.TempDir(), "v")
	if err := (&steer.Vector{Layers: map[int][]float32{0: {1, 2}, -1: {3, 4}}}).Save(path); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:20])
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "v")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := steer.LoadVector(path)
		if err != nil {
			return
		}
		for layer, norm := range v.Norms() {
			if _, err := v.Edit(1, steer.AtLayers(layer)); (err != nil) != (norm == 0) {
				t.Fatalf("layer %d of length %v acts or not: %v", layer, norm, err)
			}
		}
	})
}
