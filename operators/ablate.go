package operators

import (
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/internal/parameters"
	"github.com/steervec/steer/lm/engine"
)

// Ablate removes a share, from 0 to 1, of the activation's part in the subspace
// that the vector's rows span: h − share·QQᵀh, the columns of Q being an
// orthonormal basis. One or more rows, whose lengths have no influence; a zero one
// is an error.
//
// Source: steering-vectors, ablation_operator; Arditi et al. 2024, "Refusal in
// Language Models Is Mediated by a Single Direction", equation 4.
func Ablate(share float64) engine.Operator { return ablate{share} }

type ablate struct{ share float64 }

func (o ablate) Name() string { return parameters.Name("ablate", parameters.Pair("share", o.share, 1)) }

func (o ablate) valid() error { return checkShare(o.share) }

func (o ablate) Prepare(vector []float32, width int) ([]float32, error) {
	return prepareShare(o.share, vector, width, Basis)
}

func (o ablate) Delta(delta, activation, basis []float32) {
	scaleSubspace(delta, activation, basis, -o.share)
}

// scaleSubspace adds by·QQᵀh, the rows of the basis being the columns of Q.
func scaleSubspace(delta, activation, basis []float32, by float64) {
	for width := len(activation); len(basis) > 0; basis = basis[width:] {
		row := basis[:width]
		addScaled(delta, row, by*linear.Dot(activation, row))
	}
}
