package operators

import (
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm/engine"
)

// AblateThenAdd removes the activation's component along the vector and adds the
// vector in its place, so that afterwards the component is the same for every
// activation: h − (h·v̂)v̂ + v. One row; a zero one is an error.
//
// Source: steering-vectors, ablation_then_addition_operator.
func AblateThenAdd() engine.Operator { return ablateThenAdd{} }

type ablateThenAdd struct{}

func (ablateThenAdd) Name() string { return "ablate-then-add" }

func (ablateThenAdd) Prepare(vector []float32, width int) ([]float32, error) {
	return withUnit(vector, width)
}

func (ablateThenAdd) Delta(delta, activation, prepared []float32) {
	vector, unit := prepared[:len(activation)], prepared[len(activation):]
	copy(delta, vector)
	addScaled(delta, unit, -linear.Dot(activation, unit))
}

// withUnit returns a vector of one row and, as a second, its direction.
func withUnit(vector []float32, width int) ([]float32, error) {
	unit, err := direction(vector, width)
	if err != nil {
		return nil, err
	}
	return append(append(make([]float32, 0, 2*width), vector...), unit...), nil
}
