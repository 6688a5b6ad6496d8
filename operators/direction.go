package operators

import (
	"fmt"
	"math"
	"slices"
)

// Basis returns an orthonormal basis [rank, width] of what the rows span, which
// are one or more. A row that is zero is an error; one that depends on those
// before it, to six digits, adds nothing.
func Basis(vector []float32, width int) ([]float32, error) {
	if width <= 0 || len(vector) == 0 || len(vector)%width != 0 {
		return nil, fmt.Errorf("it has %s; the operator needs one or more rows: directions", counted(vector, width))
	}
	var rows [][]float64
	for at := 0; at < len(vector); at += width {
		row := make([]float64, width)
		for i, x := range vector[at : at+width] {
			row[i] = float64(x)
		}
		given := norm64(row)
		if given == 0 && len(vector) == width {
			return nil, errZero
		}
		if given == 0 {
			return nil, fmt.Errorf("row %d is zero: it has no direction", at/width)
		}
		// Gram–Schmidt, twice, so that rounding leaves nothing of the others
		for range 2 {
			for _, other := range rows {
				along := 0.0
				for i, x := range other {
					along += x * row[i]
				}
				for i, x := range other {
					row[i] -= along * x
				}
			}
		}
		left := norm64(row)
		if left <= 1e-6*given {
			continue
		}
		for i := range row {
			row[i] /= left
		}
		rows = append(rows, row)
	}
	out := make([]float32, 0, len(rows)*width)
	for _, row := range rows {
		for _, x := range row {
			out = append(out, float32(x))
		}
	}
	return out, nil
}

// direction returns the one row of a vector as a unit vector.
func direction(vector []float32, width int) ([]float32, error) {
	if err := needRows(vector, width, 1, "a direction"); err != nil {
		return nil, err
	}
	return Basis(vector, width)
}

func norm64(x []float64) float64 {
	most := 0.0
	for _, v := range x {
		most = max(most, math.Abs(v))
	}
	if most == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range x {
		sum += v / most * (v / most)
	}
	return most * math.Sqrt(sum)
}

// dot returns a·b.
func dot(a, b []float32) float64 {
	sum := 0.0
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// addScaled adds by·x to dst.
func addScaled(dst, x []float32, by float64) {
	for i, v := range x {
		dst[i] = float32(float64(dst[i]) + by*float64(v))
	}
}

func zero(vector []float32) bool {
	return !slices.ContainsFunc(vector, func(x float32) bool { return x != 0 })
}
