package kernel

import "sync"

// Product computes dst = x·Wᵀ + bias for x [rows, In] and dst [rows, Out], both
// contiguous; bias is [Out] or nil. With add, the result is added to dst
// instead of replacing it. It uses all workers.
func Product(dst, x []float32, rows int, w *Matrix, bias []float32, add bool) {
	if w.Precision == BF16 {
		rounded := scratch.Get().(*[]float32)
		defer scratch.Put(rounded)
		x = roundRows(rounded, x[:rows*w.In])
	}
	const outputs, together = 64, 32 // of one task: their weights are widened once
	across := (w.Out + outputs - 1) / outputs
	down := (rows + together - 1) / together
	Parallel(across*down, func(task int) {
		widened := scratch.Get().(*[]float32)
		defer scratch.Put(widened)
		first := task / across * together
		for o := task % across * outputs; o < min(w.Out, (task%across+1)*outputs); o++ {
			weights := w.row(o, widened)
			for r := first; r < min(rows, first+together); r++ {
				sum := Dot(x[r*w.In:(r+1)*w.In], weights)
				if bias != nil {
					sum += bias[o]
				}
				if add {
					sum += dst[r*w.Out+o]
				}
				dst[r*w.Out+o] = sum
			}
		}
	})
}

// scratch holds []float32 of any length, for callers that widen or round.
var scratch = sync.Pool{New: func() any { return new([]float32) }}

// row returns row o as float32, in buffer where it has to be widened.
func (m *Matrix) row(o int, buffer *[]float32) []float32 {
	if m.Precision == F32 {
		return m.single[o*m.In : (o+1)*m.In]
	}
	row := sized(buffer, m.In)
	m.Row(o, row)
	return row
}

// roundRows rounds x to bfloat16.
func roundRows(buffer *[]float32, x []float32) []float32 {
	rounded := sized(buffer, len(x))
	for i, v := range x {
		rounded[i] = FromBF16(ToBF16(v))
	}
	return rounded
}

func sized(buffer *[]float32, n int) []float32 {
	if cap(*buffer) < n {
		*buffer = make([]float32, n)
	}
	return (*buffer)[:n]
}
