package kernel

import (
	"math"
	"sync"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// supported returns NEON, which every arm64 processor has, and before it the same
// with dot products of bytes where there are any, as since ARMv8.4.
func supported() []*instructionSet {
	sets := []*instructionSet{&neon}
	if cpu.ARM64.HasASIMDDP {
		set := neon
		set.name = "neondot"
		set.blocks.row = neonDotRows
		sets = []*instructionSet{&set, &neon}
	}
	return sets
}

var neon = instructionSet{
	name:    "neon",
	lanes:   4,
	columns: 16,
	tile: [3][tileRows + 1]tileFunc{
		single: {nil, neonSingle1, neonSingle2, neonSingle3, neonSingle4, neonSingle5, neonSingle6},
		mixed:  {nil, neonMixed1, neonMixed2, neonMixed3, neonMixed4, neonMixed5, neonMixed6},
	},
	panel:  [3]tileFunc{single: neonSinglePanel, mixed: neonMixedPanel},
	blocks: neonBlocks,
	addScaled: func(dst, x *float32, n int, scale float32) {
		wholeVectors(dst, x, n, 0, func(dst, x *float32, n int) { neonAddScaled(dst, x, n, scale) })
	},
	scale: func(x *float32, n int, scale float32) {
		wholeVectors(x, nil, n, 0, func(x, _ *float32, n int) { neonScale(x, n, scale) })
	},
	sum: func(x *float32, n int) float64 {
		total := 0.0
		readVectors(x, n, 0, func(x, _ *float32, n int) { total += neonSum(x, n) })
		return total
	},
	squares: func(x *float32, n int, mean float64) float64 {
		total, whole := 0.0, n&^3
		if whole > 0 {
			total = neonSquares(x, whole, mean)
		}
		return total + plainSquares(unsafe.Slice(x, n)[whole:], mean)
	},
	normalize: func(dst, x *float32, n int, mean, scale float32, weight, bias *float32, offset float32) {
		whole := n &^ 3
		if whole > 0 {
			neonNormalize(dst, x, whole, mean, scale, weight, bias, offset)
		}
		rest := func(all *float32) []float32 {
			if all == nil {
				return nil
			}
			return unsafe.Slice(all, n)[whole:]
		}
		plainNormalize(rest(dst), rest(x), mean, scale, rest(weight), rest(bias), offset)
	},
	activation: [4]func(x, up *float32, n int){
		SiLU:     func(x, up *float32, n int) { wholeVectors(x, up, n, 0, neonSiLU) },
		GELU:     func(x, up *float32, n int) { wholeVectors(x, up, n, 0, neonGELU) },
		GELUTanh: func(x, up *float32, n int) { wholeVectors(x, up, n, 0, neonGELUTanh) },
		ReLU:     func(x, up *float32, n int) { wholeVectors(x, up, n, 0, neonReLU) },
	},
	softCap: func(x *float32, n int, limit float32) {
		wholeVectors(x, nil, n, 0, func(x, _ *float32, n int) { neonSoftCap(x, n, limit) })
	},
	maximum: func(x *float32, n int) float32 {
		largest := float32(math.Inf(-1))
		readVectors(x, n, largest, func(x, _ *float32, n int) { largest = max(largest, neonMaximum(x, n)) })
		return largest
	},
	scaleMaximum: func(x *float32, n int, scale float32) float32 {
		largest := float32(math.Inf(-1))
		// What fills up the last vector must not become the maximum for any scale.
		whole := n &^ 3
		if whole > 0 {
			largest = neonScaleMaximum(x, whole, scale)
		}
		rest := unsafe.Slice(x, n)[whole:]
		for i := range rest {
			rest[i] *= scale
			largest = max(largest, rest[i])
		}
		return largest
	},
	expSum: func(x *float32, n int, shift float32) float64 {
		total := 0.0
		wholeVectors(x, nil, n, float32(math.Inf(-1)), func(x, _ *float32, n int) { total += neonExpSum(x, n, shift) })
		return total
	},
	sumExp: func(x *float32, n int, shift float32) float64 {
		total := 0.0
		readVectors(x, n, float32(math.Inf(-1)), func(x, _ *float32, n int) { total += neonSumExp(x, n, shift) })
		return total
	},
	rope: func(x, cos, sin *float32, n int) {
		pairs, whole := unsafe.Slice(x, 2*n), n&^3
		if whole > 0 {
			neonRope(x, &pairs[n], cos, sin, whole)
		}
		plainRope(pairs[whole:n], pairs[n+whole:], unsafe.Slice(cos, n)[whole:], unsafe.Slice(sin, n)[whole:])
	},
	roundHalf:    neonRoundHalf,
	roundSingle:  neonRoundSingle,
	widen:        [3]func(dst *float32, x *uint16, n int){StoredF16: neonWidenF16, StoredBF16: neonWidenBF16},
	transpose:    neonTranspose,
	multiplyPeak: neonFMAPeak,
	read:         neonRead,
}

var neonBlocks = blockKernels{
	integers: neonIntegers,
	row: [storedTypes]rowFunc{
		StoredQ4_0:   neonRowQ4_0,
		StoredQ4_1:   neonRowQ4_1,
		StoredQ5_0:   neonRowQ5_0,
		StoredQ5_1:   neonRowQ5_1,
		StoredQ8_0:   neonRowQ8_0,
		StoredQ2_K:   neonRowQ2_K,
		StoredQ3_K:   neonRowQ3_K,
		StoredQ4_K:   neonRowQ4_K,
		StoredQ5_K:   neonRowQ5_K,
		StoredQ6_K:   neonRowQ6_K,
		StoredIQ4_NL: neonRowIQ4_NL,
		StoredMXFP4:  neonRowMXFP4,
	},
	unpack: [storedTypes]unpackFunc{
		StoredQ4_0:   neonUnpackQ4_0,
		StoredQ4_1:   neonUnpackQ4_1,
		StoredQ5_0:   neonUnpackQ5_0,
		StoredQ5_1:   neonUnpackQ5_1,
		StoredQ8_0:   neonUnpackQ8_0,
		StoredQ2_K:   neonUnpackQ2_K,
		StoredQ3_K:   neonUnpackQ3_K,
		StoredQ4_K:   neonUnpackQ4_K,
		StoredQ5_K:   neonUnpackQ5_K,
		StoredQ6_K:   neonUnpackQ6_K,
		StoredIQ4_NL: neonUnpackIQ4_NL,
		StoredMXFP4:  neonUnpackMXFP4,
	},
	tile:    [...]integerTileFunc{2: neonInteger2, neonInteger3, neonInteger4, neonInteger5, neonInteger6},
	units:   1,
	numbers: neonUnpackedNumbers,
}

// neonDotRows take the activations' integers apart into two bytes each.
var neonDotRows = [storedTypes]rowFunc{
	StoredQ4_0:   neonDotRowQ4_0,
	StoredQ4_1:   neonDotRowQ4_1,
	StoredQ5_0:   neonDotRowQ5_0,
	StoredQ5_1:   neonDotRowQ5_1,
	StoredQ8_0:   neonDotRowQ8_0,
	StoredQ2_K:   neonDotRowQ2_K,
	StoredQ3_K:   neonDotRowQ3_K,
	StoredQ4_K:   neonDotRowQ4_K,
	StoredQ5_K:   neonDotRowQ5_K,
	StoredQ6_K:   neonDotRowQ6_K,
	StoredIQ4_NL: neonDotRowIQ4_NL,
	StoredMXFP4:  neonDotRowMXFP4,
}

// wholeVectors calls f with the elements of x, and of y unless it is nil, that
// fill vectors, and then with a copy of the rest, filled up, which goes back to x.
func wholeVectors(x, y *float32, n int, fill float32, f func(x, y *float32, n int)) {
	vectors(x, y, n, fill, true, f)
}

// readVectors does so for an f that only reads: nothing is written to x, which
// others may be reading.
func readVectors(x *float32, n int, fill float32, f func(x, y *float32, n int)) {
	vectors(x, nil, n, fill, false, f)
}

func vectors(x, y *float32, n int, fill float32, store bool, f func(x, y *float32, n int)) {
	whole := n &^ 3
	if whole > 0 {
		f(x, y, whole)
	}
	if whole == n {
		return
	}
	rest := unsafe.Slice(x, n)[whole:]
	last := tails.Get().(*tail)
	last.x = [4]float32{fill, fill, fill, fill}
	copy(last.x[:], rest)
	var other *float32
	if y != nil {
		last.y = [4]float32{}
		copy(last.y[:], unsafe.Slice(y, n)[whole:])
		other = &last.y[0]
	}
	f(&last.x[0], other, 4)
	if store {
		copy(rest, last.x[:])
	}
	tails.Put(last)
}

// tail is a last vector; it is pooled since what f is given may escape.
type tail struct{ x, y [4]float32 }

var tails = sync.Pool{New: func() any { return new(tail) }}
