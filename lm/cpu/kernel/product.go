package kernel

// Product computes dst = x·Wᵀ + bias for x [rows, In] and dst [rows, Out], both
// contiguous; bias is [Out] or nil. With add, the result is added to dst
// instead of replacing it. It uses all workers.
func Product(dst, x []float32, rows int, w *Matrix, bias []float32, add bool) {
	Parallel(rows, func(r int) {
		in := x[r*w.In : (r+1)*w.In]
		if w.Precision == BF16 {
			rounded := make([]float32, w.In)
			for i, v := range in {
				rounded[i] = FromBF16(ToBF16(v))
			}
			in = rounded
		}
		out := dst[r*w.Out : (r+1)*w.Out]
		for o := range out {
			var sum float32
			if w.Precision == F32 {
				sum = Dot(in, w.single[o*w.In:])
			} else {
				for i, b := range w.half[o*w.In : (o+1)*w.In] {
					sum += in[i] * FromBF16(b)
				}
			}
			if bias != nil {
				sum += bias[o]
			}
			if add {
				sum += out[o]
			}
			out[o] = sum
		}
	})
}
