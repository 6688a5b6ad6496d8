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
	if _, err := file.Quantize(t.Context(), &out, gguf.Type(99)); err == nil || !strings.Contains(err.Error(), "99") {
		t.Errorf("rounding to a type that is not known gives %v", err)
	}
}

// Blocks can be written as plain numbers, and those as others.
func TestBlocksBecomePlainNumbers(t *testing.T) {
	values := make([]float32, 64)
	for i := range values {
		values[i] = float32(i-31) / 3
	}
	var contents gguf.Contents
	contents.Set("general.architecture", "llama")
	blocks := make([]byte, 68)
	if err := gguf.Q8_0.Quantize(blocks, values); err != nil {
		t.Fatal(err)
	}
	gguf.Q8_0.Expand(values, blocks)
	contents.Tensors = []gguf.Tensor{{Name: "a.weight", Type: gguf.Q8_0, Shape: []int{2, 32}, Data: blocks}}
	data, err := contents.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []gguf.Type{gguf.F32, gguf.BF16, gguf.F16} {
		file, err := gguf.Parse("in", data)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if n, err := file.Quantize(t.Context(), &out, kind); err != nil || n != 1 {
			t.Fatalf("%d tensors are rounded, %v", n, err)
		}
		again, err := gguf.Parse("out", out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		tensor, _ := again.Tensor("a.weight")
		got, err := tensor.Float32s()
		if err != nil || tensor.Type != kind {
			t.Fatalf("%v: %v, %v", kind, tensor.Type, err)
		}
		bits := map[gguf.Type]float64{gguf.F32: 30, gguf.BF16: 8, gguf.F16: 11}[kind]
		for i, v := range values {
			if d := math.Abs(float64(got[i] - v)); d > math.Abs(float64(v))*math.Exp2(-bits) || kind == gguf.F32 && d != 0 {
				t.Errorf("%v: element %d is %v, want %v", kind, i, got[i], v)
			}
		}
	}
	if err := gguf.F16.Encode(make([]byte, 2), []float32{1e6}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a million as a half gives %v", err)
	}
}
