package gguf_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// A copy holds the same metadata and tensors: matrices in the numbers of the type, or
// of smaller blocks with as many bits; what is no matrix, chooses experts or does not
// fit stays to the bit.
func TestMatricesAreRoundedInACopy(t *testing.T) {
	values := make([]float32, 512)
	for i := range values {
		values[i] = float32(i%37) - 18
	}
	data := func(n int) []byte {
		var out []byte
		for _, v := range values[:n] {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
		return out
	}
	var contents gguf.Contents
	contents.Set("general.architecture", "llama")
	contents.Set("general.file_type", uint32(1))
	for _, c := range []gguf.Tensor{
		{Name: "a.weight", Shape: []int{2, 256}}, {Name: "b.weight", Shape: []int{3, 32}}, {Name: "c.weight", Shape: []int{5, 3}},
		{Name: "blk.0.attn_norm.weight", Shape: []int{256}}, {Name: "blk.0.ffn_gate_inp.weight", Shape: []int{2, 256}},
	} {
		c.Type = gguf.F32
		c.Data = data(c.Len())
		contents.Tensors = append(contents.Tensors, c)
	}
	written, err := contents.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file, err := gguf.Parse("in", written)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if n, err := file.Quantize(t.Context(), &out, gguf.Q4_K); err != nil || n != 2 {
		t.Fatalf("%d tensors are rounded, %v", n, err)
	}
	again, err := gguf.Parse("out", out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if again.Value("general.architecture") != "llama" || again.Value("general.file_type") != uint64(14) {
		t.Errorf("metadata is %v, %v", again.Value("general.architecture"), again.Value("general.file_type"))
	}
	for name, kind := range map[string]gguf.Type{"a.weight": gguf.Q4_K, "b.weight": gguf.Q5_0, "c.weight": gguf.F32, "blk.0.attn_norm.weight": gguf.F32, "blk.0.ffn_gate_inp.weight": gguf.F32} {
		got, _ := again.Tensor(name)
		before, _ := file.Tensor(name)
		want := before.Data
		if kind.Blocks() {
			elements, size := kind.Block()
			want = make([]byte, before.Len()/elements*size)
			if err := kind.Quantize(want, values[:before.Len()]); err != nil {
				t.Fatal(err)
			}
		}
		if got.Type != kind || !slices.Equal(got.Shape, before.Shape) || !bytes.Equal(got.Data, want) {
			t.Errorf("%s is %v %v", name, got.Type, got.Shape)
		}
	}
	if _, err := file.Quantize(t.Context(), &out, gguf.F16); err == nil || !strings.Contains(err.Error(), "F16") {
		t.Errorf("rounding to F16 gives %v", err)
	}
}
