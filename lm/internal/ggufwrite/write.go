// Package ggufwrite writes GGUF files for tests: any metadata and tensors, and
// small checkpoints as llama.cpp's converter writes them. It shares no table
// with the reader that it tests.
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

// Encode stores values as a type. Blocks are filled in a simple way: by the
// largest values, not by the least error.
func Encode(kind gguf.Type, values []float32) []byte {
	switch kind {
	case gguf.F32:
		return safetensors.AppendFloats(nil, safetensors.F32, values)
	case gguf.F16:
		return safetensors.AppendFloats(nil, safetensors.F16, values)
	case gguf.BF16:
		return safetensors.AppendFloats(nil, safetensors.BF16, values)
	}
	encode, ok := encoders[kind]
	elements, _ := kind.Block()
	if !ok || len(values)%elements != 0 {
		panic(fmt.Sprintf("%d values cannot be written as %v", len(values), kind))
	}
	var out []byte
	for ; len(values) > 0; values = values[elements:] {
		out = append(out, encode(values[:elements])...)
	}
	return out
}

var encoders = map[gguf.Type]func([]float32) []byte{
	gguf.Q8_0: encodeQ8_0, gguf.Q4_0: encodeQ4_0, gguf.Q4_K: encodeQ4_K, gguf.Q5_K: encodeQ5_K, gguf.Q6_K: encodeQ6_K,
}

func halfBytes(values ...float32) []byte {
	return safetensors.AppendFloats(nil, safetensors.F16, values)
}

// round returns value/scale as a whole number in [low, high].
func round(value, scale float32, low, high int) int {
	if scale == 0 {
		return max(low, min(high, 0))
	}
	return max(low, min(high, int(math.RoundToEven(float64(value/scale)))))
}

func largest(values []float32) (most float32) {
	for _, v := range values {
		most = max(most, v, -v)
	}
	return most
}

func encodeQ8_0(values []float32) []byte {
	scale := largest(values) / 127
	out := halfBytes(scale)
	for _, v := range values {
		out = append(out, byte(int8(round(v, scale, -127, 127))))
	}
	return out
}

func encodeQ4_0(values []float32) []byte {
	scale := largest(values) / 7
	out := halfBytes(scale)
	for i := range 16 {
		out = append(out, byte(round(values[i], scale, -8, 7)+8|(round(values[i+16], scale, -8, 7)+8)<<4))
	}
	return out
}

// scalesAndMinima finds for each 32 values a scale and a minimum in 6 bits, and
// packs them as Q4_K and Q5_K do.
func scalesAndMinima(values []float32, most int) (head []byte, scales, minima [8]float32) {
	var topScale, topMinimum float32
	for g := range 8 {
		low, high := float32(0), float32(0)
		for _, v := range values[g*32 : g*32+32] {
			low, high = min(low, v), max(high, v)
		}
		scales[g], minima[g] = (high-low)/float32(most), -low
		topScale, topMinimum = max(topScale, scales[g]), max(topMinimum, minima[g])
	}
	d, dmin := topScale/63, topMinimum/63
	var packed [12]byte
	for g := range 8 {
		s, m := byte(round(scales[g], d, 0, 63)), byte(round(minima[g], dmin, 0, 63))
		scales[g], minima[g] = d*float32(s), dmin*float32(m)
		if g < 4 {
			packed[g] |= s
			packed[g+4] |= m
		} else {
			packed[g+4] = s&15 | m&15<<4
			packed[g-4] |= s >> 4 << 6
			packed[g] |= m >> 4 << 6
		}
	}
	return append(halfBytes(d, dmin), packed[:]...), scales, minima
}

func encodeQ4_K(values []float32) []byte {
	head, scales, minima := scalesAndMinima(values, 15)
	quants := make([]byte, 128)
	for i, v := range values {
		g := i / 32
		quants[g/2*32+i%32] |= byte(round(v+minima[g], scales[g], 0, 15) << (g % 2 * 4))
	}
	return append(head, quants...)
}

func encodeQ5_K(values []float32) []byte {
	head, scales, minima := scalesAndMinima(values, 31)
	fifth, quants := make([]byte, 32), make([]byte, 128)
	for i, v := range values {
		g := i / 32
		q := round(v+minima[g], scales[g], 0, 31)
		quants[g/2*32+i%32] |= byte(q & 15 << (g % 2 * 4))
		fifth[i%32] |= byte(q >> 4 << g)
	}
	return append(append(head, fifth...), quants...)
}

func encodeQ6_K(values []float32) []byte {
	low, high, scales := make([]byte, 128), make([]byte, 64), make([]byte, 16)
	d := largest(values) / 31 / 127
	for i := range scales {
		scales[i] = byte(round(largest(values[i*16:i*16+16])/31, d, 0, 127))
	}
	for i, v := range values {
		q := round(v, d*float32(scales[i/16]), -32, 31) + 32
		part, g := i/128, i%128/32
		low[part*64+g%2*32+i%32] |= byte(q & 15 << (g / 2 * 4))
		high[part*32+i%32] |= byte(q >> 4 << (2 * g))
	}
	return append(append(append(low, high...), scales...), halfBytes(d)...)
}
