package operators

import (
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm/engine"
)

// Add adds the vector: h + v. One row. A zero vector is idle.
//
// Source: steering-vectors, addition_operator; Turner et al. 2023, "Activation
// Addition".
func Add() engine.Operator { return add{} }

type add struct{}

func (add) Name() string { return "add" }

func (add) Prepare(vector []float32, width int) ([]float32, error) {
	if err := needRows(vector, width, 1, "what is added"); err != nil || linear.IsZero(vector) {
		return nil, err
	}
	return vector, nil
}

func (add) Delta(delta, _, vector []float32) { copy(delta, vector) }
