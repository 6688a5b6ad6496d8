package kernel

import "math"

// RMSNorm writes x / sqrt(mean(x²) + eps) * (offset + weight) into dst; all have
// one length (Zhang and Sennrich 2019, eq. 4). offset is 1 for the families
// that store weight-1, else 0. A nil weight stands for ones. dst may be x.
func RMSNorm(dst, x, weight []float32, eps, offset float32) {
	var squares float64
	for _, v := range x {
		squares += float64(v) * float64(v)
	}
	scale := float32(1 / math.Sqrt(squares/float64(len(x))+float64(eps)))
	scaleShift(dst, x, 0, scale, weight, nil, offset)
}

// LayerNorm writes (x - mean) / sqrt(variance + eps) * weight + bias into dst
// (Ba, Kiros and Hinton 2016). A nil weight stands for ones, a nil bias for
// zeros. dst may be x.
func LayerNorm(dst, x, weight, bias []float32, eps float32) {
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
	}
	mean := sum / float64(len(x))
	for _, v := range x {
		d := float64(v) - mean
		squares += d * d
	}
	scale := float32(1 / math.Sqrt(squares/float64(len(x))+float64(eps)))
	scaleShift(dst, x, float32(mean), scale, weight, bias, 0)
}

func scaleShift(dst, x []float32, mean, scale float32, weight, bias []float32, offset float32) {
	for i, v := range x {
		y := (v - mean) * scale
		if weight != nil {
			y *= offset + weight[i]
		}
		if bias != nil {
			y += bias[i]
		}
		dst[i] = y
	}
}
