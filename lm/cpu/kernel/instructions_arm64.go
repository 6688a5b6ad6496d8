package kernel

import (
	"math"
	"sync"
	"unsafe"
)

// supported returns NEON, which every arm64 processor has.
func supported() []*instructionSet { return []*instructionSet{&neon} }

// neon leaves out what is seldom and what plain Go does well.
var neon = instructionSet{
	name:    "neon",
	lanes:   4,
	columns: 16,
	tile: [3][tileRows + 1]tileFunc{
		single: {nil, neonSingle1, neonSingle2, neonSingle3, neonSingle4, neonSingle5, neonSingle6},
		mixed:  {nil, neonMixed1, neonMixed2, neonMixed3, neonMixed4, neonMixed5, neonMixed6},
	},
	panel: [3]tileFunc{single: neonSinglePanel, mixed: neonMixedPanel},
	addScaled: func(dst, x *float32, n int, scale float32) {
		wholeVectors(dst, x, n, 0, func(dst, x *float32, n int) { neonAddScaled(dst, x, n, scale) })
	},
	scale: func(x *float32, n int, scale float32) {
		wholeVectors(x, nil, n, 0, func(x, _ *float32, n int) { neonScale(x, n, scale) })
	},
	activation: [4]func(x, up *float32, n int){
		SiLU:     func(x, up *float32, n int) { wholeVectors(x, up, n, 0, neonSiLU) },
		GELUTanh: func(x, up *float32, n int) { wholeVectors(x, up, n, 0, neonGELUTanh) },
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
	multiplyPeak: neonFMAPeak,
	read:         neonRead,
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
