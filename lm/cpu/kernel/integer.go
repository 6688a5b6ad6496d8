package kernel

import "math"

// Activations that meet blocks become 16-bit integers with a scale for each 32
// inputs. Products of integers add up without rounding, in any order: that gives
// the same bits with every instruction set.
//
// A block of 32 inputs is integerBlock words, two halves of integerHalf. Eight words
// hold the integers of 16 inputs, each four in the order 0, 2, 1, 3, the order in
// which bytes of weights come apart. Then, as float32, come the scale of the block,
// and scale times the sum of the integers: of the half, and of the whole block; and
// the half's sum itself.
const (
	integerHalf  = 12
	integerBlock = 2 * integerHalf
	scaleWord    = 8
	sumWord      = 9 // of 16; of 32 is the next
)

// mostInteger is what the largest activation of a block becomes.
const mostInteger = 127 * 256

// prepareIntegers writes x as blocks, filled up with zeros.
func prepareIntegers(to []uint32, x []float32) {
	if n := len(x) / 32; n > 0 && active.blocks.integers != nil {
		active.blocks.integers(&to[0], &x[0], n)
		to, x = to[n*integerBlock:], x[n*32:]
	}
	for len(to) >= integerBlock {
		var block [32]float32
		n := copy(block[:], x)
		if active.blocks.integers != nil {
			active.blocks.integers(&to[0], &block[0], 1)
		} else {
			prepareBlock(to, &block)
		}
		to, x = to[integerBlock:], x[n:]
	}
}

// prepareBlock is the specification. An integer is x over the scale, to the nearest,
// ties to even. The scale is no subnormal number. Where x is not finite it is NaN and
// the integers are 0.
func prepareBlock(to []uint32, x *[32]float32) {
	most := uint32(0) // bits of the largest magnitude; NaN has the largest
	for _, v := range x {
		most = max(most, math.Float32bits(v)&0x7fffffff)
	}
	scale := max(math.Float32frombits(most)/mostInteger, 0x1p-126)
	inverse := 1 / scale
	if most >= 0x7f800000 {
		scale = float32(math.NaN())
	}
	var sums [2]int32
	for i, v := range x {
		q := int32(0)
		if scale == scale {
			q = int32(math.RoundToEven(float64(float32(v * inverse))))
		}
		sums[i/16] += q
		word := &to[i/16*integerHalf+i%16/4*2+i%2]
		if i%4 < 2 {
			*word = uint32(uint16(q))
		} else {
			*word |= uint32(q) << 16
		}
	}
	for half, sum := range sums {
		for i, v := range []float32{scale, scale * float32(sum), scale * float32(sums[0]+sums[1])} {
			to[half*integerHalf+scaleWord+i] = math.Float32bits(v)
		}
		to[half*integerHalf+integerHalf-1] = uint32(sum)
	}
}

// integerOf returns the integer of input i of prepared activations.
func integerOf(x []uint32, i int) int32 {
	word := x[i/16*integerHalf+i%16/4*2+i%2]
	return int32(int16(word >> (i % 4 / 2 * 16)))
}
