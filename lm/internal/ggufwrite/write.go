// Package ggufwrite writes GGUF files for tests: any metadata and tensors, right or
// wrong. It shares no code with the reader that it tests.
package ggufwrite

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// File is what a GGUF file holds.
type File struct {
	Pairs   []Pair
	Tensors []Tensor
}

// Pair is a key of the metadata and its value: a uint32, uint64, int32, float32,
// float64, bool or string, or a slice of int32, uint32, float32, bool or string.
type Pair struct {
	Key   string
	Value any
}

// Tensor is a tensor with its bytes; neighbours differ in the last index of Shape.
type Tensor struct {
	Name  string
	Type  gguf.Type
	Shape []int
	Data  []byte
}

// Set adds a key to the metadata.
func (f *File) Set(key string, value any) { f.Pairs = append(f.Pairs, Pair{key, value}) }

var order = binary.LittleEndian

// Bytes returns the file, version 3, its tensors aligned to 32 bytes.
func (f *File) Bytes() []byte {
	out := append([]byte("GGUF"), 3, 0, 0, 0)
	out = order.AppendUint64(out, uint64(len(f.Tensors)))
	out = order.AppendUint64(out, uint64(len(f.Pairs)))
	for _, p := range f.Pairs {
		out = appendText(out, p.Key)
		out = appendValue(out, p.Value)
	}
	offset := 0
	for _, t := range f.Tensors {
		out = appendText(out, t.Name)
		out = order.AppendUint32(out, uint32(len(t.Shape)))
		for i := len(t.Shape) - 1; i >= 0; i-- {
			out = order.AppendUint64(out, uint64(t.Shape[i]))
		}
		out = order.AppendUint32(out, uint32(t.Type))
		out = order.AppendUint64(out, uint64(offset))
		offset += (len(t.Data) + 31) / 32 * 32
	}
	pad := func() {
		for len(out)%32 != 0 {
			out = append(out, 0)
		}
	}
	pad()
	for _, t := range f.Tensors {
		out = append(out, t.Data...)
		pad()
	}
	return out
}

func appendText(out []byte, s string) []byte {
	return append(order.AppendUint64(out, uint64(len(s))), s...)
}

func appendValue(out []byte, value any) []byte {
	switch v := value.(type) {
	case uint32:
		return order.AppendUint32(append(out, 4, 0, 0, 0), v)
	case int32:
		return order.AppendUint32(append(out, 5, 0, 0, 0), uint32(v))
	case float32:
		return order.AppendUint32(append(out, 6, 0, 0, 0), math.Float32bits(v))
	case bool:
		out = append(out, 7, 0, 0, 0, 0)
		if v {
			out[len(out)-1] = 1
		}
		return out
	case string:
		return appendText(append(out, 8, 0, 0, 0), v)
	case uint64:
		return order.AppendUint64(append(out, 10, 0, 0, 0), v)
	case float64:
		return order.AppendUint64(append(out, 12, 0, 0, 0), math.Float64bits(v))
	case []uint32:
		return appendArray(out, v, 4)
	case []int32:
		return appendArray(out, v, 4)
	case []float32:
		return appendArray(out, v, 4)
	case []bool:
		return appendArray(out, v, 4)
	case []string:
		return appendArray(out, v, 4)
	}
	panic(fmt.Sprintf("a value of type %T cannot be written", value))
}

// appendArray appends the values without the type before each, of so many bytes.
func appendArray[T any](out []byte, values []T, typeBytes int) []byte {
	var zero T
	out = append(out, 9, 0, 0, 0)
	out = append(out, appendValue(nil, any(zero))[:typeBytes]...)
	out = order.AppendUint64(out, uint64(len(values)))
	for _, v := range values {
		out = append(out, appendValue(nil, any(v))[typeBytes:]...)
	}
	return out
}

// Encode stores values as a type.
func Encode(kind gguf.Type, values []float32) []byte {
	switch kind {
	case gguf.F32:
		return safetensors.AppendFloats(nil, safetensors.F32, values)
	case gguf.F16:
		return safetensors.AppendFloats(nil, safetensors.F16, values)
	case gguf.BF16:
		return safetensors.AppendFloats(nil, safetensors.BF16, values)
	}
	elements, bytes := kind.Block()
	if !kind.Blocks() || len(values)%elements != 0 {
		panic(fmt.Sprintf("%d values cannot be written as %v", len(values), kind))
	}
	out := make([]byte, len(values)/elements*bytes)
	if err := kind.Quantize(out, values); err != nil {
		panic(err)
	}
	return out
}
