package gguf

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// The block formats are those of ggml (ggml-quants.h). A block holds scales,
// as halves, and small whole numbers q; each function writes one block's
// elements. Products are rounded one by one, float32(…), so that no machine
// fuses them and the numbers are the same everywhere.

// half widens the IEEE 754 half at the beginning of b.
func half(b []byte) float32 {
	return float16.Frombits(binary.LittleEndian.Uint16(b)).Float32()
}

// expandQ4_0: scale, then 16 bytes of which the low halves are q of the first
// 16 elements and the high halves of the others; scale * (q - 8).
func expandQ4_0(out []float32, b []byte) {
	scale := half(b)
	for i, q := range b[2:18] {
		out[i] = scale * float32(int(q&15)-8)
		out[i+16] = scale * float32(int(q>>4)-8)
	}
}

// expandQ4_1: scale, minimum, q as in Q4_0; scale*q + minimum.
func expandQ4_1(out []float32, b []byte) {
	scale, minimum := half(b), half(b[2:])
	for i, q := range b[4:20] {
		out[i] = float32(scale*float32(q&15)) + minimum
		out[i+16] = float32(scale*float32(q>>4)) + minimum
	}
}

// expandQ5_0: scale, 32 fifth bits, q as in Q4_0; scale * (q - 16).
func expandQ5_0(out []float32, b []byte) {
	scale, fifth := half(b), binary.LittleEndian.Uint32(b[2:])
	for i, q := range b[6:22] {
		low := int(q&15) | int(fifth>>i&1)<<4
		high := int(q>>4) | int(fifth>>(i+16)&1)<<4
		out[i] = scale * float32(low-16)
		out[i+16] = scale * float32(high-16)
	}
}

// expandQ5_1: scale, minimum, 32 fifth bits, q; scale*q + minimum.
func expandQ5_1(out []float32, b []byte) {
	scale, minimum, fifth := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:])
	for i, q := range b[8:24] {
		low := int(q&15) | int(fifth>>i&1)<<4
		high := int(q>>4) | int(fifth>>(i+16)&1)<<4
		out[i] = float32(scale*float32(low)) + minimum
		out[i+16] = float32(scale*float32(high)) + minimum
	}
}

// expandQ8_0: scale, then a signed byte for each element.
func expandQ8_0(out []float32, b []byte) {
	scale := half(b)
	for i, q := range b[2:34] {
		out[i] = scale * float32(int8(q))
	}
}

// expandQ2_K: 16 bytes, each a scale and a minimum of 4 bits for 16 elements; 64
// bytes of four q each; the scale of the scales and that of the minima.
func expandQ2_K(out []float32, b []byte) {
	scales, quants := b[:16], b[16:80]
	d, dmin := half(b[80:]), half(b[82:])
	for i := range out {
		group := i / 16
		// 128 elements lie in 32 bytes: the first 32 in the lowest bits of each.
		q := quants[i/128*32+i%32] >> (i % 128 / 32 * 2) & 3
		scale := d * float32(scales[group]&15)
		minimum := dmin * float32(scales[group]>>4)
		out[i] = float32(scale*float32(q)) - minimum
	}
}

// expandQ3_K: 32 bytes of third bits, 64 bytes of four q each, 12 bytes of 16
// scales, the scale of the scales; an element whose third bit is not set is 4 less.
func expandQ3_K(out []float32, b []byte) {
	third, quants, packed, d := b[:32], b[32:96], b[96:108], half(b[108:])
	var scales [16]float32
	for i := range scales {
		// Four low bits lie in the first 8 bytes, two high ones in the last 4.
		low := packed[i%8] >> (i / 8 * 4) & 15
		high := packed[8+i%4] >> (i / 4 * 2) & 3
		scales[i] = d * float32(int(low|high<<4)-32)
	}
	for i := range out {
		q := int(quants[i/128*32+i%32] >> (i % 128 / 32 * 2) & 3)
		if third[i%32]>>(i/32)&1 == 0 {
			q -= 4
		}
		out[i] = scales[i/16] * float32(q)
	}
}

