package kernel

import (
	"fmt"
	"os"
	"strings"
)

// Instructions returns the name of the instruction set whose kernels run:
// "avx512bf16", "avx512", "avx2", "neondot", "neon" or "go". It is the best that the
// processor and the operating system offer, unless the environment variable
// STEER_INSTRUCTIONS names another one; the error says that it names none that
// works here.
func Instructions() (string, error) { return active.name, errForced }

// instructionSet holds the kernels of one set of machine instructions. They
// have the meaning of the plain Go functions, which run where a field is nil.
// Pointers lead to as many elements as the arguments say; n is not 0.
type instructionSet struct {
	name string

	// A tile is the product of 1 to 6 rows with some columns, by format. A wide
	// one, if there is any, takes one row and a whole panel.
	lanes   int // columns of one vector
	columns int // of a tile
	tile    [3][tileRows + 1]tileFunc
	panel   [3]tileFunc
	narrow  [tileRows + 1]narrowFunc

	blocks blockKernels

	addScaled    func(dst, x *float32, n int, scale float32)
	scale        func(x *float32, n int, scale float32)
	sum          func(x *float32, n int) float64
	squares      func(x *float32, n int, mean float64) float64
	normalize    func(dst, x *float32, n int, mean, scale float32, weight, bias *float32, offset float32)
	activation   [4]func(x, up *float32, n int) // by Activation; up nil: none
	softCap      func(x *float32, n int, limit float32)
	maximum      func(x *float32, n int) float32
	scaleMaximum func(x *float32, n int, scale float32) float32
	expSum       func(x *float32, n int, shift float32) float64
	sumExp       func(x *float32, n int, shift float32) float64
	rope         func(x, cos, sin *float32, n int)

	// Conversions; n is a multiple of 16.
	roundHalf   func(dst *uint16, x *float32, n int)
	roundSingle func(dst, x *float32, n int)
	widen       [3]func(dst *float32, x *uint16, n int) // by Stored

	// transpose copies column c of lanes rows of n words to dst + c*dstStep; n is
	// a multiple of lanes.
	transpose func(dst *byte, dstStep int, src *byte, srcStride, n int)

	// What the machine does at most: rounds of 12 operations on a vector, and
	// reading n bytes, a multiple of 512.
	multiplyPeak, pairPeak func(rounds int)
	read                   func(x *byte, n int)
}

// A tile writes the product of rows of a with columns of w into dst: step k
// reads the elements or the pair k of each row and the vectors at
// w + k*wStep + v*wSpan. The sums begin at dst if more is set, else at 0; bias is
// added at the end unless it is nil. All strides are in bytes.
type tileFunc = func(a *byte, aStride int, w *byte, wStep, wSpan, k int, dst *float32, dstStride int, more bool, bias *float32)

// A narrow tile has one vector, of which only some columns may exist.
type narrowFunc = func(a *byte, aStride int, w *byte, wStep, wSpan, k int, dst *float32, dstStride int, more bool, bias *float32, columns int)

// blockKernels are those of products with blocks of few bits, none or all.
type blockKernels struct {
	// integers prepares blocks of activations.
	integers func(to *uint32, x *float32, blocks int)

	// row adds to dst [16] the product of one row with records of a unit; scale and
	// minus are scratch for those of a record.
	row [storedTypes]rowFunc

	// unpack writes records of a unit as pairs of integers [pairs, 16] and, by group,
	// scales and minima [groups, 16]. Where there are no minima those stay as they are.
	unpack [storedTypes]unpackFunc

	// tile adds to dst the product of 2 to 6 rows with so many units, unpacked.
	tile  [tileRows + 1]integerTileFunc
	units int

	// numbers writes what is unpacked of a unit as float32 [inputs, 16].
	numbers func(dst *float32, q *uint32, scale, minus *float32, groups, halves int)
}

type (
	rowFunc         = func(dst *float32, a *uint32, scale, minus *float32, unit *uint32, records int)
	unpackFunc      = func(q *uint32, scale, minus *float32, unit *uint32, records int)
	integerTileFunc = func(a *uint32, aStride int, q *uint32, scale, minus *float32, groups, halves int, dst *float32, dstStride int)
)

const tileRows = 6

// Formats of tiles.
const (
	single = iota // float32 by float32
	mixed         // pairs of bfloat16 weights by pairs of float32
	half          // pairs of bfloat16 by pairs of bfloat16
)

// active is chosen once: before main, and by tests.
var active, errForced = choose(os.Getenv("STEER_INSTRUCTIONS"))

// Available returns the names of the instruction sets that can be forced on this
// machine, best first.
func Available() []string {
	var names []string
	for _, set := range sets() {
		names = append(names, set.name)
	}
	return names
}

func sets() []*instructionSet { return append(supported(), &instructionSet{name: "go"}) }

// choose returns the named instruction set; the best for "".
func choose(name string) (*instructionSet, error) {
	all := sets()
	for _, set := range all {
		if set.name == name {
			return set, nil
		}
	}
	if name == "" {
		return all[0], nil
	}
	return all[0], fmt.Errorf("STEER_INSTRUCTIONS is %q; this machine has %s", name, strings.Join(Available(), ", "))
}
