package kernel

import (
	"unsafe"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

// form is how a product reads its activations.
type form struct {
	kind  formKind
	words int // 32-bit words of a row
}

type formKind uint8

const (
	asGiven  formKind = iota // float32, where they are
	padded                   // float32, an even number of them
	rounded                  // the same, rounded to bfloat16
	halves                   // bfloat16, the lower half of a word first
	integers                 // see integerBlock
)

// prepare writes a row of activations in the form.
func (f form) prepare(to []uint32, x []float32) {
	switch f.kind {
	case integers:
		prepareIntegers(to, x)
	case halves:
		out := unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(to))), 2*len(to))
		RoundBF16(out, x)
		clear(out[len(x):])
	case padded, rounded:
		out := numbersOf(to)
		copy(out, x)
		if f.kind == rounded {
			roundSingle(out[:len(x)])
		}
		clear(out[len(x):])
	}
}

// RoundBF16 writes x, rounded to the nearest bfloat16 (ties to even), into dst.
func RoundBF16(dst []uint16, x []float32) {
	done := 0
	if n := len(x) &^ 15; n > 0 && active.roundHalf != nil {
		active.roundHalf(&dst[0], &x[0], n)
		done = n
	}
	for i, v := range x[done:] {
		dst[done+i] = bfloat16.Round(v)
	}
}

// roundSingle rounds x to bfloat16 in place.
func roundSingle(x []float32) {
	done := 0
	if n := len(x) &^ 15; n > 0 && active.roundSingle != nil {
		active.roundSingle(&x[0], &x[0], n)
		done = n
	}
	for i, v := range x[done:] {
		x[done+i] = bfloat16.Widen(bfloat16.Round(v))
	}
}
