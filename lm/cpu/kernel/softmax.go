package kernel

import "math"

// Softmax replaces x by exp(x) / sum(exp(x)).
func Softmax(x []float32) {
	Scale(x, float32(1/expSum(x, maximum(x))))
}

// LogSumExp returns log(sum(exp(x))): subtracted from a logit it gives the
// log-probability.
func LogSumExp(x []float32) float32 {
	largest := maximum(x)
	return largest + float32(math.Log(sumExp(x, largest)))
}

// maximum returns the largest element, -∞ if there is none; NaNs may be missed.
func maximum(x []float32) float32 {
	if f := active.maximum; f != nil && len(x) > 0 {
		return f(&x[0], len(x))
	}
	largest := float32(math.Inf(-1))
	for _, v := range x {
		largest = max(largest, v)
	}
	return largest
}

// scaleMaximum multiplies x by scale and returns the maximum of that.
func scaleMaximum(x []float32, scale float32) float32 {
	if f := active.scaleMaximum; f != nil && len(x) > 0 {
		return f(&x[0], len(x), scale)
	}
	Scale(x, scale)
	return maximum(x)
}

// expSum replaces x by exp(x - shift) and returns the sum.
func expSum(x []float32, shift float32) float64 {
	if f := active.expSum; f != nil && len(x) > 0 {
		return f(&x[0], len(x), shift)
	}
	var sum float64
	for i, v := range x {
		e := math.Exp(float64(v - shift))
		x[i] = float32(e)
		sum += e
	}
	return sum
}

// sumExp returns the sum of exp(x - shift).
func sumExp(x []float32, shift float32) float64 {
	if f := active.sumExp; f != nil && len(x) > 0 {
		return f(&x[0], len(x), shift)
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v - shift))
	}
	return sum
}
