package kernel

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

// The peaks that the benchmarks are fractions of, measured in the same run.
var peak = sync.OnceValue(func() Peak { return MeasurePeak(500 * time.Millisecond) })

// BenchmarkProduct reports the fraction of the processor's peak, and for one
// row that of the rate at which the same memory is read in the same moments: the
// weights, several copies taken in turn, fit in no cache.
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
		data = binary.LittleEndian.AppendUint16(data, bfloat16.Round(float32(random.Float64()-0.5)))
	}
	view := View{Data: data, Type: StoredBF16, Rows: out, Cols: in, RowStride: in, ColStride: 1}
	var copies []*Matrix
	for total := 0; total < 300<<20; total += copies[0].Bytes() {
		copies = append(copies, Pack(precision, view))
	}
	seconds, reading := timeProducts(b, random, rows, copies)
	operations := 2 * float64(rows) * float64(out) * float64(in) / seconds
	b.ReportMetric(operations/1e9, "GFLOP/s")
	if bound := peak(); bound.Multiply > 0 {
		b.ReportMetric(operations/bound.Products(precision), "of-peak")
		b.ReportMetric(reading/seconds, "of-read")
	}
}

// timeProducts multiplies some rows with copies of a matrix, taken in turn, and after
// each reads the next one and forgets it; it returns the seconds that either takes. A
// tenth of the calls was faster: what a busy machine leaves undisturbed.
func timeProducts(b *testing.B, random *rand.Rand, rows int, copies []*Matrix) (product, reading float64) {
	x, dst := make([]float32, rows*copies[0].In), make([]float32, rows*copies[0].Out)
	fill(random, x)
	var products, readings []float64
	for n := 0; b.Loop(); n += 2 {
		begin := time.Now()
		Product(dst, x, rows, copies[n%len(copies)], nil)
		between := time.Now()
		readMatrix(copies[(n+1)%len(copies)])
		products = append(products, between.Sub(begin).Seconds())
		readings = append(readings, time.Since(between).Seconds())
	}
	slices.Sort(products)
	slices.Sort(readings)
	return products[len(products)/10], readings[len(readings)/10]
}

// readMatrix reads a matrix as its products do: a piece of it at a time, on all workers.
func readMatrix(m *Matrix) {
	if active.read == nil {
		return
	}
	const piece = 64 << 10 // words
	for _, s := range m.stripes {
		Parallel((len(s.words)+piece-1)/piece, func(task int) {
			words := s.words[task*piece : min((task+1)*piece, len(s.words))]
			active.read((*byte)(unsafe.Pointer(&words[0])), len(words)*4&^511)
		})
	}
}

// BenchmarkBlocks reports for products with blocks of few bits the weights that pass
// in a second, and the same fractions as BenchmarkProduct; the peak of arithmetic is
// that of float32.
func BenchmarkBlocks(b *testing.B) {
	for _, precision := range []Precision{BF16, F32} {
		for stored := range storedTypes {
			if !stored.Blocks() {
				continue
			}
			for _, rows := range []int{1, 4, 16, 512} {
				b.Run(fmt.Sprintf("%s/%s/rows=%d", precision, stored, rows), func(b *testing.B) {
					const out, in = 2560, 1024
					random := rand.New(rand.NewPCG(1, 1))
					view := randomBlocks(random, stored, out, in)
					var copies []*Matrix
					for total := 0; total < 200<<20; total += copies[0].Bytes() {
						copies = append(copies, Pack(precision, view))
					}
					seconds, reading := timeProducts(b, random, rows, copies)
					weights := out * in / seconds
					b.ReportMetric(weights/1e9, "Gweights/s")
					if bound := peak(); bound.Multiply > 0 {
						b.ReportMetric(2*float64(rows)*weights/bound.Multiply, "of-peak")
						b.ReportMetric(reading/seconds, "of-read")
					}
				})
			}
		}
	}
}

// BenchmarkVectors reports the bytes that each function reads and writes, as a
// fraction of what memory could deliver: from 1 on it takes less time than
// fetching its data would.
func BenchmarkVectors(b *testing.B) {
	const n = 2048
	random := rand.New(rand.NewPCG(1, 1))
	x, y, z, halves := make([]float32, n), make([]float32, n), make([]float32, n), make([]uint16, n)
	vocabulary := make([]float32, 49152)
	keys, memory := make([]float32, KeyTile*128), make([]float32, KeyTile*128)
	for _, k := range []struct {
		name  string
		bytes int
		run   func()
	}{
		{"AddScaled", 12 * n, func() { AddScaled(y, x, 0.5) }},
		{"Scale", 8 * n, func() { Scale(x, 1) }},
		{"RMSNorm", 12 * n, func() { RMSNorm(z, x, y, 1e-5, 0) }},
		{"LayerNorm", 16 * n, func() { LayerNorm(z, x, y, y, 1e-5) }},
		{"Rope", 16 * n / 2, func() { Rope(x, y[:n/2], z[:n/2], false) }},
		{"SiLU gated", 12 * n, func() { copy(z, x); ActivateGated(SiLU, z, y) }},
		{"GELU", 8 * n, func() { copy(z, x); Activate(GELU, z) }},
		{"GELU tanh", 8 * n, func() { copy(z, x); Activate(GELUTanh, z) }},
		{"SoftCap", 8 * n, func() { copy(z, x); SoftCap(z, 30) }},
		{"Softmax", 8 * n, func() { copy(z, x); Softmax(z) }},
		{"LogSumExp over a vocabulary", 4 * len(vocabulary), func() { LogSumExp(vocabulary) }},
		{"RoundBF16", 6 * n, func() { RoundBF16(halves, x) }},
		{"StoreKeys", 8 * len(keys), func() { StoreKeys(memory, 0, keys, 128, KeyTile, 128) }},
	} {
		b.Run(k.name, func(b *testing.B) {
			bound := peak()
			fill(random, x, y, z, vocabulary, keys)
			for b.Loop() {
				k.run()
			}
			rate := float64(k.bytes) * float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate/1e9, "GB/s")
			if bound.Read > 0 {
				b.ReportMetric(rate/bound.Read, "of-read")
			}
		})
	}
}

// BenchmarkPack reports the bytes packed as a fraction of what memory could
// deliver for reading alone.
func BenchmarkPack(b *testing.B) {
	const out, in = 4096, 2048
	view := View{Data: make([]byte, out*in*2), Type: StoredBF16, Rows: out, Cols: in, RowStride: in, ColStride: 1}
	for _, precision := range []Precision{BF16, F32} {
		b.Run(precision.String(), func(b *testing.B) {
			bound := peak()
			for b.Loop() {
				Pack(precision, view)
			}
			rate := float64(len(view.Data)) * float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate/1e9, "GB/s")
			if bound.Read > 0 {
				b.ReportMetric(rate/bound.Read, "of-read")
			}
		})
	}
}
