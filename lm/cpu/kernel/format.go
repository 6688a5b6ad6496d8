package kernel

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// A blockFormat says how weights are stored in blocks of few bits that share
// scales (ggml-quants.h; for MXFP4 Open Compute Project 2023, section 5), and how
// the same bits lie in a unit. A weight is scale·q − minus, where q is a small
// whole number, and scale and minus belong to a group of neighbouring inputs.
//
// In a unit a record of some inputs is, for each of its 16 outputs, one or two halves
// of 16 bits and a few words of 32: first the words of the head, with what the
// groups' scales are made of, then for each 32 inputs the words of q, in planes of
// 8, 4, 2 or 1 of its bits, the lowest first. A plane of b bits takes b words; byte
// i of word w holds the bits of input 4(w + b·n) + i at bit b·n, for n = 0, 1, ….
type blockFormat struct {
	name            string
	elements, bytes int // of a block as it is stored

	inputs int   // of a record
	halves int   // of a record and output
	head   int   // words of the head
	planes []int // bits of each plane
	group  int   // inputs of a group, 16 or 32

	offset   int       // of q: what is stored is that much larger
	codebook *[16]int8 // q by what is stored; nil: it is q, but for the offset
	minus    bool      // whether there is any

	// repack writes the words and the halves of a record, given its blocks.
	repack func(words []uint32, halves []uint16, blocks []byte)
	// scales writes those of the groups, given the words and halves of a record.
	scales func(scale, minus []float32, words []uint32, halves []uint16)
}

// unitOutputs is how many outputs a unit of blocks has.
const unitOutputs = 16

