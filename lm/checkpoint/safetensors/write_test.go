package safetensors_test

import (
	"bytes"
	"fmt"
	"log"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "vector.safetensors")
	vector := safetensors.New("layer.3", []int{2}, []float32{0.5, -1})
	if err := safetensors.Write(path, []safetensors.Tensor{vector}, map[string]string{"made by": "an example"}); err != nil {
		log.Fatal(err)
	}
	file, err := safetensors.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	for _, name := range file.Names() {
		tensor, _ := file.Tensor(name)
		values, err := tensor.Float32s()
		fmt.Println(name, tensor.DType, tensor.Shape, values, err)
	}
	// Output: layer.3 F32 [2] [0.5 -1] <nil>
}

// Whatever is written is read back the same, and written again to the same bytes.
func TestWriteThenRead(t *testing.T) {
	types := []safetensors.DType{
		safetensors.F64, safetensors.F32, safetensors.F16, safetensors.BF16, safetensors.I64, safetensors.I32, safetensors.I16, safetensors.I8,
		safetensors.U64, safetensors.U32, safetensors.U16, safetensors.U8, safetensors.Bool, safetensors.F8E4, safetensors.F8E5, safetensors.F8E8, safetensors.C64,
	}
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		out := []rune{}
		for range r.IntN(6) {
			out = append(out, []rune("ab\"\\</\n\x00é世😀\u2028")[r.IntN(12)])
		}
		return string(out)
	}
	path := filepath.Join(t.TempDir(), "w")
	for round := range 100 {
		var tensors []safetensors.Tensor
		for i := range r.IntN(6) {
			x := safetensors.Tensor{Name: fmt.Sprint(text(), i), DType: types[r.IntN(len(types))], Shape: []int{}}
			for range r.IntN(4) {
				x.Shape = append(x.Shape, r.IntN(4))
			}
			x.Data = make([]byte, x.Len()*x.DType.Size())
			for i := range x.Data {
				x.Data[i] = byte(r.Uint32())
			}
			tensors = append(tensors, x)
		}
		metadata := map[string]string{}
		for range r.IntN(3) {
			metadata[text()] = text()
		}
		if err := safetensors.Write(path, tensors, metadata); err != nil {
			t.Fatal(err)
		}
		first, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := safetensors.Open(path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(f.Header())%8 != 0 {
			t.Errorf("the data is not aligned: header of %d bytes", len(f.Header()))
		}
		if !maps.Equal(f.Metadata(), metadata) {
			t.Errorf("metadata %q; want %q", f.Metadata(), metadata)
		}
		if len(f.Names()) != len(tensors) {
			t.Errorf("%d tensors; want %d", len(f.Names()), len(tensors))
		}
		for _, want := range tensors {
			got, ok := f.Tensor(want.Name)
			if !ok || got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Data, want.Data) {
				t.Errorf("read %v; want %v", got, want)
			}
		}
		f.Close()
		if err := safetensors.Write(path, tensors, metadata); err != nil {
			t.Fatal(err)
		}
		if again, _ := os.ReadFile(path); !bytes.Equal(again, first) {
			t.Error("the same tensors gave other bytes")
		}
	}
}

// The bytes are those that the official library writes for the same tensor.
func TestWriteLaysOutAsTheOfficialLibrary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	err := safetensors.Write(path, []safetensors.Tensor{safetensors.New("w", []int{1, 2}, []float32{1, -2})}, map[string]string{"format": "pt"})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	want := "\x58\x00\x00\x00\x00\x00\x00\x00" +
		`{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}} ` +
		"\x00\x00\x80\x3f\x00\x00\x00\xc0"
	if string(got) != want {
		t.Errorf("wrote %q; want %q", got, want)
	}
}

func TestWriteRefuses(t *testing.T) {
	ok := safetensors.New("a", []int{1}, []float32{1})
	for _, c := range []struct {
		name     string
		tensors  []safetensors.Tensor
		metadata map[string]string
		want     string
	}{
		{"a name twice", []safetensors.Tensor{ok, ok}, nil, `tensor "a" comes twice`},
		{"the metadata's name", []safetensors.Tensor{safetensors.New("__metadata__", []int{0}, nil)}, nil, "cannot name a tensor"},
		{"a name that is not UTF-8", []safetensors.Tensor{safetensors.New("\xff", []int{0}, nil)}, nil, "cannot name a tensor"},
		{"metadata that is not UTF-8", nil, map[string]string{"k": "\xff"}, `metadata "k" is not UTF-8`},
		{"too little data", []safetensors.Tensor{safetensors.New("a", []int{2}, []float32{1})}, nil, `tensor "a": shape [2] of F32 does not fit its 4 bytes`},
		{"a negative size", []safetensors.Tensor{safetensors.New("a", []int{-1}, nil)}, nil, "does not fit"},
		{"an unknown type", []safetensors.Tensor{{Name: "a", DType: "F4", Shape: []int{2}, Data: []byte{1}}}, nil, `"F4" is not a known type`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			err := safetensors.Write(filepath.Join(dir, "w"), c.tensors, c.metadata)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one with %q", err, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left %v behind", left)
			}
		})
	}
}

