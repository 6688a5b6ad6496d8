package operators

import (
	"errors"
	"math"

	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/internal/parameters"
	"github.com/steervec/steer/lm/engine"
)

// Clamp brings how many times the activation contains the vector, c = h·v/‖v‖², to
// no less than a floor and no more than a ceiling:
// h + (min(max(c, floor), ceiling) − c)·v. An infinite bound is none; equal bounds
// set the value. One row; a zero one is an error. Of a vector that was normalised,
// c is the projection itself.
//
// Source: lm-evaluation-harness, hf_steered.py, action "clamp":
// h + (value − h·v̂)v̂.
func Clamp(floor, ceiling float64) engine.Operator { return clamp{floor, ceiling} }

type clamp struct{ floor, ceiling float64 }

func parseClamp(p *parameters.Set) engine.Operator {
	if p.Has("at") {
		at := p.Number("at", 0)
		return Clamp(at, at)
	}
	return Clamp(p.Number("floor", math.Inf(-1)), p.Number("ceiling", math.Inf(1)))
}

func (o clamp) Name() string {
	if o.floor == o.ceiling {
		return parameters.Name("clamp", parameters.Pair("at", o.floor, math.NaN()))
	}
	return parameters.Name("clamp", parameters.Pair("floor", o.floor, math.Inf(-1)), parameters.Pair("ceiling", o.ceiling, math.Inf(1)))
}

func (o clamp) valid() error {
	switch {
	case math.IsNaN(o.floor) || math.IsNaN(o.ceiling) || o.floor > o.ceiling:
		return errors.New("the floor is above the ceiling")
	case math.IsInf(o.floor, -1) && math.IsInf(o.ceiling, 1):
		return errors.New("neither floor nor ceiling is given, nor at")
	case math.IsInf(o.floor, 1) || math.IsInf(o.ceiling, -1):
		return errors.New("a bound is infinite")
	}
	return nil
}

func (o clamp) Prepare(vector []float32, width int) ([]float32, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	return withUnit(vector, width)
}

func (o clamp) Delta(delta, activation, prepared []float32) {
	vector, unit := prepared[:len(activation)], prepared[len(activation):]
	length := linear.Dot(vector, unit)
	along := linear.Dot(activation, unit)
	if to := min(max(along, o.floor*length), o.ceiling*length); to != along {
		addScaled(delta, unit, to-along)
	}
}
