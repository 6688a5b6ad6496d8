package steer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/steervec/steer/lm"
)

// Operator says how a vector acts on an activation; see [lm.Operator].
type Operator = lm.Operator

// Add steers along the vector: the delta is the vector itself.
func Add() Operator { return add{} }

// Ablate removes from the activation its component along the vector, so that
// nothing of the direction is left. The length of the vector, and with it the
// multiplier, has no influence. A zero vector has no direction: an error.
func Ablate() Operator { return ablate{} }

// AblateThenAdd removes the activation's component along the vector and adds the
// multiplied vector in its place, so that afterwards the component is the same
// for every activation. A zero vector is refused as in [Ablate].
func AblateThenAdd() Operator { return ablateThenAdd{} }

type add struct{}

func (add) Name() string                              { return "add" }
func (add) Check(vector []float32) (bool, error)      { return !zero(vector), nil }
func (add) Delta(delta, activation, vector []float32) { copy(delta, vector) }

type ablate struct{}

func (ablate) Name() string                         { return "ablate" }
func (ablate) Check(vector []float32) (bool, error) { return true, needDirection(vector) }
func (ablate) Delta(delta, activation, vector []float32) {
	share := projection(activation, vector)
	for i, v := range vector {
		delta[i] = float32(-share * float64(v))
	}
}

type ablateThenAdd struct{}

func (ablateThenAdd) Name() string                         { return "ablate-then-add" }
func (ablateThenAdd) Check(vector []float32) (bool, error) { return true, needDirection(vector) }
func (ablateThenAdd) Delta(delta, activation, vector []float32) {
	share := projection(activation, vector)
	for i, v := range vector {
		delta[i] = float32((1 - share) * float64(v))
	}
}

func needDirection(vector []float32) error {
	if zero(vector) {
		return errors.New("it is zero: it has no direction to ablate")
	}
	return nil
}

func zero(vector []float32) bool {
	return !slices.ContainsFunc(vector, func(x float32) bool { return x != 0 })
}

// projection returns how many times the vector is contained in the activation,
// (a·v)/(v·v). The sums are float64: a dot product over a few thousand float32
// terms would lose the digits by which an ablation is to reach zero.
func projection(activation, vector []float32) float64 {
	var along, square float64
	for i, v := range vector {
		along += float64(activation[i]) * float64(v)
		square += float64(v) * float64(v)
	}
	return along / square
}

// ParseOperator returns the operator of a name, one of [OperatorNames].
func ParseOperator(name string) (Operator, error) {
	for _, operator := range operators {
		if operator.Name() == name {
			return operator, nil
		}
	}
	return nil, fmt.Errorf("unknown operator %q: it is one of %s", name, strings.Join(OperatorNames(), ", "))
}

// OperatorNames lists the names of the operators.
func OperatorNames() []string {
	var names []string
	for _, operator := range operators {
		names = append(names, operator.Name())
	}
	return names
}

var operators = []Operator{Add(), Ablate(), AblateThenAdd()}
