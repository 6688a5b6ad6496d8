// Package safetensors reads and writes the safetensors format: an 8-byte
// little-endian header length, a JSON header that gives each tensor's type,
// shape and byte range, and the tensors' bytes.
//
// A file is mapped, not read: a tensor's bytes come from disk when they are
// looked at. Files are untrusted until their header has been checked; every
// number in it is held against the file's size before it is used.
package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/x448/float16"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

// DType is the type of a tensor's elements, as the format spells it.
type DType string

// The types whose elements take whole bytes. A file may hold others: they are
// listed, and refused when their numbers are asked for.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
	I32  DType = "I32"
	I16  DType = "I16"
	I8   DType = "I8"
	U64  DType = "U64"
	U32  DType = "U32"
	U16  DType = "U16"
	U8   DType = "U8"
	Bool DType = "BOOL"
	F8E4 DType = "F8_E4M3"
	F8E5 DType = "F8_E5M2"
	F8E8 DType = "F8_E8M0"
	C64  DType = "C64"
)

// Size returns the bytes of one element, 0 for a type that is not known.
func (d DType) Size() int {
	switch d {
	case F64, I64, U64, C64:
		return 8
	case F32, I32, U32:
		return 4
	case F16, BF16, I16, U16:
		return 2
	case I8, U8, Bool, F8E4, F8E5, F8E8:
		return 1
	}
	return 0
}

// Tensor is one tensor of a file. Data holds its elements row by row, little
// endian and not necessarily aligned. It is a view of the file's memory: valid
// until the file is closed, and not to be written.
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	Data  []byte
}

// New returns an F32 tensor that holds a copy of values, whose number must be
// the product of shape.
func New(name string, shape []int, values []float32) Tensor {
	return Tensor{Name: name, DType: F32, Shape: slices.Clone(shape), Data: AppendFloats(nil, F32, values)}
}

// Len returns the number of elements, the product of Shape; 1 for a scalar.
func (t Tensor) Len() int {
	n := 1
	for _, s := range t.Shape {
		n *= s
	}
	return n
}

// Float32s returns a copy of the elements as float32. F32, F16 and BF16 come
// out exactly, F64 rounded to the nearest; any other type is an error that
// names the tensor, as is Data that does not fit Shape.
func (t Tensor) Float32s() ([]float32, error) {
	switch t.DType {
	case F64, F32, F16, BF16:
	default:
		return nil, fmt.Errorf("tensor %q holds %s; only F32, F16, BF16 and F64 can be read as numbers", t.Name, t.DType)
	}
	size, ok := byteSize(t.DType, t.Shape)
	if !ok || size != len(t.Data) {
		return nil, fmt.Errorf("tensor %q: shape %v of %s does not fit its %d bytes", t.Name, t.Shape, t.DType, len(t.Data))
	}
	out := make([]float32, size/t.DType.Size())
	decodeFloats(out, t.DType, t.Data)
	return out, nil
}

// byteSize returns the bytes that a tensor takes, and false where a dimension is
// negative or the product does not fit. For a type of unknown size it counts elements.
func byteSize(d DType, shape []int) (int, bool) {
	size := max(d.Size(), 1)
	for _, n := range shape {
		if n < 0 {
			return 0, false
		}
		high, low := bits.Mul64(uint64(size), uint64(n))
		if high != 0 || low > math.MaxInt {
			return 0, false
		}
		size = int(low)
	}
	return size, true
}

// decodeFloats widens or rounds the elements in data to out; their numbers agree.
func decodeFloats(out []float32, d DType, data []byte) {
	switch d {
	case F64:
		for i := range out {
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:])))
		}
	case F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case BF16:
		for i := range out {
			out[i] = bfloat16.Widen(binary.LittleEndian.Uint16(data[2*i:]))
		}
	case F16:
		for i := range out {
			out[i] = float16.Frombits(binary.LittleEndian.Uint16(data[2*i:])).Float32()
		}
	}
}

// AppendFloats appends values to data as elements of type d, which is F64, F32,
// F16 or BF16: each rounded to the nearest, ties to even.
func AppendFloats(data []byte, d DType, values []float32) []byte {
	data = slices.Grow(data, d.Size()*len(values))
	switch d {
	case F64:
		for _, v := range values {
			data = binary.LittleEndian.AppendUint64(data, math.Float64bits(float64(v)))
		}
	case F32:
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
	case BF16:
		for _, v := range values {
			data = binary.LittleEndian.AppendUint16(data, bfloat16.Round(v))
		}
	case F16:
		for _, v := range values {
			data = binary.LittleEndian.AppendUint16(data, float16.Fromfloat32(v).Bits())
		}
	}
	return data
}
