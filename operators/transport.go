package operators

import (
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm/engine"
)

// Transport maps one Gaussian to another: μ₂ + A(h − μ₁). Width + 2 rows: the mean
// μ₁ of what activations are, the mean μ₂ of what they are to be, then the rows of
// the matrix A, row i giving coordinate i. It takes width² products a token.
//
// Source: MiMiC, Singh et al. 2024, "Representation Surgery: Theory and Practice of
// Affine Steering", where A = K₁^-½(K₁^½ K₂ K₁^½)^½ K₁^-½ of the two covariances;
// concept-erasure, optimal_transport.py.
func Transport() engine.Operator { return transport{} }

type transport struct{}

func (transport) Name() string { return "transport" }

// Prepare returns μ₂ − Aμ₁ and the rows of A − I, so that the delta is their map.
func (transport) Prepare(vector []float32, width int) ([]float32, error) {
	if err := needRows(vector, width, width+2, "two means and a matrix"); err != nil {
		return nil, err
	}
	from, to, matrix := vector[:width], vector[width:2*width], vector[2*width:]
	out := make([]float32, (width+1)*width)
	copy(out[width:], matrix)
	for i := range width {
		out[i] = float32(float64(to[i]) - linear.Dot(matrix[i*width:(i+1)*width], from))
		out[(i+1)*width+i]--
	}
	if linear.IsZero(out) {
		return nil, nil
	}
	return out, nil
}

func (transport) Delta(delta, activation, prepared []float32) {
	width := len(activation)
	shift, rows := prepared[:width], prepared[width:]
	for i := range delta {
		delta[i] = float32(float64(shift[i]) + linear.Dot(rows[i*width:(i+1)*width], activation))
	}
}

func (transport) blend(rows []float32, width int, by float64) {
	from := rows[:width]
	for i, x := range rows[width:] {
		row, column := i/width, i%width
		still := 0.0 // what leaves the activation where it is
		if row == 0 {
			still = float64(from[column])
		} else if row-1 == column {
			still = 1
		}
		rows[width+i] = float32(still + by*(float64(x)-still))
	}
}
