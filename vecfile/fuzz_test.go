package vecfile

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/steervec/steer/internal/finite"
)

// What is read as a vector, in whatever format, has layers that there can be, each
// finite and as wide as the others, and can be written and read again.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	v := File{Layers: map[int][]float32{-1: {1, 2}, 0: {0, -0.5}, 4095: {4, 5}}, Metadata: map[string]string{ModelKey: "org/name"}}
	for _, format := range Formats() {
		path := filepath.Join(dir, "seed")
		if _, err := WriteAs(path, v, format, true); err != nil {
			f.Fatal(err)
		}
		addFile(f, path)
	}
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		if filepath.Ext(path) != ".py" {
			addFile(f, path)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("v", data)
		if err != nil {
			return
		}
		opts := Options{}
		if layer := 7; c.lone {
			opts.Layer = &layer
		} else if c.producer == "" {
			opts.From = c.may[0]
		}
		vector, _, err := c.translate(opts)
		if err != nil {
			return
		}
		if err := vector.check(); err != nil {
			t.Fatal(err)
		}
		for layer, values := range vector.Layers {
			if layer < -4096 || layer > 4095 || !finite.All(values) || len(values)%max(vector.Rank, 1) != 0 {
				t.Fatalf("layer %d is %v", layer, values)
			}
		}
		fit, _, err := vector.fit(format{name: JSON, sites: true, ranks: true, behaviour: true, first: anyLayer}, false)
		if err != nil {
			return // the metadata is too long
		}
		text, err := encodeJSON(fit)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse("v", text)
		if err != nil {
			t.Fatal(err)
		}
		for layer, values := range vector.Layers {
			for i, x := range again.rows[layer] {
				if math.Float32bits(x) != math.Float32bits(values[i]) {
					t.Fatalf("layer %d: %v came back as %v", layer, values[i], x)
				}
			}
		}
	})
}

func addFile(f *testing.F, path string) {
	f.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
}
