package operators

import (
	"fmt"

	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm/engine"
)

// LEACE erases what a linear probe could read of a concept: h − LR(h − μ). 1 + 2k
// rows: the mean μ of the activations, then k rows of R, which read, then the k
// columns of L, as rows, along which the readings are taken away. With W = Σ^-½
// the whitening of the activations and U the left singular vectors of W·Σxz, R is
// UᵀW and L is W⁻¹U.
//
// Source: Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed
// form", theorem 4.3; concept-erasure, leace.py.
func LEACE() engine.Operator { return leace{} }

type leace struct{}

func (leace) Name() string { return "leace" }

// Prepare returns LRμ in the place of μ, so that the delta is LRμ − LRh.
func (leace) Prepare(vector []float32, width int) ([]float32, error) {
	if width <= 0 || len(vector)%width != 0 || len(vector)/width%2 == 0 || len(vector) == width {
		return nil, fmt.Errorf("it has %s; the operator needs 1 + 2k: a mean, k that read and k that are taken away", counted(vector, width))
	}
	out := make([]float32, len(vector))
	copy(out[width:], vector[width:])
	mean, read, taken := vector[:width], out[width:(len(out)+width)/2], out[(len(out)+width)/2:]
	constant := make([]float64, width)
	for at := 0; at < len(read); at += width {
		reading := linear.Dot(read[at:at+width], mean)
		for i := range constant {
			constant[i] += reading * float64(taken[at+i])
		}
	}
	for i, x := range constant {
		out[i] = float32(x)
	}
	if linear.IsZero(read) || linear.IsZero(taken) {
		return nil, nil
	}
	return out, nil
}

func (leace) Delta(delta, activation, prepared []float32) {
	width := len(activation)
	half := (len(prepared) + width) / 2
	read, taken := prepared[width:half], prepared[half:]
	copy(delta, prepared[:width])
	for at := 0; at < len(read); at += width {
		addScaled(delta, taken[at:at+width], -linear.Dot(activation, read[at:at+width]))
	}
}

func (leace) blend(rows []float32, width int, by float64) {
	taken := rows[(len(rows)+width)/2:]
	for i, x := range taken {
		taken[i] = float32(by * float64(x))
	}
}
