package gguf_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/internal/ggufwrite"
)

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.gguf")
	if err := os.WriteFile(path, sample().Bytes(), 0o666); err != nil {
		log.Fatal(err)
	}
	file, err := gguf.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	fmt.Println(file.Value("general.architecture"), file.Value("tokenizer.ggml.tokens"))
	for _, name := range file.Names() {
		tensor, _ := file.Tensor(name)
		values, err := tensor.Float32s()
		fmt.Println(name, tensor.Type, tensor.Shape, values[:2], err)
	}
	// Output:
	// llama [a b]
	// plain F32 [2 2] [1 2] <nil>
	// blocks Q8_0 [1 32] [0 1] <nil>
}

func sample() *ggufwrite.File {
	f := &ggufwrite.File{}
	f.Set("general.architecture", "llama")
	f.Set("tokenizer.ggml.tokens", []string{"a", "b"})
	ramp := make([]float32, 32)
	for i := range ramp {
		ramp[i] = float32(i)
	}
	ramp[31] = 127
	f.Tensors = []ggufwrite.Tensor{
		{Name: "plain", Type: gguf.F32, Shape: []int{2, 2}, Data: ggufwrite.Encode(gguf.F32, []float32{1, 2, 3, 4})},
		{Name: "blocks", Type: gguf.Q8_0, Shape: []int{1, 32}, Data: ggufwrite.Encode(gguf.Q8_0, ramp)},
	}
	return f
}

func TestValuesComeAsTheWidestOfTheirKind(t *testing.T) {
	f := &ggufwrite.File{}
	cases := []struct{ written, read any }{
		{uint32(7), uint64(7)}, {uint64(1 << 60), uint64(1 << 60)}, {int32(-7), int64(-7)}, {float32(0.5), 0.5}, {1e300, 1e300},
		{true, true}, {"é", "é"}, {"", ""},
		{[]int32{-1, 2}, []int64{-1, 2}}, {[]uint32{1}, []uint64{1}}, {[]float32{0.25}, []float64{0.25}}, {[]bool{true, false}, []bool{true, false}},
		{[]string{"a", "\xff"}, []string{"a", "\xff"}}, {[]string{}, []string{}},
	}
	for i, c := range cases {
		f.Set(fmt.Sprint("key", i), c.written)
	}
	file, err := gguf.Parse("test", f.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		if got := file.Value(fmt.Sprint("key", i)); !reflect.DeepEqual(got, c.read) {
			t.Errorf("%T %v came as %T %v", c.written, c.written, got, got)
		}
	}
	if len(file.Keys()) != len(cases) || file.Keys()[3] != "key3" {
		t.Errorf("keys %v", file.Keys())
	}
	if file.Value("absent") != nil {
		t.Error("an absent key has a value")
	}
}

func TestFilesOfAFileSystem(t *testing.T) {
	file, err := gguf.OpenFS(fstest.MapFS{"m.gguf": &fstest.MapFile{Data: sample().Bytes()}}, "m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if tensor, ok := file.Tensor("plain"); !ok || len(tensor.Data) != 16 {
		t.Error(tensor, ok)
	}
	file.Release(nil)
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if _, err := gguf.OpenFS(fstest.MapFS{"m.gguf/x": &fstest.MapFile{}}, "m.gguf"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
}

// le is a header in its little-endian pieces.
func le(parts ...any) []byte {
	var out bytes.Buffer
	for _, p := range parts {
		if s, ok := p.(string); ok {
			binary.Write(&out, binary.LittleEndian, uint64(len(s)))
			out.WriteString(s)
			continue
		}
		binary.Write(&out, binary.LittleEndian, p)
	}
	return out.Bytes()
}

func header(tensors, pairs uint64, rest ...any) []byte {
	return append(append([]byte("GGUF\x03\x00\x00\x00"), le(tensors, pairs)...), le(rest...)...)
}

// Every claim of a header is held against the file before memory is taken for it.
func TestHostileFiles(t *testing.T) {
	const huge = uint64(1) << 62
	tensor := func(parts ...any) []byte { return append(header(1, 0, parts...), make([]byte, 200)...) }
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "does not begin as a GGUF file does"},
		{"another format", bytes.Repeat([]byte("x"), 40), "does not begin as a GGUF file does"},
		{"version 1", append([]byte("GGUF\x01\x00\x00\x00"), make([]byte, 16)...), "version 1"},
		{"a version of the future", append([]byte("GGUF\x09\x00\x00\x00"), make([]byte, 16)...), "version 9"},
		{"big-endian", append([]byte("GGUF\x00\x00\x00\x03"), make([]byte, 16)...), "big-endian"},
		{"pairs without end", header(0, huge), "metadata 1 of 4611686018427387904"},
		{"tensors without end", header(huge, 0), "tensor 1 of 4611686018427387904"},
		{"a long key", header(0, 1, huge), "bytes are claimed"},
		{"a long text", header(0, 1, "k", uint32(8), huge), "bytes are claimed"},
		{"a long array", header(0, 1, "k", uint32(9), uint32(0), huge), "an array claims 4611686018427387904 values"},
		{"a long array of texts", header(0, 1, "k", uint32(9), uint32(8), uint64(3), make([]byte, 20)), "an array claims 3 values"},
		{"an array of arrays", header(0, 1, "k", uint32(9), uint32(9), uint64(1), uint32(9)), "array of arrays"},
		{"an unknown type of value", header(0, 1, "k", uint32(77)), "type 77"},
		{"an array of an unknown type", header(0, 1, "k", uint32(9), uint32(77), uint64(0)), "array of type 77"},
		{"a truth value of 2", header(0, 1, "k", uint32(7), uint8(2)), "truth value of 2"},
		{"a key twice", header(0, 2, "k", uint32(0), uint8(1), "k", uint32(0), uint8(1)), `"k" comes twice`},
		{"an odd alignment", header(0, 1, "general.alignment", uint32(4), uint32(24)), "not a power of two"},
		{"no dimensions", tensor("t", uint32(0)), "0 dimensions"},
		{"many dimensions", tensor("t", uint32(1<<31)), "2147483648 dimensions"},
		{"dimensions that overflow", tensor("t", uint32(2), uint64(1<<40), uint64(1<<40), uint32(0), uint64(0)), "more than fits"},
		{"dimensions that overflow to nothing", tensor("t", uint32(2), huge, uint64(0), uint32(0), uint64(0)), "more than fits"},
		{"more than the file", tensor("t", uint32(1), uint64(1000), uint32(0), uint64(0)), `tensor "t": its 4000 bytes at offset 0 are past the end`},
		{"an offset past the file", tensor("t", uint32(1), uint64(1), uint32(0), uint64(1<<63)), "past the end"},
		{"an offset that is not aligned", tensor("t", uint32(1), uint64(1), uint32(0), uint64(4)), "not a multiple of 32"},
		{"half a block", tensor("t", uint32(1), uint64(40), uint32(8), uint64(0)), "not whole blocks of 32"},
		{"a tensor twice", append(header(2, 0, "t", uint32(1), uint64(1), uint32(0), uint64(0), "t", uint32(1), uint64(1), uint32(0), uint64(32)), make([]byte, 99)...), "comes twice"},
		{"tensors that overlap", append(header(2, 0, "t", uint32(1), uint64(9), uint32(0), uint64(0), "u", uint32(1), uint64(1), uint32(0), uint64(32)), make([]byte, 99)...), "inside the tensor before it"},
		{"a name that is not UTF-8", tensor("\xff", uint32(1), uint64(1), uint32(0), uint64(0)), "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := gguf.Parse("bad.gguf", c.data)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "open bad.gguf: ") {
				t.Errorf("error %v; want one with %q", err, c.want)
			}
		})
	}
}