// blockFormats are the formats by the type that is stored.
var blockFormats = [storedTypes]*blockFormat{
	StoredQ8_0: {
		name: "q8_0", elements: 32, bytes: 34, inputs: 64, halves: 2, planes: []int{8}, group: 32, offset: 128,
		repack: pair(34, func(words []uint32, b []byte) {
			for w := range words {
				words[w] = order.Uint32(b[2+4*w:]) ^ 0x80808080
			}
		}),
		scales: scaleOfEach,
	},
	StoredQ4_0: {
		name: "q4_0", elements: 32, bytes: 18, inputs: 64, halves: 2, planes: []int{4}, group: 32, offset: 8,
		repack: pair(18, func(words []uint32, b []byte) { copyWords(words, b[2:]) }),
		scales: scaleOfEach,
	},
	StoredQ4_1: {
		name: "q4_1", elements: 32, bytes: 20, inputs: 32, halves: 2, planes: []int{4}, group: 32, minus: true,
		repack: func(words []uint32, halves []uint16, b []byte) {
			halves[0], halves[1] = order.Uint16(b), order.Uint16(b[2:])
			copyWords(words, b[4:])
		},
		scales: scaleAndMinimum,
	},
	StoredQ5_0: {
		name: "q5_0", elements: 32, bytes: 22, inputs: 64, halves: 2, planes: []int{4, 1}, group: 32, offset: 16,
		repack: pair(22, func(words []uint32, b []byte) {
			copyWords(words[:4], b[6:])
			words[4] = everyFourth(order.Uint32(b[2:]))
		}),
		scales: scaleOfEach,
	},
	StoredQ5_1: {
		name: "q5_1", elements: 32, bytes: 24, inputs: 32, halves: 2, planes: []int{4, 1}, group: 32, minus: true,
		repack: func(words []uint32, halves []uint16, b []byte) {
			halves[0], halves[1] = order.Uint16(b), order.Uint16(b[2:])
			copyWords(words[:4], b[8:])
			words[4] = everyFourth(order.Uint32(b[4:]))
		},
		scales: scaleAndMinimum,
	},
	StoredQ2_K: {
		name: "q2_k", elements: 256, bytes: 84, inputs: 256, halves: 2, head: 4, planes: []int{2}, group: 16, minus: true,
		repack: func(words []uint32, halves []uint16, b []byte) {
			halves[0], halves[1] = order.Uint16(b[80:]), order.Uint16(b[82:])
			copyWords(words[:4], b)
			twoBits(words[4:], 2, 0, b[16:80])
		},
		scales: func(scale, minus []float32, words []uint32, halves []uint16) {
			d, dmin := number(halves[0]), number(halves[1])
			for g := range scale {
				both := byte(words[g/4] >> (g % 4 * 8))
				scale[g], minus[g] = d*float32(both&15), dmin*float32(both>>4)
			}
		},
	},
	StoredQ3_K: {
		name: "q3_k", elements: 256, bytes: 110, inputs: 256, halves: 1, head: 3, planes: []int{2, 1}, group: 16, offset: 4,
		repack: func(words []uint32, halves []uint16, b []byte) {
			halves[0] = order.Uint16(b[108:])
			var fields [16]byte
			for i := range fields {
				// Four low bits lie in the first 8 bytes, two high ones in the last 4.
				fields[i] = b[96+i%8]>>(i/8*4)&15 | b[96+8+i%4]>>(i/4*2)&3<<4
			}
			packFields(words, &fields)
			twoBits(words[3:], 3, 0, b[32:96])
			oneBit(words[3:], 3, 2, b[:32])
		},
		scales: func(scale, minus []float32, words []uint32, halves []uint16) {
			d := number(halves[0])
			for g := range scale {
				scale[g], minus[g] = d*float32(int(field(words, g))-32), 0
			}
		},
	},
	StoredQ4_K: {
		name: "q4_k", elements: 256, bytes: 144, inputs: 256, halves: 2, head: 3, planes: []int{4}, group: 32, minus: true,
		repack: func(words []uint32, halves []uint16, b []byte) {
			halves[0], halves[1] = order.Uint16(b), order.Uint16(b[2:])
			eightPairs(words, b[4:16])
			fourBits(words[3:], 4, 1, b[16:])
		},
		scales: scalesAndMinima,
	},
	StoredQ5_K: {
		name: "q5_k", elements: 256, bytes: 176, inputs: 256, halves: 2, head: 3, planes: []int{4, 1}, group: 32, minus: true,
		repack: func(words []uint32, halves []uint16, b []byte) {
			halves[0], halves[1] = order.Uint16(b), order.Uint16(b[2:])
			eightPairs(words, b[4:16])
			fourBits(words[3:], 5, 1, b[48:])
			oneBit(words[3:], 5, 4, b[16:48])
		},
		scales: scalesAndMinima,
	},
	StoredQ6_K: {
		name: "q6_k", elements: 256, bytes: 210, inputs: 256, halves: 1, head: 4, planes: []int{4, 2}, group: 16, offset: 32,
		repack: func(words []uint32, halves []uint16, b []byte) {
			halves[0] = order.Uint16(b[208:])
			copyWords(words[:4], b[192:])
			fourBits(words[4:], 6, 2, b[:128])
			twoBits(words[4:], 6, 4, b[128:192])
		},
		scales: func(scale, minus []float32, words []uint32, halves []uint16) {
			d := number(halves[0])
			for g := range scale {
				scale[g], minus[g] = d*float32(int8(words[g/4]>>(g%4*8))), 0
			}
		},
	},
	StoredIQ4_NL: {
		name: "iq4_nl", elements: 32, bytes: 18, inputs: 64, halves: 2, planes: []int{4}, group: 32,
		codebook: &[16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113},
		repack:   pair(18, func(words []uint32, b []byte) { copyWords(words, b[2:]) }),
		scales:   scaleOfEach,
	},
	// Two blocks, whose exponents are a half. The codebook is twice the numbers of a
	// sign, two bits of exponent and one of fraction.
	StoredMXFP4: {
		name: "mxfp4", elements: 32, bytes: 17, inputs: 64, halves: 1, planes: []int{4}, group: 32,
		codebook: &[16]int8{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},
		repack: func(words []uint32, halves []uint16, b []byte) {
			halves[0] = 0
			for i := 0; 17*i < len(b); i++ {
				halves[0] |= uint16(b[17*i]) << (8 * i)
				copyWords(words[4*i:4*i+4], b[17*i+1:])
			}
			if len(b) == 17 {
				clear(words[4:])
			}
		},
		scales: func(scale, minus []float32, _ []uint32, halves []uint16) {
			for g := range scale {
				// 2^(e-128): the exponent of a float32 less one, but for what is subnormal.
				e := int32(halves[0] >> (8 * g) & 255)
				scale[g], minus[g] = math.Float32frombits(uint32(max((e-1)<<23, (e+1)<<21))), 0
			}
		},
	},
}

