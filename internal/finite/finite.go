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
	var sum T // stays 0 unless an element is not finite
	for _, v := range x {
		sum += v - v
	}
	return sum == 0
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
