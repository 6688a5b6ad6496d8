package operators

import (
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm/engine"
)

// Affine maps each coordinate by a line: ω⊙h + β. Two rows: the scales ω, then the
// shifts β. A map that changes nothing is idle.
//
// Source: Linear-AcT, Rodriguez et al. 2024, "Controlling Language and Diffusion
// Models by Transporting Activations", equation 5; the multiplier is its strength λ.
func Affine() engine.Operator { return affine{} }

type affine struct{}

func (affine) Name() string { return "affine" }

// Prepare returns ω−1 and β, so that the delta is their line.
func (affine) Prepare(vector []float32, width int) ([]float32, error) {
	if err := needRows(vector, width, 2, "scales and shifts"); err != nil {
		return nil, err
	}
	lines := make([]float32, len(vector))
	copy(lines, vector)
	for i := range width {
		lines[i]--
	}
	if linear.IsZero(lines) {
		return nil, nil
	}
	return lines, nil
}

func (affine) Delta(delta, activation, lines []float32) {
	scale, shift := lines[:len(activation)], lines[len(activation):]
	for i, h := range activation {
		delta[i] = float32(float64(scale[i])*float64(h) + float64(shift[i]))
	}
}

func (affine) blend(rows []float32, width int, by float64) {
	for i, x := range rows {
		if i < width {
			rows[i] = float32(1 + by*(float64(x)-1))
		} else {
			rows[i] = float32(by * float64(x))
		}
	}
}
