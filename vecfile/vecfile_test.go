package vecfile

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

func TestAVectorComesBackAsItWas(t *testing.T) {
	plain := map[int][]float32{-1: {1, 2, 3}, 0: {0, -0.5, 1e-40}, 12: {4, 5, 6}}
	for format, want := range map[string]File{
		"1":                 {Layers: plain, Metadata: map[string]string{ModelKey: "org/name", AggregatorKey: "mean", "own": "kept"}},
		"2":                 {Rank: 2, Layers: map[int][]float32{3: {1, 2, 3, 4}, 4: {5, 6, 7, 8}}, Metadata: map[string]string{}},
		"2 for an operator": {Layers: plain, Metadata: map[string]string{OperatorKey: "ablate"}},
	} {
		comesBack(t, want, format[:1])
	}
}

func comesBack(t *testing.T, want File, format string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "v.safetensors")
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
	if got.Metadata[FormatKey] != format {
		t.Errorf("the format is %q, want %q", got.Metadata[FormatKey], format)
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
	one := func(name string) safetensors.Tensor { return safetensors.New(name, []int{1}, []float32{1}) }
	for name, test := range map[string]struct {
		tensors  []safetensors.Tensor
		metadata map[string]string
		want     string
	}{
		"other tensors": {[]safetensors.Tensor{safetensors.New("weight", []int{2}, []float32{1, 2})}, map[string]string{FormatKey: "1"}, "weight"},
		"a matrix":      {[]safetensors.Tensor{safetensors.New("layer.1", []int{1, 2}, []float32{1, 2})}, map[string]string{FormatKey: "1"}, "layer.1"},
		"rows of old":   {[]safetensors.Tensor{safetensors.New("layer.1", []int{2, 1}, []float32{1, 2})}, map[string]string{FormatKey: "1"}, "layer.1"},
		"other ranks": {[]safetensors.Tensor{safetensors.New("layer.1", []int{2, 1}, []float32{1, 2}), safetensors.New("layer.2", []int{1}, []float32{1})},
			map[string]string{FormatKey: "2"}, "layer.2"},
		"not finite":       {[]safetensors.Tensor{safetensors.New("layer.1", []int{1}, []float32{float32(math.NaN())})}, map[string]string{FormatKey: "1"}, "layer 1 in it: element 0 is NaN"},
		"a zero too many":  {[]safetensors.Tensor{one("layer.0"), one("layer.00")}, map[string]string{FormatKey: "1"}, `"layer.00"`},
		"a plus":           {[]safetensors.Tensor{one("layer.+1")}, map[string]string{FormatKey: "1"}, `"layer.+1"`},
		"minus nothing":    {[]safetensors.Tensor{one("layer.-0")}, map[string]string{FormatKey: "1"}, `"layer.-0"`},
		"a layer too high": {[]safetensors.Tensor{one("layer.4096")}, map[string]string{FormatKey: "1"}, `"layer.4096": the layer is not from -4096 to 4095`},
		"a newer form":     {[]safetensors.Tensor{safetensors.New("layer.1", []int{1}, []float32{1})}, map[string]string{FormatKey: "99"}, "99"},
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
	if err := Write(filepath.Join(dir, "w"), File{Layers: map[int][]float32{4096: {1}}}); err == nil || !strings.Contains(err.Error(), "layer 4096") {
		t.Errorf("a layer that no model has is written: %v", err)
	}
	if err := Write(filepath.Join(dir, "w"), File{Rank: 2, Layers: map[int][]float32{2: {1, 2, 3}}}); err == nil || !strings.Contains(err.Error(), "not 2 rows") {
		t.Errorf("three numbers are written as two rows: %v", err)
	}
	if err := Write(filepath.Join(dir, "w"), File{}); err == nil {
		t.Error("a vector without layers is written")
	}
}

// All layers that there can be are read at once, and a file of many more is
// refused before their names are looked at.
func TestFilesAreAsLargeAsVectorsMayBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.safetensors")
	vector := File{Layers: map[int][]float32{}}
	for layer := -4096; layer < 4096; layer++ {
		vector.Layers[layer] = []float32{1}
	}
	if err := Write(path, vector); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || len(got.Layers) != len(vector.Layers) {
		t.Fatalf("%d layers, %v", len(got.Layers), err)
	}
	var header strings.Builder
	header.WriteString(`{"__metadata__":{"steer.format":"1"}`)
	const many = 100_000
	for layer := range many {
		fmt.Fprintf(&header, `,"layer.%d":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}`, layer, 4*layer, 4*layer+4)
	}
	header.WriteString("}")
	data := binary.LittleEndian.AppendUint64(nil, uint64(header.Len()))
	data = append(append(data, header.String()...), make([]byte, 4*many)...)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := Read(path)
	if err == nil || !strings.Contains(err.Error(), "at most 4194304 are allowed") || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	long := File{Layers: map[int][]float32{0: {1}}, Metadata: map[string]string{ChatTemplateKey: strings.Repeat("\n", 2<<20)}}
	if err := Write(path, long); err == nil || !strings.Contains(err.Error(), "metadata") {
		t.Errorf("what cannot be read again is written: %v", err)
	}
}
