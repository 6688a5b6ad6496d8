package aggregators

import (
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/floats"
)

func BenchmarkMean(b *testing.B) {
	const width = 4096
	random := rand.New(rand.NewPCG(3, 3))
	positive, negative := make([]float32, width), make([]float32, width)
	for i := range width {
		positive[i], negative[i] = float32(random.NormFloat64()), float32(random.NormFloat64())
	}
	b.Run("exact", func(b *testing.B) {
		a := Mean().New(width)
		for b.Loop() {
			a.Add(positive, negative)
		}
	})
	b.Run("float64", func(b *testing.B) { // what a sum that rounds would cost
		sum := make([]float64, width)
		for b.Loop() {
			for i := range sum {
				sum[i] += float64(positive[i]) - float64(negative[i])
			}
		}
	})
}

func BenchmarkScatter(b *testing.B) {
	const width = 576
	random := rand.New(rand.NewPCG(3, 3))
	row := make([]float32, width)
	for i := range row {
		row[i] = float32(random.NormFloat64())
	}
	b.Run("integers", func(b *testing.B) {
		var s scatter
		for b.Loop() {
			s.fold(row)
		}
	})
	b.Run("float64", func(b *testing.B) { // what a matrix that rounds would cost
		sums, wide := make([]float64, width*width), widen(make([]float64, width), row)
		for b.Loop() {
			for i, v := range wide {
				floats.AddScaled(sums[i*width:(i+1)*width], v, wide)
			}
		}
	})
}
