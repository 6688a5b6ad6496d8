package vecfile

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

func TestAVectorComesBackAsItWas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.safetensors")
	want := File{
		Layers:   map[int][]float32{-1: {1, 2, 3}, 0: {0, -0.5, 1e-40}, 12: {4, 5, 6}},
		Metadata: map[string]string{ModelKey: "org/name", AggregatorKey: "mean", "own": "kept"},
	}
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Metadata[FormatKey] != "1" {
		t.Errorf("the format is %q", got.Metadata[FormatKey])
	}
	delete(got.Metadata, FormatKey)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v came back, want %v", got, want)
	}
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(path); string(first) != string(second) {
		t.Error("equal vectors give other bytes")
	}
}

func TestWhatIsNoVectorIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		tensors  []safetensors.Tensor
		metadata map[string]string
		want     string
	}{
		"other tensors": {[]safetensors.Tensor{safetensors.New("weight", []int{2}, []float32{1, 2})}, map[string]string{FormatKey: "1"}, "weight"},
		"a matrix":      {[]safetensors.Tensor{safetensors.New("layer.1", []int{1, 2}, []float32{1, 2})}, map[string]string{FormatKey: "1"}, "layer.1"},
		"not finite":    {[]safetensors.Tensor{safetensors.New("layer.1", []int{1}, []float32{float32(math.NaN())})}, map[string]string{FormatKey: "1"}, "layer"},
		"a newer form":  {[]safetensors.Tensor{safetensors.New("layer.1", []int{1}, []float32{1})}, map[string]string{FormatKey: "99"}, "99"},
	} {
		path := filepath.Join(dir, "v.safetensors")
		if err := safetensors.Write(path, test.tensors, test.metadata); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one that names %q and the file", name, err, test.want)
		}
	}
	if err := Write(filepath.Join(dir, "w"), File{Layers: map[int][]float32{2: {float32(math.Inf(1))}}}); err == nil || !strings.Contains(err.Error(), "layer 2") {
		t.Errorf("an infinite vector is written: %v", err)
	}
	if err := Write(filepath.Join(dir, "w"), File{}); err == nil {
		t.Error("a vector without layers is written")
	}
}
