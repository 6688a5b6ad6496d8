package referee

import (
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
	limit := float64(p.GateLimit)
	for i, v := range inner {
		if limit > 0 {
			v = min(max(v, -limit), limit)
		}
		inner[i] = v + float64(p.UpOffset)
	}
	if p.gate == nil {
		for i, v := range inner {
			inner[i] = p.activate(v)
		}
		return scaled(s.model.product(p.down, inner), orOne(p.Scale))
	}
	for i, v := range sparse(p.MLP, s.model.product(p.gate, x)) {
		v *= orOne(p.GateScale)
		if limit > 0 {
			v = min(v, limit)
		}
		inner[i] *= p.activate(v)
	}
	return scaled(s.model.product(p.down, inner), orOne(p.Scale))
}

// sparse closes gates that are less open than others.
func sparse(m *arch.MLP, gates []float64) []float64 {
	if m.Sparsity == 0 {
		return gates
	}
	n := float64(len(gates))
	mean := dot(gates, ones(len(gates))) / n
	apart := sum(gates, scaled(ones(len(gates)), -mean))
	cut := math.Sqrt2 * math.Erfinv(2*float64(m.Sparsity)-1) * math.Sqrt(dot(apart, apart)/n)
	for i, v := range apart {
		apart[i] = max(v-cut, 0)
	}
	return apart
}

func ones(n int) []float64 { return slices.Repeat([]float64{1}, n) }

// mixture adds up the experts that are chosen, weighted, and the shared one.
func (s *Session) mixture(p *mlp, x []float64) []float64 {
	out := make([]float64, s.model.decoder.Hidden)
	for _, c := range s.choose(&p.router, x) {
		if c.expert >= p.router.Count { // it gives what it reads
			out = sum(out, scaled(x, c.weight))
			continue
		}
		expert := &p.experts[c.expert]
		if p.router.WeighInput {
			out = sum(out, s.mlp(expert, scaled(x, c.weight)))
		} else {
			out = sum(out, scaled(s.mlp(expert, x), c.weight))
		}
	}
	out = sum(out, p.router.bias)
	if p.shared != nil {
		weight := 1.0
		if p.sharedGate != nil {
			weight = sigmoid(s.model.product(p.sharedGate, x)[0])
		}
		out = sum(out, scaled(s.mlp(p.shared, x), weight))
	}
	return out
}

// ielu holds the constants of [arch.XIELU].
type ielu struct{ positive, negative, beta, epsilon float64 }

func (m *mlp) activate(x float64) float64 {
	if m.Activation != arch.LearnedIELU {
		return activated(m.Activation, x)
	}
	c := m.ielu
	if x > 0 {
		return softplus(c.positive)*x*x + c.beta*x
	}
	return (c.beta+softplus(c.negative))*(math.Expm1(min(x, c.epsilon))-x) + c.beta*x
}

// activated is an activation without constants.
func activated(kind arch.Activation, x float64) float64 {
	switch kind {
	case arch.SiLU:
		return x * sigmoid(x)
	case arch.GELU:
		return x * (1 + math.Erf(x/math.Sqrt2)) / 2
	case arch.GELUTanh:
		return x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) / 2
	case arch.ReLU:
		return max(x, 0)
	case arch.ReLU2:
		return max(x, 0) * max(x, 0)
	case arch.QuickGELU:
		return x * sigmoid(1.702*x)
	case arch.Logistic:
		return sigmoid(x)
	}
	panic("the activation " + string(kind) + " is not known")
}

func softplus(x float64) float64 { return math.Log1p(math.Exp(x)) }
