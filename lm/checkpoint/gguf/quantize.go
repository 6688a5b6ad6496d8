package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/x448/float16"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

// Quantize writes values, whole blocks of the type, to out, whose length is that of
// the blocks. It rounds plainly: a group's scale maps its largest value, or its
// range, to the type's, and each value becomes the nearest number; nothing searches
// for scales with less error. An error says that the type cannot be written, or that
// values are not finite or too large for a scale of 16 bits.
func (t Type) Quantize(out []byte, values []float32) error {
	round, ok := rounding[t]
	if !ok {
		return fmt.Errorf("numbers cannot be rounded to %v", t)
	}
	b := t.block()
	for len(values) > 0 {
		block := values[:b.elements]
		if m := largest(block); !(math.Abs(float64(m)) <= math.MaxFloat32) {
			return fmt.Errorf("round to %v: %v is not finite", t, m)
		}
		if !round(out[:b.bytes], block) {
			return fmt.Errorf("round to %v: %v is too large", t, largest(block))
		}
		out, values = out[b.bytes:], values[b.elements:]
	}
	return nil
}

// Encode writes values as [Type.Quantize] does, and plain numbers as well: each becomes
// the nearest, ties to even.
func (t Type) Encode(out []byte, values []float32) error {
	switch t {
	case F32:
		for i, v := range values {
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
		}
	case BF16:
		for i, v := range values {
			binary.LittleEndian.PutUint16(out[2*i:], bfloat16.Round(v))
		}
	case F16:
		for i, v := range values {
			h := float16.Fromfloat32(v)
			if h.IsInf(0) && !math.IsInf(float64(v), 0) {
				return fmt.Errorf("round to %v: %v is too large", t, v)
			}
			binary.LittleEndian.PutUint16(out[2*i:], h.Bits())
		}
	default:
		return t.Quantize(out, values)
	}
	return nil
}

