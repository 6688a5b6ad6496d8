package kernel

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// The peaks that the benchmarks are fractions of, measured in the same run.
var peak = sync.OnceValue(func() Peak { return MeasurePeak(500 * time.Millisecond) })

// BenchmarkProduct reports the fraction of the processor's peak, and for one
// row that of the rate at which memory can be read: the weights, several
// copies taken in turn, fit in no cache.
func BenchmarkProduct(b *testing.B) {
	for _, precision := range []Precision{BF16, Mixed, F32} {
		for _, shape := range [][2]int{{576, 576}, {2048, 2048}, {8192, 2048}, {2048, 8192}} {
			for _, rows := range []int{1, 4, 8, 32, 128, 512} {
				b.Run(fmt.Sprintf("%s/%dx%d/rows=%d", precision, shape[0], shape[1], rows), func(b *testing.B) {
					benchmarkProduct(b, precision, rows, shape[0], shape[1])
				})
			}
		}
	}
}

func benchmarkProduct(b *testing.B, precision Precision, rows, out, in int) {
	data := make([]byte, 0, out*in*2)
	random := rand.New(rand.NewPCG(1, 1))
	for range out * in {
		data = binary.LittleEndian.AppendUint16(data, ToBF16(float32(random.Float64()-0.5)))
	}
	view := View{Data: data, Type: StoredBF16, Rows: out, Cols: in, RowStride: in, ColStride: 1}
	var copies []*Matrix
	for total := 0; total < 300<<20; total += copies[0].Bytes() {
		copies = append(copies, Pack(precision, view))
	}
	x, dst := make([]float32, rows*in), make([]float32, rows*out)
	fill(random, x)
	bound := peak()
	n := 0
	for b.Loop() {
		Product(dst, x, rows, copies[n%len(copies)], nil)
		n++
	}
	operations := 2 * float64(rows) * float64(out) * float64(in) * float64(b.N) / b.Elapsed().Seconds()
	bytes := float64(copies[0].Bytes()) * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(operations/1e9, "GFLOP/s")
	if bound.Multiply > 0 {
		b.ReportMetric(operations/bound.Products(precision), "of-peak")
		b.ReportMetric(bytes/bound.Read, "of-read")
	}
}
