package operators

import (
	"errors"
	"math"

	"github.com/steervec/steer/internal/parameters"
	"github.com/steervec/steer/lm/engine"
)

// Multiply multiplies the activation's part in the subspace that the vector's rows
// span: h + (by − 1)·QQᵀh, the columns of Q being an orthonormal basis. 0 ablates,
// 1 is idle, −1 reflects. One or more rows, whose lengths have no influence; a zero
// one is an error.
//
// Source: the projection of [Ablate], scaled; reflections as in Householder 1958.
func Multiply(by float64) engine.Operator { return multiply{by} }

type multiply struct{ by float64 }

func (o multiply) Name() string {
	return parameters.Name("multiply", parameters.Pair("by", o.by, math.NaN()))
}

func (o multiply) valid() error {
	if math.IsNaN(o.by) || math.IsInf(o.by, 0) {
		return errors.New("the factor is not finite")
	}
	return nil
}

func (o multiply) Prepare(vector []float32, width int) ([]float32, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	rows, err := Basis(vector, width)
	if o.by == 1 {
		return nil, err
	}
	return rows, err
}

func (o multiply) Delta(delta, activation, basis []float32) {
	scaleSubspace(delta, activation, basis, o.by-1)
}