// Quantizable returns the types that can be written, in the order of their names.
func Quantizable() []Type {
	var types []Type
	for t := range rounding {
		types = append(types, t)
	}
	slices.SortFunc(types, func(a, b Type) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	return types
}

// Fitting returns the type for rows of a width: the type itself where they are whole
// blocks of it; else, where they are blocks of 32, one of those that has as many bits.
// It returns false where rows stay plain numbers, as for every type that is no block's.
func (t Type) Fitting(width int) (Type, bool) {
	if elements, _ := t.Block(); !t.Blocks() || width%elements == 0 {
		return t, t.Blocks()
	}
	smaller, ok := map[Type]Type{Q2_K: IQ4_NL, Q3_K: IQ4_NL, Q4_K: Q5_0, Q5_K: Q5_1, Q6_K: Q8_0}[t]
	return smaller, ok && width%32 == 0
}

// rounding writes one block each, and reports whether its scales are finite.
var rounding = map[Type]func(out []byte, x []float32) bool{
	Q8_0:   roundQ8_0,
	Q4_0:   func(out []byte, x []float32) bool { return signed(out, x, 4) },
	Q5_0:   func(out []byte, x []float32) bool { return signed(out, x, 5) },
	Q4_1:   func(out []byte, x []float32) bool { return ranged(out, x, 4) },
	Q5_1:   func(out []byte, x []float32) bool { return ranged(out, x, 5) },
	Q2_K:   roundQ2_K,
	Q3_K:   roundQ3_K,
	Q4_K:   func(out []byte, x []float32) bool { return rangedGroups(out, x, 4) },
	Q5_K:   func(out []byte, x []float32) bool { return rangedGroups(out, x, 5) },
	Q6_K:   roundQ6_K,
	IQ4_NL: roundIQ4_NL,
	MXFP4:  roundMXFP4,
}

// largest returns the value that is farthest from zero; NaN where one is.
func largest(x []float32) (most float32) {
	for _, v := range x {
		if v != v {
			return v
		}
		if math.Abs(float64(v)) > math.Abs(float64(most)) {
			most = v
		}
	}
	return most
}

// extent returns the lowest value, at most 0 where toZero is set, and the highest.
func extent(x []float32, toZero bool) (low, high float32) {
	low, high = slices.Min(x), slices.Max(x)
	if toZero {
		low, high = min(low, 0), max(high, 0)
	}
	return low, high
}

// putHalf writes a number as a half and returns what it has become.
func putHalf(b []byte, x float32) float32 {
	h := float16.Fromfloat32(x)
	binary.LittleEndian.PutUint16(b, h.Bits())
	return h.Float32()
}

func finiteHalf(x float32) bool { return !math.IsInf(float64(x), 0) }

// nearest returns the whole number from low to high that is nearest to x/scale.
func nearest(x, scale float32, low, high int) int {
	if scale == 0 {
		return max(low, min(high, 0))
	}
	return int(max(float64(low), min(float64(high), math.RoundToEven(float64(x)/float64(scale)))))
}

func roundQ8_0(out []byte, x []float32) bool {
	scale := putHalf(out, float32(math.Abs(float64(largest(x))))/127)
	for i, v := range x {
		out[2+i] = byte(nearest(v, scale, -127, 127))
	}
	return finiteHalf(scale)
}

// halvesOfBytes writes 32 numbers of four bits, the first 16 in the lower halves.
func halvesOfBytes(out []byte, q *[32]int) {
	for i := range 16 {
		out[i] = byte(q[i]&15 | q[i+16]&15<<4)
	}
}

// fifthBits are those of 32 numbers.
func fifthBits(q *[32]int) (bits uint32) {
	for i, v := range q {
		bits |= uint32(v>>4&1) << i
	}
	return bits
}

// signed is Q4_0 and Q5_0: the largest value becomes the lowest number.
func signed(out []byte, x []float32, bits int) bool {
	half := 1 << (bits - 1)
	scale := putHalf(out, largest(x)/float32(-half))
	var q [32]int
	for i, v := range x {
		q[i] = nearest(v, scale, -half, half-1) + half
	}
	if bits == 5 {
		binary.LittleEndian.PutUint32(out[2:], fifthBits(&q))
	}
	halvesOfBytes(out[len(out)-16:], &q)
	return finiteHalf(scale)
}

// ranged is Q4_1 and Q5_1: the range of values becomes that of numbers.
func ranged(out []byte, x []float32, bits int) bool {
	low, high := extent(x, false)
	scale, minimum := putHalf(out, (high-low)/float32(int(1)<<bits-1)), putHalf(out[2:], low)
	var q [32]int
	for i, v := range x {
		q[i] = nearest(v-minimum, scale, 0, 1<<bits-1)
	}
	if bits == 5 {
		binary.LittleEndian.PutUint32(out[4:], fifthBits(&q))
	}
	halvesOfBytes(out[len(out)-16:], &q)
	return finiteHalf(scale) && finiteHalf(minimum)
}

// groups finds the scale and the minimum of each group of some values, so that the
// range becomes 0, …, most, and rounds both to whole numbers up to top of units that
// are written as halves.
func groups(units []byte, x []float32, size, most, top int, scales, minima []byte) (scale, minus []float32, ok bool) {
	n := len(x) / size
	scale, minus = make([]float32, n), make([]float32, n)
	for g := range n {
		low, high := extent(x[g*size:(g+1)*size], true)
		scale[g], minus[g] = (high-low)/float32(most), -low
	}
	d, dmin := putHalf(units, slices.Max(scale)/float32(top)), putHalf(units[2:], slices.Max(minus)/float32(top))
	for g := range n {
		scales[g], minima[g] = byte(nearest(scale[g], d, 0, top)), byte(nearest(minus[g], dmin, 0, top))
		scale[g], minus[g] = d*float32(scales[g]), dmin*float32(minima[g])
	}
	return scale, minus, finiteHalf(d) && finiteHalf(dmin)
}

// rangedGroups is Q4_K and Q5_K.
func rangedGroups(out []byte, x []float32, bits int) bool {
	var scales, minima [8]byte
	scale, minus, ok := groups(out, x, 32, 1<<bits-1, 63, scales[:], minima[:])
	packed, quants := out[4:16], out[len(out)-128:]
	clear(out[4:])
	for g := range 4 {
		packed[g] = scales[g] | scales[4+g]>>4<<6
		packed[4+g] = minima[g] | minima[4+g]>>4<<6
		packed[8+g] = scales[4+g]&15 | minima[4+g]<<4
	}
	for i, v := range x {
		g := i / 32
		q := nearest(v+minus[g], scale[g], 0, 1<<bits-1)
		quants[g/2*32+i%32] |= byte(q & 15 << (g % 2 * 4))
		if bits == 5 {
			out[16+i%32] |= byte(q >> 4 << g)
		}
	}
	return ok
}

func roundQ2_K(out []byte, x []float32) bool {
	var scales, minima [16]byte
	scale, minus, ok := groups(out[80:], x, 16, 3, 15, scales[:], minima[:])
	clear(out[:80])
	for g := range 16 {
		out[g] = scales[g] | minima[g]<<4
	}
	for i, v := range x {
		q := nearest(v+minus[i/16], scale[i/16], 0, 3)
		out[16+i/128*32+i%32] |= byte(q << (i % 128 / 32 * 2))
	}
	return ok
}

// signedGroups finds the scales of 16 groups so that the largest value of each
// becomes -lowest, and rounds them to whole numbers up to top of a unit that is
// written as a half.
func signedGroups(unit []byte, x []float32, lowest, top int) (whole [16]int, scale [16]float32, ok bool) {
	for g := range scale {
		scale[g] = largest(x[g*16:g*16+16]) / float32(-lowest)
	}
	d := putHalf(unit, float32(math.Abs(float64(largest(scale[:]))))/float32(top))
	for g := range scale {
		whole[g] = nearest(scale[g], d, -top, top)
		scale[g] = d * float32(whole[g])
	}
	return whole, scale, finiteHalf(d)
}

func roundQ3_K(out []byte, x []float32) bool {
	whole, scale, ok := signedGroups(out[108:], x, 4, 31)
	clear(out[:108])
	for i, s := range whole {
		s += 32
		out[96+i%8] |= byte(s & 15 << (i / 8 * 4))
		out[96+8+i%4] |= byte(s >> 4 << (i / 4 * 2))
	}
	for i, v := range x {
		q := nearest(v, scale[i/16], -4, 3) + 4
		out[32+i/128*32+i%32] |= byte(q & 3 << (i % 128 / 32 * 2))
		out[i%32] |= byte(q >> 2 << (i / 32))
	}
	return ok
}

func roundQ6_K(out []byte, x []float32) bool {
	whole, scale, ok := signedGroups(out[208:], x, 32, 127)
	clear(out[:192])
	for g, s := range whole {
		out[192+g] = byte(s)
	}
	for i, v := range x {
		q := nearest(v, scale[i/16], -32, 31) + 32
		part, g := i/128, i%128/32
		out[part*64+g%2*32+i%32] |= byte(q & 15 << (g / 2 * 4))
		out[128+part*32+i%32] |= byte(q >> 4 << (2 * g))
	}
	return ok
}

// roundIQ4_NL maps the largest value to the lowest of the format's values.
func roundIQ4_NL(out []byte, x []float32) bool {
	scale := putHalf(out, largest(x)/valuesIQ4_NL[0])
	var q [32]int
	for i, v := range x {
		q[i] = closest(len(valuesIQ4_NL), func(k int) float64 { return float64(scale*valuesIQ4_NL[k]) - float64(v) })
	}
	halvesOfBytes(out[2:], &q)
	return finiteHalf(scale)
}

// roundMXFP4 takes the exponent of the largest value, less that of the largest
// number of the format (Open Compute Project 2023, section 6.3).
func roundMXFP4(out []byte, x []float32) bool {
	exponent := 0
	if m := largest(x); m != 0 {
		exponent = max(math.Ilogb(float64(m))-2+127, 0)
	}
	out[0] = byte(exponent)
	var q [32]int
	for i, v := range x {
		q[i] = closest(len(valuesMXFP4), func(k int) float64 { return math.Ldexp(valuesMXFP4[k], exponent-127) - float64(v) })
	}
	halvesOfBytes(out[1:], &q)
	return true
}

// closest returns the number from 0 to n-1 with the smallest distance, the first of
// those that have it.
func closest(n int, distance func(k int) float64) (best int) {
	for k := range n {
		if math.Abs(distance(k)) < math.Abs(distance(best)) {
			best = k
		}
	}
	return best
}
