package kernel

import "math"

// Softmax replaces x by exp(x) / sum(exp(x)).
func Softmax(x []float32) {
	largest := maximum(x)
	var sum float64
	for i, v := range x {
		e := math.Exp(float64(v - largest))
		x[i] = float32(e)
		sum += e
	}
	Scale(x, float32(1/sum))
}

// LogSumExp returns log(sum(exp(x))): subtracted from a logit it gives the
// log-probability.
func LogSumExp(x []float32) float32 {
	largest := maximum(x)
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v - largest))
	}
	return largest + float32(math.Log(sum))
}

func maximum(x []float32) float32 {
	largest := float32(math.Inf(-1))
	for _, v := range x {
		largest = max(largest, v)
	}
	return largest
}
