package kernel

import (
	"math"
	"unsafe"
)

// RMSNorm writes x / sqrt(mean(x²) + eps) * (offset + weight) into dst; all have
// one length (Zhang and Sennrich 2019, eq. 4). offset is 1 for the families
// that store weight-1, else 0. A nil weight stands for ones. dst may be x.
func RMSNorm(dst, x, weight []float32, eps, offset float32) {
	scale := float32(1 / math.Sqrt(squares(x, 0)/float64(len(x))+float64(eps)))
	normalize(dst, x, 0, scale, weight, nil, offset)
}

// LayerNorm writes (x - mean) / sqrt(variance + eps) * weight + bias into dst
// (Ba, Kiros and Hinton 2016). A nil weight stands for ones, a nil bias for
// zeros. dst may be x.
func LayerNorm(dst, x, weight, bias []float32, eps float32) {
	mean := sum(x) / float64(len(x))
	scale := float32(1 / math.Sqrt(squares(x, mean)/float64(len(x))+float64(eps)))
	normalize(dst, x, float32(mean), scale, weight, bias, 0)
}

// sum adds up x in float64.
func sum(x []float32) float64 {
	if f := active.sum; f != nil && len(x) > 0 {
		return f(&x[0], len(x))
	}
	var sum float64
	for _, v := range x {
		sum += float64(v)
	}
	return sum
}

// squares adds up (x - mean)² in float64.
func squares(x []float32, mean float64) float64 {
	if f := active.squares; f != nil && len(x) > 0 {
		return f(&x[0], len(x), mean)
	}
	return plainSquares(x, mean)
}

func plainSquares(x []float32, mean float64) float64 {
	var sum float64
	for _, v := range x {
		d := float64(v) - mean
		sum += d * d
	}
	return sum
}

// normalize writes (x-mean) * scale * (offset+weight) + bias.
func normalize(dst, x []float32, mean, scale float32, weight, bias []float32, offset float32) {
	dst = dst[:len(x)]
	if weight != nil {
		weight = weight[:len(x)]
	}
	if bias != nil {
		bias = bias[:len(x)]
	}
	if f := active.normalize; f != nil && len(x) > 0 {
		f(&dst[0], &x[0], len(x), mean, scale, unsafe.SliceData(weight), unsafe.SliceData(bias), offset)
		return
	}
	plainNormalize(dst, x, mean, scale, weight, bias, offset)
}

func plainNormalize(dst, x []float32, mean, scale float32, weight, bias []float32, offset float32) {
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
