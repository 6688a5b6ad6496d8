package operators

import (
	"math"

	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/internal/parameters"
	"github.com/steervec/steer/lm/engine"
)

// Slerp turns the activation a share, from 0 to 1, of the way towards the vector's
// direction on the great circle between them, at its own length: with ω the angle
// between h and v, ‖h‖·(sin((1−share)ω)·ĥ + sin(share·ω)·v̂)/sin ω. Where sin ω is
// below 1e-6 the circle is not defined and the activation stays. One row, whose
// length has no influence; a zero one is an error.
//
// Source: Shoemake 1985, "Animating Rotation with Quaternion Curves"; as a steering
// method in steering-lite.
func Slerp(share float64) engine.Operator { return slerp{share} }

type slerp struct{ share float64 }

func (o slerp) Name() string {
	return parameters.Name("slerp", parameters.Pair("share", o.share, math.NaN()))
}

func (o slerp) valid() error { return checkShare(o.share) }

func (o slerp) Prepare(vector []float32, width int) ([]float32, error) {
	return prepareShare(o.share, vector, width, direction)
}

func (o slerp) Delta(delta, activation, unit []float32) {
	length := math.Sqrt(linear.Dot(activation, activation))
	if length == 0 {
		return
	}
	cos := max(-1, min(1, linear.Dot(activation, unit)/length))
	sin := math.Sqrt(1 - cos*cos)
	if sin < 1e-6 {
		return
	}
	angle := math.Atan2(sin, cos)
	own, other := math.Sin((1-o.share)*angle)/sin, math.Sin(o.share*angle)/sin
	for i, v := range unit {
		delta[i] = float32((own-1)*float64(activation[i]) + other*length*float64(v))
	}
}
