// Package bfloat16 converts between float32 and bfloat16, its upper half.
package bfloat16

import "math"

// Widen returns the number; exact.
func Widen(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// Round returns the nearest bfloat16, ties to even; a NaN stays a NaN.
func Round(f float32) uint16 {
	bits := math.Float32bits(f)
	if f != f {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
