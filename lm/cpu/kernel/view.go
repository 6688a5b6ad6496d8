package kernel

import (
	"encoding/binary"
	"math"
)

// Stored is the number format of a tensor as it lies in a checkpoint.
type Stored uint8

const (
	StoredF32 Stored = iota
	StoredF16
	StoredBF16
)

// Size returns the bytes of one element.
func (s Stored) Size() int {
	if s == StoredF32 {
		return 4
	}
	return 2
}

// View is a strided look at a matrix [Rows, Cols] in a checkpoint's memory,
// little endian. Element (r, c) lies at element index r*RowStride + c*ColStride,
// so a transposed weight is a view with exchanged strides and a slice of rows is
// a view with shifted data.
type View struct {
	Data                 []byte
	Type                 Stored
	Rows, Cols           int
	RowStride, ColStride int
}

// Row writes row r as float32 into dst [Cols].
func (v View) Row(r int, dst []float32) {
	size := v.Type.Size()
	at := r * v.RowStride * size
	step := v.ColStride * size
	for c := range dst[:v.Cols] {
		switch v.Type {
		case StoredF32:
			dst[c] = math.Float32frombits(binary.LittleEndian.Uint32(v.Data[at:]))
		case StoredBF16:
			dst[c] = FromBF16(binary.LittleEndian.Uint16(v.Data[at:]))
		case StoredF16:
			dst[c] = FromF16(binary.LittleEndian.Uint16(v.Data[at:]))
		}
		at += step
	}
}

// FromBF16 widens a bfloat16 to float32; exact.
func FromBF16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// ToBF16 rounds to the nearest bfloat16, ties to even; a NaN stays a NaN.
func ToBF16(f float32) uint16 {
	bits := math.Float32bits(f)
	if f != f {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + (bits>>16)&1) >> 16)
}

// FromF16 widens an IEEE 754 half to float32; exact.
func FromF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent := uint32(h>>10) & 0x1f
	fraction := uint32(h & 0x3ff)
	switch exponent {
	case 0: // zero or subnormal: fraction * 2^-24
		f := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	default:
		return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
	}
}
