package operators

import (
	"fmt"

	"github.com/steervec/steer/internal/linear"
)

// Basis returns an orthonormal basis [rank, width] of what the rows span, which
// are one or more. A row that is zero is an error; one that depends on those
// before it, to six digits, adds nothing.
func Basis(vector []float32, width int) ([]float32, error) {
	if width <= 0 || len(vector) == 0 || len(vector)%width != 0 {
		return nil, fmt.Errorf("it has %s; the operator needs one or more rows: directions", counted(vector, width))
	}
	var basis linear.Basis
	for at := 0; at < len(vector); at += width {
		row := vector[at : at+width]
		if linear.IsZero(row) && len(vector) == width {
			return nil, errZero
		}
		if linear.IsZero(row) {
			return nil, fmt.Errorf("row %d is zero: it has no direction", at/width)
		}
		basis.Extend(linear.Wide(row), 1e-6)
	}
	out := make([]float32, 0, len(basis)*width)
	for _, row := range basis {
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

// addScaled adds by·x to dst.
func addScaled(dst, x []float32, by float64) {
	for i, v := range x {
		dst[i] = float32(float64(dst[i]) + by*float64(v))
	}
}
