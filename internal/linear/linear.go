// Package linear holds the little linear algebra that every room needs, in plain
// loops whose sums are float64 and have one order: the same bits on every machine.
package linear

import (
	"math"
	"slices"
)

// Dot returns a·b; b has at least as many elements as a.
func Dot(a, b []float32) float64 {
	sum := 0.0
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// Norm returns the Euclidean length of x.
func Norm(x []float32) float64 { return math.Sqrt(Dot(x, x)) }

// IsZero reports whether no element of x is another than 0.
func IsZero(x []float32) bool {
	return !slices.ContainsFunc(x, func(v float32) bool { return v != 0 })
}

// Wide returns x in float64.
func Wide(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// Basis is a list of orthonormal vectors.
type Basis [][]float64

// Extend adds to the basis what x has outside its span, of length 1, where that is
// more than a share of x; else it reports false. x is used up: it becomes the vector
// that is added.
func (b *Basis) Extend(x []float64, share float64) bool {
	before, after := b.Remove(x)
	if !(after > share*before) || math.IsInf(after, 0) {
		return false
	}
	for i := range x {
		x[i] /= after
	}
	*b = append(*b, x)
	return true
}

// Remove takes from x what lies in the span, and returns its length before and
// after: modified Gram–Schmidt, twice, since after one pass rounding leaves what
// cancelled.
func (b *Basis) Remove(x []float64) (before, after float64) {
	before = norm(x)
	for range 2 {
		for _, other := range *b {
			along := 0.0
			for i, y := range other {
				along += y * x[i]
			}
			for i, y := range other {
				x[i] -= along * y
			}
		}
	}
	return before, norm(x)
}

// norm is the Euclidean length, without squares that overflow or vanish.
func norm(x []float64) float64 {
	most := 0.0
	for _, v := range x {
		most = max(most, math.Abs(v))
	}
	if most == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range x {
		sum += v / most * (v / most)
	}
	return most * math.Sqrt(sum)
}
