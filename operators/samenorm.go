package operators

import (
	"math"

	"github.com/steervec/steer/lm/engine"
)

// AddSameNorm adds the vector and gives the sum the length that the activation
// had: (h+v)·‖h‖/‖h+v‖. Where onlyGrown is set, sums that are not longer than the
// activation stay as they are. A sum of zero stays zero. One row. A zero vector is
// idle.
//
// Source: AISteer360, norm_preserving.py.
func AddSameNorm(onlyGrown bool) engine.Operator { return addSameNorm{onlyGrown} }

type addSameNorm struct{ onlyGrown bool }

func (o addSameNorm) Name() string {
	if o.onlyGrown {
		return "add-same-norm:only=grown"
	}
	return "add-same-norm"
}

func (addSameNorm) Prepare(vector []float32, width int) ([]float32, error) {
	return add{}.Prepare(vector, width)
}

func (o addSameNorm) Delta(delta, activation, vector []float32) {
	before, after := 0.0, 0.0
	for i, v := range vector {
		h := float64(activation[i])
		sum := h + float64(v)
		before += h * h
		after += sum * sum
	}
	scale := 1.0
	if after > 0 && (after > before || !o.onlyGrown) {
		scale = math.Sqrt(before / after)
	}
	for i, v := range vector {
		h := float64(activation[i])
		delta[i] = float32((h+float64(v))*scale - h)
	}
}
