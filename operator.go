package steer

import (
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/operators"
)

// Operator says how a vector acts on an activation; see [lm.Operator]. Package
// operators has more of them than the three of this package.
type Operator = lm.Operator

// Add steers along the vector: the delta is the vector itself.
func Add() Operator { return operators.Add() }

// Ablate removes from the activation its component along the vector, or along all
// of the vector's rows, so that nothing of the direction is left. The length of the
// vector, and with it the multiplier, has no influence. A zero vector has no
// direction: an error.
func Ablate() Operator { return operators.Ablate(1) }

// AblateThenAdd removes the activation's component along the vector and adds the
// multiplied vector in its place, so that afterwards the component is the same
// for every activation. A zero vector is refused as in [Ablate].
func AblateThenAdd() Operator { return operators.AblateThenAdd() }

// ParseOperator returns the operator that is written NAME or
// NAME:KEY=VALUE,KEY=VALUE, as its Name is: see [operators.Parse].
func ParseOperator(text string) (Operator, error) { return operators.Parse(text) }

// OperatorSyntax says how each operator is written.
func OperatorSyntax() string { return operators.Syntax() }