// block returns the format of blocks; nil for plain numbers.
func (s Stored) block() *blockFormat { return blockFormats[s] }

// words returns how many words a record takes for each output.
func (f *blockFormat) words() int {
	n := f.head
	for _, bits := range f.planes {
		n += bits * f.inputs / 32
	}
	return n
}

// records returns how many records so many inputs take.
func (f *blockFormat) records(in int) int { return (in + f.inputs - 1) / f.inputs }

// numbers writes q, and scale and minus of each group, of a record.
func (f *blockFormat) numbers(q []int16, scale, minus []float32, words []uint32, halves []uint16) {
	f.scales(scale, minus, words, halves)
	clear(q)
	words = words[f.head:]
	for from := 0; from < f.inputs; from += 32 {
		low := 0 // the plane's lowest bit in q
		for _, bits := range f.planes {
			for i := range 32 {
				step, part := i/4, i%4
				value := words[step%bits] >> (8*part + bits*(step/bits)) & (1<<bits - 1)
				q[from+i] |= int16(value << low)
			}
			words, low = words[bits:], low+bits
		}
	}
	for i := range q {
		if f.codebook != nil {
			q[i] = int16(f.codebook[q[i]])
		} else {
			q[i] -= int16(f.offset)
		}
	}
}

// expand writes the numbers of whole blocks as they are stored.
func (f *blockFormat) expand(dst []float32, blocks []byte) {
	words, halves := make([]uint32, f.words()), make([]uint16, f.halves)
	q, scale, minus := make([]int16, f.inputs), make([]float32, f.inputs/f.group), make([]float32, f.inputs/f.group)
	for len(dst) > 0 {
		n := min(f.inputs, len(dst))
		record := n / f.elements * f.bytes
		f.repack(words, halves, blocks[:record])
		f.numbers(q, scale, minus, words, halves)
		for i := range dst[:n] {
			dst[i] = float32(scale[i/f.group]*float32(q[i])) - minus[i/f.group]
		}
		dst, blocks = dst[n:], blocks[record:]
	}
}

var order = binary.LittleEndian

func number(half uint16) float32 { return float16.Frombits(half).Float32() }

// pair repacks two blocks that begin with a scale, or one and nothing. The halves of
// two fill a line of the cache, so that the words of every record begin with one.
func pair(bytes int, repack func(words []uint32, block []byte)) func(words []uint32, halves []uint16, blocks []byte) {
	return func(words []uint32, halves []uint16, blocks []byte) {
		clear(halves)
		clear(words)
		for i := 0; i*bytes < len(blocks); i++ {
			halves[i] = order.Uint16(blocks[i*bytes:])
			repack(words[i*len(words)/2:][:len(words)/2], blocks[i*bytes:])
		}
	}
}

// scaleOfEach is a half for each group.
func scaleOfEach(scale, minus []float32, _ []uint32, halves []uint16) {
	for g, half := range halves {
		scale[g], minus[g] = number(half), 0
	}
}

// scaleAndMinimum are two halves; the minimum is added to the weights.
func scaleAndMinimum(scale, minus []float32, _ []uint32, halves []uint16) {
	scale[0], minus[0] = number(halves[0]), -number(halves[1])
}