// scaleAndMinimum unpacks the eight scales and minima of 6 bits that Q4_K and
// Q5_K hold in 12 bytes: the first four of each whole, of the others four bits
// in the last bytes and two in what the first leave free.
func scaleAndMinimum(packed []byte, group int) (scale, minimum byte) {
	if group < 4 {
		return packed[group] & 63, packed[group+4] & 63
	}
	scale = packed[group+4]&15 | packed[group-4]>>6<<4
	minimum = packed[group+4]>>4 | packed[group]>>6<<4
	return scale, minimum
}

// expandQ4_K: scale of the scales, scale of the minima, 8 of each, 128 bytes of
// two q each; 64 elements lie in 32 bytes, the first 32 in the low halves.
func expandQ4_K(out []float32, b []byte) {
	d, dmin, quants := half(b), half(b[2:]), b[16:144]
	for group := range 8 {
		s, m := scaleAndMinimum(b[4:16], group)
		scale, minimum := d*float32(s), dmin*float32(m)
		shift := group % 2 * 4
		to := out[group*32 : group*32+32]
		for i, q := range quants[group/2*32 : group/2*32+32] {
			to[i] = float32(scale*float32(q>>shift&15)) - minimum
		}
	}
}

// expandQ5_K: as Q4_K, with 32 bytes of fifth bits, one bit of each byte per group.
func expandQ5_K(out []float32, b []byte) {
	d, dmin, fifth, quants := half(b), half(b[2:]), b[16:48], b[48:176]
	for group := range 8 {
		s, m := scaleAndMinimum(b[4:16], group)
		scale, minimum := d*float32(s), dmin*float32(m)
		shift := group % 2 * 4
		to := out[group*32 : group*32+32]
		for i, q := range quants[group/2*32 : group/2*32+32] {
			to[i] = float32(scale*float32(q>>shift&15|fifth[i]>>group&1<<4)) - minimum
		}
	}
}

// expandQ6_K: 128 bytes of four low bits, 64 bytes of two high bits, 16 signed
// scales, the scale of the scales; scale * (q - 32). Of 128 elements the first
// 64 lie in the low halves of 64 bytes, and 32 at a time in two bits of 32 bytes.
func expandQ6_K(out []float32, b []byte) {
	low, high, scales, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for group := range 8 { // of 32 elements
		part, shift := group/4, group%4/2*4
		lows := low[part*64+group%2*32:][:32]
		highs := high[part*32:][:32]
		to := out[group*32 : group*32+32]
		for i := range to {
			q := int(lows[i]>>shift&15|highs[i]>>(group%4*2)&3<<4) - 32
			to[i] = float32(d*float32(int8(scales[group*2+i/16]))) * float32(q)
		}
	}
}

// valuesIQ4_NL are what the four bits of IQ4_NL stand for.
var valuesIQ4_NL = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// expandIQ4_NL: scale, then 16 bytes as in Q4_0, whose halves choose values.
func expandIQ4_NL(out []float32, b []byte) {
	scale := half(b)
	for i, q := range b[2:18] {
		out[i] = scale * valuesIQ4_NL[q&15]
		out[i+16] = scale * valuesIQ4_NL[q>>4]
	}
}

// valuesMXFP4 are the numbers of a sign, two bits of exponent and one of fraction.
var valuesMXFP4 = [16]float64{0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6}

// expandMXFP4: the exponent of a power of two, less 127, then 16 bytes as in Q4_0.
func expandMXFP4(out []float32, b []byte) {
	for i, q := range b[1:17] {
		out[i] = float32(math.Ldexp(valuesMXFP4[q&15], int(b[0])-127))
		out[i+16] = float32(math.Ldexp(valuesMXFP4[q>>4], int(b[0])-127))
	}
}
