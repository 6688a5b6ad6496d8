package referee

import (
	"cmp"
	"math"
	"slices"

	"github.com/steervec/steer/lm/arch"
)

// mlp is down(activation(gate(x))*up(x)), down(activation(up(x))), or the mixture
// of those that the router chooses.
func (s *Session) mlp(p *mlp, x []float64) []float64 {
	if p.experts != nil {
		return s.mixture(p, x)
	}
	inner := s.model.product(p.up, x)
	if p.gate != nil {
		for i, v := range s.model.product(p.gate, x) {
			inner[i] *= activate(p.activation, v)
		}
	} else {
		for i, v := range inner {
			inner[i] = activate(p.activation, v)
		}
	}
	return s.model.product(p.down, inner)
}

// mixture adds up the likeliest experts, weighted by their probabilities, and the
// shared one.
func (s *Session) mixture(p *mlp, x []float64) []float64 {
	probabilities := softmax(s.model.product(p.router, x))
	order := make([]int, len(probabilities))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(probabilities[b], probabilities[a]) })
	chosen, total := order[:p.perToken], 0.0
	for _, e := range chosen {
		total += probabilities[e]
	}
	if p.perToken < len(order) {
		s.closest = min(s.closest, probabilities[order[p.perToken-1]]-probabilities[order[p.perToken]])
	}
	out := make([]float64, s.model.decoder.Hidden)
	for _, e := range chosen {
		weight := probabilities[e]
		if p.normalize {
			weight /= total
		}
		out = sum(out, scaled(s.mlp(&p.experts[e], x), weight))
	}
	if p.shared != nil {
		weight := 1.0
		if p.sharedGate != nil {
			weight = 1 / (1 + math.Exp(-s.model.product(p.sharedGate, x)[0]))
		}
		out = sum(out, scaled(s.mlp(p.shared, x), weight))
	}
	return out
}

func activate(kind arch.Activation, x float64) float64 {
	switch kind {
	case arch.SiLU:
		return x / (1 + math.Exp(-x))
	case arch.GELU:
		return x * (1 + math.Erf(x/math.Sqrt2)) / 2
	case arch.GELUTanh:
		return x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) / 2
	case arch.ReLU:
		return max(x, 0)
	}
	panic("the activation " + string(kind) + " is not known")
}