func TestWriterTakesRowsInAnyOrder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	infos := []safetensors.TensorInfo{}
	for _, d := range []safetensors.DType{safetensors.F32, safetensors.F16, safetensors.BF16, safetensors.F64} {
		infos = append(infos, safetensors.TensorInfo{Name: string(d), DType: d, Shape: []int{64, 3}})
	}
	w, err := safetensors.Create(path, infos, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	var wait sync.WaitGroup
	for _, info := range infos {
		for _, row := range rand.Perm(32) {
			wait.Go(func() {
				i := float32(6 * row)
				if err := w.WriteRows(info.Name, 2*row, []float32{i, i + 1, i + 2, i + 3, i + 4, i + 5}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is there before Commit")
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, info := range infos {
		tensor, _ := f.Tensor(info.Name)
		got, err := tensor.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if v != float32(i) {
				t.Fatalf("%s: element %d is %v", info.Name, i, v)
			}
		}
	}
	if err := w.WriteRows("F32", 0, nil); err == nil {
		t.Error("written to after Commit")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func TestWriterRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	if err := os.WriteFile(path, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	w, err := safetensors.Create(path, []safetensors.TensorInfo{
		{Name: "a", DType: safetensors.F32, Shape: []int{2, 3}}, {Name: "n", DType: safetensors.I32, Shape: []int{1}},
		{Name: "s", DType: safetensors.F32}, {Name: "e", DType: safetensors.F32, Shape: []int{4, 0}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a tensor not announced", w.WriteRows("b", 0, nil), `tensor "b" was not announced`},
		{"half a row", w.WriteRows("a", 0, make([]float32, 4)), "4 values are not whole rows of shape [2 3]"},
		{"a row too many", w.WriteRows("a", 1, make([]float32, 6)), "24 bytes at 12 do not fit into 24"},
		{"a negative row", w.WriteRows("a", -1, make([]float32, 3)), "from row -1 on"},
		{"rows of whole numbers", w.WriteRows("n", 0, make([]float32, 1)), "numbers cannot be written as I32"},
		{"rows of a scalar", w.WriteRows("s", 0, make([]float32, 1)), "a scalar has no rows"},
		{"values in rows of none", w.WriteRows("e", 0, make([]float32, 1)), "not whole rows"},
		{"bytes past the end", w.WriteAt("a", make([]byte, 2), 23), "do not fit"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: error %v; want one with %q", c.name, c.err, c.want)
		}
	}
	if err := w.WriteRows("a", 0, make([]float32, 3)); err != nil {
		t.Error(err)
	}
	if err := w.Commit(); err == nil || !strings.Contains(err.Error(), `tensor "a": not all of its 24 bytes were written`) {
		t.Errorf("half a file: %v", err)
	}
	if old, _ := os.ReadFile(path); string(old) != "old" {
		t.Error("the file that was there is gone")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

// Every half and every bfloat16 survives being widened and rounded back, and
// rounding takes the nearest, ties to even.
func TestHalvesAndBrains(t *testing.T) {
	const all = 1 << 16
	for _, d := range []safetensors.DType{safetensors.F16, safetensors.BF16} {
		data := make([]byte, 0, 2*all)
		for i := range all {
			data = append(data, byte(i), byte(i>>8))
		}
		wide, err := safetensors.Tensor{DType: d, Shape: []int{all}, Data: data}.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		back := safetensors.Round(d, wide)
		for i := range wide {
			if math.IsNaN(float64(wide[i])) {
				if narrow, _ := (safetensors.Tensor{DType: d, Shape: []int{1}, Data: back[2*i : 2*i+2]}).Float32s(); !math.IsNaN(float64(narrow[0])) {
					t.Errorf("%s %04x: a NaN became %v", d, i, narrow[0])
				}
			} else if !bytes.Equal(back[2*i:2*i+2], data[2*i:2*i+2]) {
				t.Fatalf("%s %04x widens to %v, which rounds to %x", d, i, wide[i], back[2*i:2*i+2])
			}
		}
		finite := 0x7bff
		if d == safetensors.BF16 {
			finite = 0x7f7f
		}
		for i := range finite { // between two neighbours
			low, high := float64(wide[i]), float64(wide[i+1])
			middle := float32((low + high) / 2) // exact: both have few bits
			got := safetensors.Round(d, []float32{math.Nextafter32(middle, 0), middle, math.Nextafter32(middle, math.MaxFloat32), -middle})
			even := i + i&1
			for j, want := range []int{i, even, i + 1, even | 0x8000} {
				if int(got[2*j])|int(got[2*j+1])<<8 != want {
					t.Fatalf("%s: near the middle %v of %04x and %04x: case %d gives %x", d, middle, i, i+1, j, got[2*j:2*j+2])
				}
			}
		}
		inf := safetensors.Round(d, []float32{math.MaxFloat32, float32(math.Inf(-1))})
		if f, _ := (safetensors.Tensor{DType: d, Shape: []int{2}, Data: inf}).Float32s(); !math.IsInf(float64(f[0]), 1) || !math.IsInf(float64(f[1]), -1) {
			t.Errorf("%s: too large numbers became %v", d, f)
		}
	}
}
