package operators

import (
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/internal/parameters"
	"github.com/steervec/steer/lm/engine"
)

// AblatePositive removes a share, from 0 to 1, of the activation's component along
// the vector where it is positive, and leaves other activations alone:
// h − share·max(0, h·v̂)v̂. One row, whose length has no influence; a zero one is an
// error.
//
// Source: one-sided ablation as asked for in llama.cpp, discussion 8060; the ramp
// max(0, h·v̂) of Arditi et al.'s ablation.
func AblatePositive(share float64) engine.Operator { return ablatePositive{share} }

type ablatePositive struct{ share float64 }

func (o ablatePositive) Name() string {
	return parameters.Name("ablate-positive", parameters.Pair("share", o.share, 1))
}

func (o ablatePositive) valid() error { return checkShare(o.share) }

func (o ablatePositive) Prepare(vector []float32, width int) ([]float32, error) {
	return prepareShare(o.share, vector, width, direction)
}

func (o ablatePositive) Delta(delta, activation, unit []float32) {
	if along := linear.Dot(activation, unit); along > 0 {
		addScaled(delta, unit, -o.share*along)
	}
}