// scalesAndMinima are eight of each in fields of six bits, which the halves scale.
func scalesAndMinima(scale, minus []float32, words []uint32, halves []uint16) {
	d, dmin := number(halves[0]), number(halves[1])
	for g := range scale {
		scale[g], minus[g] = d*float32(field(words, g)), dmin*float32(field(words, 8+g))
	}
}

// packFields writes 16 fields of six bits into three words: five in each, and the
// last one's bits in the two that are left of each.
func packFields(words []uint32, fields *[16]byte) {
	for w := range 3 {
		words[w] = uint32(fields[15]) >> (2 * w) & 3 << 30
		for i := range 5 {
			words[w] |= uint32(fields[5*w+i]) << (6 * i)
		}
	}
}

func field(words []uint32, i int) uint32 {
	if i < 15 {
		return words[i/5] >> (i % 5 * 6) & 63
	}
	return words[0]>>30 | words[1]>>30<<2 | words[2]>>30<<4
}

// eightPairs packs the scales and minima of Q4_K and Q5_K, which lie in 12 bytes:
// the first four of each whole, of the others four bits in the last bytes and two
// in what the first leave free.
func eightPairs(words []uint32, packed []byte) {
	var fields [16]byte
	for g := range 4 {
		fields[g], fields[8+g] = packed[g]&63, packed[4+g]&63
		fields[4+g] = packed[8+g]&15 | packed[g]>>6<<4
		fields[12+g] = packed[8+g]>>4 | packed[4+g]>>6<<4
	}
	packFields(words, &fields)
}

func copyWords(words []uint32, b []byte) {
	for w := range words {
		words[w] = order.Uint32(b[4*w:])
	}
}

// fourBits writes the plane of four bits of 256 inputs, which lie in 128 bytes, 32
// inputs in the lower halves of 32 bytes, and those apart 32 inputs further on in
// the upper ones. Each 32 inputs have so many words, of which the plane is the first.
func fourBits(words []uint32, perBlock, apart int, b []byte) {
	const low = 0x0f0f0f0f0f0f0f0f
	for chunk := range 4 {
		first := chunk/apart*2*apart + chunk%apart // of the blocks of 32 inputs
		lower, upper := words[first*perBlock:][:4], words[(first+apart)*perBlock:][:4]
		bytes := b[chunk*32:][:32]
		for w := 0; w < 4; w += 2 {
			x, y := order.Uint64(bytes[4*w:]), order.Uint64(bytes[16+4*w:])
			l, u := x&low|y&low<<4, x>>4&low|y&^low
			lower[w], lower[w+1] = uint32(l), uint32(l>>32)
			upper[w], upper[w+1] = uint32(u), uint32(u>>32)
		}
	}
}

// twoBits writes the plane of two bits of 256 inputs, which lie in 64 bytes: 128 in
// 32, the first 32 in the lowest bits of each. It begins at a word of each block.
func twoBits(words []uint32, perBlock, at int, b []byte) {
	const low = 0x03030303
	for block := range 8 {
		to := words[block*perBlock+at:][:2]
		to[0], to[1] = 0, 0
		for step := range 8 {
			x := order.Uint32(b[block/4*32+4*step:]) >> (block % 4 * 2) & low
			to[step%2] |= x << (step / 2 * 2)
		}
	}
}

// oneBit writes the plane of one bit of 256 inputs, which lie in 32 bytes: the
// first 32 in the lowest bits.
func oneBit(words []uint32, perBlock, at int, b []byte) {
	const low = 0x01010101
	for block := range 8 {
		x := uint32(0)
		for step := range 8 {
			x |= order.Uint32(b[4*step:]) >> block & low << step
		}
		words[block*perBlock+at] = x
	}
}

// everyFourth brings bit 4s+i to bit s of byte i.
func everyFourth(bits uint32) (out uint32) {
	for i := range 4 {
		x := bits >> i & 0x11111111
		x = (x | x>>3) & 0x03030303
		x = (x | x>>6) & 0x000f000f
		x = (x | x>>12) & 0xff
		out |= x << (8 * i)
	}
	return out
}
