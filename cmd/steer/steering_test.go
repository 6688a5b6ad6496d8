package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A colon parts file and multiplier, unless a file has the whole as its name.
func TestVectorFlagPartsFileAndMultiplier(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"v", "v:2", "v:2:3"} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Skipf("this system has no file %q: %v", name, err)
		}
	}
	for _, test := range []struct {
		text       string
		path       string
		multiplier float64
	}{
		{"v", "v", 1},
		{"v:2", "v:2", 1},
		{"v:2:3", "v:2:3", 1},
		{"v:-1.5", "v", -1.5},
		{"v:2:-1.5", "v:2", -1.5},
		{"v:1e-3", "v", 0.001},
		{filepath.Join("missing", "v"), filepath.Join("missing", "v"), 1},
		{`C:\vectors\v.safetensors:2`, `C:\vectors\v.safetensors`, 2},
	} {
		path, multiplier, err := splitVector(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if path != test.path || multiplier != test.multiplier {
			t.Errorf("%s: file %s, multiplier %v", test.text, path, multiplier)
		}
	}
	for _, text := range []string{"v:two", ":2", `C:\missing`} {
		if path, _, err := splitVector(text); err == nil {
			t.Errorf("%s: file %s", text, path)
		}
	}
}
