// Package finite is the one place that looks for numbers that are none.
package finite

import "fmt"

// Float is a number that may be NaN or infinite.
type Float interface{ ~float32 | ~float64 }

// Is reports whether x is neither NaN nor infinite.
func Is[T Float](x T) bool { return x-x == 0 }

// All reports whether every element is finite. It does not stop early, so that
// it costs one pass without branches.
func All[T Float](x []T) bool {
	// Each sum stays 0 unless an element is not finite. There are four, so that an
	// addition need not wait for the one before.
	var a, b, c, d T
	for ; len(x) >= 4; x = x[4:] {
		a += x[0] - x[0]
		b += x[1] - x[1]
		c += x[2] - x[2]
		d += x[3] - x[3]
	}
	for _, v := range x {
		a += v - v
	}
	return a+b+c+d == 0
}

// Check returns an error that names the first element that is not finite.
func Check[T Float](x []T) error {
	if All(x) {
		return nil
	}
	for i, v := range x {
		if !Is(v) {
			return fmt.Errorf("element %d is %v", i, v)
		}
	}
	return nil
}
