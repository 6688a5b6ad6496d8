package operators

import (
	"errors"
	"math"

	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/internal/parameters"
	"github.com/steervec/steer/lm/engine"
)

// Rotate turns the activation's part in the plane of two rows, whose orthonormal
// basis is b₁ along the first row and b₂ towards the second, by an angle in degrees,
// from b₁ to b₂ where it is positive. The rest of the activation, and so its
// length, stays. Where onlyPositive is set, only activations with h·b₁ > 0 turn.
// The rows' lengths have no influence; rows that span no plane are an error.
//
// Source: angular steering (Vu and Nguyen 2025), adaptive in AISteer360, rotation.py.
func Rotate(degrees float64, onlyPositive bool) engine.Operator {
	return rotate{degrees, false, onlyPositive}
}

// RotateTo brings the activation's part in the plane of two rows to an angle from
// the first: h − Ph + ‖Ph‖(cos θ·b₁ + sin θ·b₂), P projecting on the plane. See
// [Rotate] for the rest.
func RotateTo(degrees float64, onlyPositive bool) engine.Operator {
	return rotate{degrees, true, onlyPositive}
}

type rotate struct {
	degrees          float64
	to, onlyPositive bool
}

func parseRotate(p *parameters.Set) engine.Operator {
	only := p.Flag("only", "positive")
	if p.Has("to") {
		return RotateTo(p.Number("to", 0), only)
	}
	return Rotate(p.Needed("by"), only)
}

func (o rotate) Name() string {
	key, only := "by", ""
	if o.to {
		key = "to"
	}
	if o.onlyPositive {
		only = "only=positive"
	}
	return parameters.Name("rotate", parameters.Pair(key, o.degrees, math.NaN()), only)
}

func (o rotate) valid() error {
	if math.IsNaN(o.degrees) || math.IsInf(o.degrees, 0) {
		return errors.New("the angle is not finite")
	}
	return nil
}

func (o rotate) Prepare(vector []float32, width int) ([]float32, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	if err := needRows(vector, width, 2, "what spans the plane"); err != nil {
		return nil, err
	}
	rows, err := Basis(vector, width)
	if err != nil {
		return nil, err
	}
	if len(rows) < 2*width {
		return nil, errors.New("its two rows are parallel: they span no plane")
	}
	if !o.to && math.Mod(o.degrees, 360) == 0 {
		return nil, nil
	}
	return rows, nil
}

func (o rotate) Delta(delta, activation, plane []float32) {
	first, second := plane[:len(activation)], plane[len(activation):]
	x, y := linear.Dot(activation, first), linear.Dot(activation, second)
	if o.onlyPositive && x <= 0 {
		return
	}
	sin, cos := math.Sincos(o.degrees * math.Pi / 180)
	turnedX, turnedY := cos*x-sin*y, sin*x+cos*y
	if o.to {
		length := math.Hypot(x, y)
		turnedX, turnedY = length*cos, length*sin
	}
	addScaled(delta, first, turnedX-x)
	addScaled(delta, second, turnedY-y)
}
