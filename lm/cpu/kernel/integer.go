package kernel

import "math"

// Activations that meet blocks become 16-bit integers with a scale for each 32
// inputs. Products of integers add up without rounding, in any order: that gives
// the same bits with every instruction set.
//
// A block of 32 inputs is integerBlock words. The first 16 hold the integers, each
// four inputs in the order 0, 2, 1, 3; in the order in which bytes of weights come
// apart. Then, as float32, the scale, and scale times the sum of the integers: of
// all 32, of the first and of the last 16.
const (
	integerBlock = 20
	scaleWord    = 16
	sumWord      = 17 // of all; the halves follow
)

// mostInteger is what the largest activation of a block becomes.
const mostInteger = 127 * 256

// prepareIntegers writes x as blocks, filled up with zeros.
func prepareIntegers(to []uint32, x []float32) {
	for len(to) >= integerBlock {
		var last [32]float32
		n := min(len(x), 32)
		copy(last[:], x[:n])
		prepareBlock((*[integerBlock]uint32)(to), &last)
		to, x = to[integerBlock:], x[n:]
	}
}

// prepareBlock is the specification. An integer is x over the scale, to the nearest,
// ties to even. The scale is no subnormal number. Where x is not finite all is NaN.
func prepareBlock(to *[integerBlock]uint32, x *[32]float32) {
	most := uint32(0) // bits of the largest magnitude; NaN has the largest
	for _, v := range x {
		most = max(most, math.Float32bits(v)&0x7fffffff)
	}
	scale := max(math.Float32frombits(most)/mostInteger, 0x1p-126)
	inverse := 1 / scale
	finite := most < 0x7f800000
	if !finite {
		scale = float32(math.NaN())
	}
	var sums [2]int32
	for i := range 16 {
		var pair [2]uint16
		for half := range pair {
			v := x[i/2*4+i%2+2*half]
			if !finite {
				continue
			}
			q := int32(math.RoundToEven(float64(float32(v * inverse))))
			sums[i/8] += q
			pair[half] = uint16(q)
		}
		to[i] = uint32(pair[0]) | uint32(pair[1])<<16
	}
	for i, v := range []float32{scale, scale * float32(sums[0]+sums[1]), scale * float32(sums[0]), scale * float32(sums[1])} {
		to[scaleWord+i] = math.Float32bits(v)
	}
}

// integerOf returns the integer of input i of a block.
func integerOf(block []uint32, i int) int32 {
	word := block[i/4*2+i%2]
	return int32(int16(word >> (i % 4 / 2 * 16)))
}
