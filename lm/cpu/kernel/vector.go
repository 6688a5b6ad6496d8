package kernel

// Dot returns the inner product of a and the first len(a) elements of b.
func Dot(a, b []float32) float32 {
	b = b[:len(a)]
	var sum float32
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}

// AddScaled adds scale*x to dst, element by element.
func AddScaled(dst, x []float32, scale float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += scale * x[i]
	}
}

// Scale multiplies x by s in place.
func Scale(x []float32, s float32) {
	for i := range x {
		x[i] *= s
	}
}