// A file that was cut off anywhere is refused, or all that it lists is there.
func TestCutFiles(t *testing.T) {
	whole := sample().Bytes()
	for n := range whole {
		if f, err := gguf.Parse("cut", whole[:n]); err == nil && n < len(whole)-30 { // padding may be missing
			t.Errorf("cut to %d of %d bytes it was read: %v", n, len(whole), f.Names())
		}
	}
}

func TestUnknownTypesAreListed(t *testing.T) {
	data := append(header(1, 0, "t", uint32(1), uint64(5), uint32(200), uint64(0)), make([]byte, 64)...)
	f, err := gguf.Parse("test", data)
	if err != nil {
		t.Fatal(err)
	}
	tensor, ok := f.Tensor("t")
	if !ok || tensor.Type.Expands() || tensor.Data != nil {
		t.Error(tensor, ok)
	}
	if _, err := tensor.Float32s(); err == nil || !strings.Contains(err.Error(), `tensor "t" holds type 200 of ggml, which cannot be expanded`) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample().Bytes())
	f.Add(header(1, 1, "general.alignment", uint32(4), uint32(64), "t", uint32(2), uint64(32), uint64(1), uint32(8), uint64(0)))
	f.Add(header(0, 1, "k", uint32(9), uint32(8), uint64(2), "a", "b"))
	f.Add([]byte("GGUF\x02\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := gguf.Parse("fuzz", data)
		if err != nil {
			return
		}
		total := 0
		for _, name := range file.Names() {
			tensor, ok := file.Tensor(name)
			if !ok {
				t.Fatalf("tensor %q is listed and not there", name)
			}
			elements, size := tensor.Type.Block()
			if tensor.Data == nil && size != 0 && tensor.Len() != 0 {
				t.Fatalf("tensor %q has no data", name)
			}
			if size == 0 {
				continue
			}
			if len(tensor.Data) != tensor.Len()/elements*size {
				t.Fatalf("tensor %q: %d bytes for %v", name, len(tensor.Data), tensor.Shape)
			}
			total += len(tensor.Data)
			values, err := tensor.Float32s()
			if err != nil || len(values) != tensor.Len() {
				t.Fatal(err)
			}
		}
		if total > len(data) {
			t.Fatalf("%d bytes hold tensors of %d", len(data), total)
		}
		for _, key := range file.Keys() {
			if file.Value(key) == nil {
				t.Fatalf("key %q has no value", key)
			}
		}
	})
}

// What a simple encoder stores comes back within a step of its scale.
func TestBlocksHoldWhatWasStored(t *testing.T) {
	values := make([]float32, 512)
	for i := range values {
		values[i] = float32(math.Sin(float64(i)) * math.Exp(float64(i%97)/40))
	}
	for kind, tolerance := range map[gguf.Type]float64{
		gguf.F32: 0, gguf.F16: 1e-3, gguf.BF16: 1e-2, gguf.Q8_0: 0.01, gguf.Q4_0: 0.15, gguf.Q4_K: 0.15, gguf.Q5_K: 0.08, gguf.Q6_K: 0.06,
	} {
		data := ggufwrite.Encode(kind, values)
		back := make([]float32, len(values))
		kind.Expand(back, data)
		most := slices.Max(values)
		for i, v := range values {
			if d := math.Abs(float64(v - back[i])); d > tolerance*float64(most) {
				t.Errorf("%v: %v came back as %v", kind, v, back[i])
				break
			}
		}
	}
}
