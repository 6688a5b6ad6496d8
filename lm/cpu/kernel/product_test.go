package kernel

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func randomMatrix(random *rand.Rand, precision Precision, out, in int) (*Matrix, [][]float32) {
	rows := make([][]float32, out)
	var data []byte
	for o := range rows {
		rows[o] = make([]float32, in)
		for i := range rows[o] {
			rows[o][i] = float32(random.NormFloat64())
			if precision != F32 {
				rows[o][i] = FromBF16(ToBF16(rows[o][i]))
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(rows[o][i]))
		}
	}
	return Pack(precision, View{Data: data, Rows: out, Cols: in, RowStride: in, ColStride: 1}), rows
}

// A row's product is that of float64 to rounding, and has the same bits whatever
// other rows are in the call.
func TestProductsAreRightAndIndependentOfOtherRows(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, precision := range []Precision{F32, BF16, Mixed} {
		for _, shape := range [][3]int{{0, 3, 4}, {1, 1, 1}, {2, 7, 9}, {5, 64, 8}, {33, 65, 31}, {70, 130, 96}} {
			rows, out, in := shape[0], shape[1], shape[2]
			w, weights := randomMatrix(random, precision, out, in)
			x, bias, before := make([]float32, rows*in), make([]float32, out), make([]float32, rows*out)
			for _, s := range [][]float32{x, bias, before} {
				for i := range s {
					s[i] = float32(random.NormFloat64())
				}
			}
			got := slices.Clone(before)
			Product(got, x, rows, w, bias, true)
			for r := range rows {
				alone := slices.Clone(before[r*out : (r+1)*out])
				Product(alone, x[r*in:(r+1)*in], 1, w, bias, true)
				if !slices.Equal(alone, got[r*out:(r+1)*out]) {
					t.Fatalf("%s %v: row %d has other bits alone", precision, shape, r)
				}
				for o := range out {
					want, size := float64(bias[o])+float64(before[r*out+o]), 1.0
					for i := range in {
						v := x[r*in+i]
						if precision == BF16 {
							v = FromBF16(ToBF16(v))
						}
						want += float64(v) * float64(weights[o][i])
						size += math.Abs(float64(v) * float64(weights[o][i]))
					}
					if d := math.Abs(float64(got[r*out+o]) - want); !(d <= 1e-6*size) {
						t.Fatalf("%s %v: row %d output %d is %v, want %v", precision, shape, r, o, got[r*out+o], want)
					}
				}
			}
		}
	}
}

func TestPackKeepsTransposedAndStackedRows(t *testing.T) {
	data := []byte{}
	for i := range 6 {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i)))
	}
	plain := View{Data: data, Rows: 2, Cols: 3, RowStride: 3, ColStride: 1}
	transposed := View{Data: data, Rows: 2, Cols: 3, RowStride: 1, ColStride: 2}
	m := Pack(BF16, plain, transposed)
	for r, want := range [][]float32{{0, 1, 2}, {3, 4, 5}, {0, 2, 4}, {1, 3, 5}} {
		row := make([]float32, 3)
		if m.Row(r, row); !slices.Equal(row, want) {
			t.Errorf("row %d is %v, want %v", r, row, want)
		}
	}
}

func BenchmarkProduct(b *testing.B) {
	const rows, out, in = 64, 576, 576
	for _, precision := range []Precision{F32, BF16, Mixed} {
		b.Run(precision.String(), func(b *testing.B) {
			w, _ := randomMatrix(rand.New(rand.NewPCG(1, 1)), precision, out, in)
			x, dst := make([]float32, rows*in), make([]float32, rows*out)
			for b.Loop() {
				Product(dst, x, rows, w, nil, false)
			}
			b.ReportMetric(float64(b.N)*2*rows*out*in/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
