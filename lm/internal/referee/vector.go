package referee

import (
	"math"
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/internal/bfloat16"
)

// linear is a product with a weight [out][in], and a bias [out] or nil.
type linear struct {
	weight [][]float64
	bias   []float64
}

// product is the weight times x, plus the bias.
func (m *Model) product(l *linear, x []float64) []float64 {
	if m.rounds {
		rounded := make([]float64, len(x))
		for i, v := range x {
			rounded[i] = float64(bfloat16.Widen(bfloat16.Round(float32(v))))
		}
		x = rounded
	}
	y := make([]float64, len(l.weight))
	for o, row := range l.weight {
		y[o] = dot(row, x)
		if l.bias != nil {
			y[o] += l.bias[o]
		}
	}
	return y
}

// norm is a norm with its weight and bias; nil ones stand for ones and zeros, and
// a nil norm for none.
type norm struct {
	*arch.Norm
	weight, bias []float64
}

// of returns the normalised row, always another slice than x.
func (n *norm) of(x []float64) []float64 {
	y := slices.Clone(x)
	if n == nil {
		return y
	}
	size := float64(len(x))
	if n.Kind == arch.Layer {
		mean := 0.0
		for _, v := range x {
			mean += v / size
		}
		for i := range y {
			y[i] -= mean
		}
	}
	scale := 1 / math.Sqrt(dot(y, y)/size+float64(n.Epsilon))
	for i := range y {
		y[i] *= scale
		if n.weight != nil {
			y[i] *= n.weight[i] + float64(n.Offset)
		}
		if n.bias != nil {
			y[i] += n.bias[i]
		}
	}
	return y
}

func dot(a, b []float64) float64 {
	total := 0.0
	for i, v := range a {
		total += v * b[i]
	}
	return total
}

// add adds by*x to y.
func add(y, x []float64, by float64) {
	for i, v := range x {
		y[i] += by * v
	}
}

// sum returns a + b.
func sum(a, b []float64) []float64 {
	c := slices.Clone(a)
	for i, v := range b {
		c[i] += v
	}
	return c
}

// scaled returns by*x.
func scaled(x []float64, by float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = by * v
	}
	return y
}

// softmax returns exp(x) / sum(exp(x)).
func softmax(x []float64) []float64 {
	y, total, most := make([]float64, len(x)), 0.0, slices.Max(x)
	for i, v := range x {
		y[i] = math.Exp(v - most)
		total += y[i]
	}
	return scaled(y, 1/total)
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func contains(rows []int, row int) bool {
	_, ok := slices.BinarySearch(rows, row)
	return ok
}
