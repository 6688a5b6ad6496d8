package kernel

import "fmt"

// Matrix is a weight [Out, In], packed once for the product x·Wᵀ. It is
// immutable and safe for any number of callers.
type Matrix struct {
	Out, In   int
	Precision Precision

	single []float32 // F32: [Out, In]
	half   []uint16  // BF16 and Mixed: [Out, In]
}

// Pack copies the rows of the views, one under the other, into a matrix for
// products of the given precision. All views must have the same number of
// columns. The work is shared over the workers; each view's memory is read once.
func Pack(precision Precision, views ...View) *Matrix {
	m := &Matrix{In: views[0].Cols, Precision: precision}
	for _, v := range views {
		if v.Cols != m.In {
			panic(fmt.Sprintf("kernel: views of %d and %d columns in one matrix", m.In, v.Cols))
		}
		m.Out += v.Rows
	}
	if precision == F32 {
		m.single = make([]float32, m.Out*m.In)
	} else {
		m.half = make([]uint16, m.Out*m.In)
	}
	row := make([]float32, m.In)
	out := 0
	for _, v := range views {
		for r := range v.Rows {
			v.Row(r, row)
			if precision == F32 {
				copy(m.single[out*m.In:], row)
			} else {
				for i, x := range row {
					m.half[out*m.In+i] = ToBF16(x)
				}
			}
			out++
		}
	}
	return m
}

// Row writes row r of the matrix as float32 into dst [In]: the embedding of
// token r when the output matrix is tied to the embedding.
func (m *Matrix) Row(r int, dst []float32) {
	if m.Precision == F32 {
		copy(dst[:m.In], m.single[r*m.In:])
		return
	}
	for i, b := range m.half[r*m.In : (r+1)*m.In] {
		dst[i] = FromBF16(b)
	}
}

// Bytes returns the memory that the packed weight takes.
func (m *Matrix) Bytes() int { return 4*len(m.single) + 2*len(m.half) }
