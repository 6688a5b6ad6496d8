package kernel

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/x448/float16"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

func randomMatrix(random *rand.Rand, precision Precision, out, in int) (*Matrix, [][]float32) {
	rows := make([][]float32, out)
	var data []byte
	for o := range rows {
		rows[o] = make([]float32, in)
		for i := range rows[o] {
			rows[o][i] = float32(random.NormFloat64())
			if precision != F32 {
				rows[o][i] = bfloat16.Widen(bfloat16.Round(rows[o][i]))
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(rows[o][i]))
		}
	}
	return Pack(precision, View{Data: data, Rows: out, Cols: in, RowStride: in, ColStride: 1}), rows
}

// A row's product is that of float64 to rounding, and has the same bits whatever
// other rows are in the call.
func TestProductsAreRightAndIndependentOfOtherRows(t *testing.T) {
	shapes := []struct{ rows, out, in int }{
		{0, 3, 4}, {1, 1, 1}, {2, 7, 9}, {5, 64, 8}, {33, 65, 31}, {70, 130, 96}, {7, 63, 1}, {6, 1, 77},
		{13, 200, 2051}, {1, 128, 4100}, {97, 64, 16}, {200, 66, 34}, {3, 16, 0}, {3, 0, 16},
	}
	eachSet(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 1))
		for _, precision := range []Precision{F32, BF16, Mixed} {
			for _, shape := range shapes {
				rows, out, in := shape.rows, shape.out, shape.in
				w, weights := randomMatrix(random, precision, out, in)
				x, bias := make([]float32, rows*in), make([]float32, out)
				fill(random, x, bias)
				got := make([]float32, rows*out+1)
				got[rows*out] = 3
				Product(got, x, rows, w, bias)
				if got[rows*out] != 3 {
					t.Fatalf("%s %v: wrote beyond the result", precision, shape)
				}
				for r := range rows {
					alone := make([]float32, out)
					Product(alone, x[r*in:(r+1)*in], 1, w, bias)
					if !slices.Equal(alone, got[r*out:(r+1)*out]) {
						t.Fatalf("%s %v: row %d has other bits alone", precision, shape, r)
					}
					for o := range out {
						want, size := float64(bias[o]), 1.0
						for i := range in {
							v := x[r*in+i]
							if precision == BF16 {
								v = bfloat16.Widen(bfloat16.Round(v))
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
	})
}

func TestProductsHaveTheSameBitsOnAnyNumberOfCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	eachSet(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		const rows, out, in = 50, 300, 200
		for _, precision := range []Precision{F32, BF16, Mixed} {
			w, _ := randomMatrix(random, precision, out, in)
			x := make([]float32, rows*in)
			fill(random, x)
			var first []float32
			for _, cores := range []int{1, 2, 5} {
				runtime.GOMAXPROCS(cores)
				got := make([]float32, rows*out)
				Product(got, x, rows, w, nil)
				if first == nil {
					first = got
				} else if !slices.Equal(first, got) {
					t.Errorf("%s: other bits on %d cores", precision, cores)
				}
			}
		}
	})
}

func TestPackKeepsTransposedAndStackedRows(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, stored := range []Stored{StoredF32, StoredF16, StoredBF16} {
			for _, cols := range []int{1, 3, 32, 50} {
				// Small whole numbers are exact in every format.
				const a, b = 70, 37
				whole := func(r, c int) float32 { return float32((r*7+c*3)%64 - 32) }
				plain := View{Type: stored, Rows: a, Cols: cols, RowStride: cols, ColStride: 1}
				for r := range a {
					for c := range cols {
						plain.Data = store(plain.Data, stored, whole(r, c))
					}
				}
				transposed := View{Type: stored, Rows: b, Cols: cols, RowStride: 1, ColStride: b}
				for c := range cols {
					for r := range b {
						transposed.Data = store(transposed.Data, stored, whole(a+r, c))
					}
				}
				for _, precision := range []Precision{F32, BF16, Mixed} {
					m := Pack(precision, plain, transposed)
					row := make([]float32, cols)
					for r := range a + b {
						m.Row(r, row)
						for c, got := range row {
							if got != whole(r, c) {
								t.Fatalf("%s of %d, %d columns: element (%d, %d) is %v, want %v", precision, stored, cols, r, c, got, whole(r, c))
							}
						}
					}
				}
			}
		}
	})
}

// Every byte is released once it has been read, and none before.
func TestPackReleasesWhatItHasRead(t *testing.T) {
	const rows, cols = 150, 20
	view := View{Data: make([]byte, rows*cols*4), Rows: rows, Cols: cols, RowStride: cols, ColStride: 1}
	released := make([]atomic.Int32, rows)
	view.Release = func(data []byte) {
		from := (len(view.Data) - cap(data)) / (cols * 4)
		for r := range len(data) / (cols * 4) {
			released[from+r].Add(1)
		}
	}
	view.Data = view.Data[:len(view.Data):len(view.Data)]
	Pack(F32, view)
	for r := range released {
		if n := released[r].Load(); n == 0 {
			t.Errorf("row %d was not released", r)
		}
	}
}

// store appends a number in a format that holds it exactly.
func store(data []byte, stored Stored, f float32) []byte {
	switch stored {
	case StoredF32:
		return binary.LittleEndian.AppendUint32(data, math.Float32bits(f))
	case StoredBF16:
		return binary.LittleEndian.AppendUint16(data, bfloat16.Round(f))
	}
	for h := range 1 << 16 {
		if float16.Frombits(uint16(h)).Float32() == f {
			return binary.LittleEndian.AppendUint16(data, uint16(h))
		}
	}
	panic("not a half")
}
