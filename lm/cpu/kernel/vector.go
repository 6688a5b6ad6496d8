package kernel

// AddScaled adds scale*x to dst, element by element.
func AddScaled(dst, x []float32, scale float32) {
	x = x[:len(dst)]
	if f := active.addScaled; f != nil && len(dst) > 0 {
		f(&dst[0], &x[0], len(dst), scale)
		return
	}
	for i := range dst {
		dst[i] += scale * x[i]
	}
}

// Scale multiplies x by s in place.
func Scale(x []float32, s float32) {
	if f := active.scale; f != nil && len(x) > 0 {
		f(&x[0], len(x), s)
		return
	}
	for i := range x {
		x[i] *= s
	}
}
