package kernel

import "math"

// Activation is a function applied to each element of an MLP's hidden layer.
type Activation uint8

const (
	SiLU      Activation = iota // x·sigmoid(x)
	GELU                        // x·Φ(x), with the error function (Hendrycks and Gimpel 2016)
	GELUTanh                    // the tanh approximation of GELU, same paper
	ReLU                        // max(0, x)
	ReLU2                       // max(0, x)² (So et al. 2021)
	QuickGELU                   // x·sigmoid(1.702·x) (Hendrycks and Gimpel 2016)
)

// quickSlope is the 1.702 of QuickGELU.
const quickSlope = 1.702

// Activate replaces each element of x by its activation.
func Activate(kind Activation, x []float32) {
	switch {
	case kind == ReLU2:
		ActivateGated(ReLU, x, x)
		return
	case kind == QuickGELU:
		Scale(x, quickSlope)
		Activate(SiLU, x)
		Scale(x, 1/float32(quickSlope))
		return
	}
	if f := active.activation[kind]; f != nil && len(x) > 0 {
		f(&x[0], nil, len(x))
		return
	}
	for i, v := range x {
		x[i] = activate(kind, v)
	}
}

// ActivateGated replaces gate by activation(gate) * up, element by element. up
// may be gate.
func ActivateGated(kind Activation, gate, up []float32) {
	up = up[:len(gate)]
	switch {
	case kind == ReLU2:
		for i, v := range gate {
			gate[i] = max(v, 0) * max(v, 0) * up[i]
		}
		return
	case kind == QuickGELU:
		Scale(gate, quickSlope)
		ActivateGated(SiLU, gate, up)
		Scale(gate, 1/float32(quickSlope))
		return
	}
	if f := active.activation[kind]; f != nil && len(gate) > 0 {
		f(&gate[0], &up[0], len(gate))
		return
	}
	for i, v := range gate {
		gate[i] = activate(kind, v) * up[i]
	}
}

func activate(kind Activation, v float32) float32 {
	x := float64(v)
	switch kind {
	case SiLU:
		return float32(x / (1 + math.Exp(-x)))
	case GELU:
		return float32(0.5 * x * (1 + math.Erf(x/math.Sqrt2)))
	case GELUTanh:
		return float32(0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))))
	default:
		return max(v, 0)
	}
}

// XIELU is an activation with learned constants, quadratic above zero and
// exponential below (Huang and Schlag 2025):
//
//	x > 0: Positive·x² + Beta·x
//	else:  Negative·(exp(min(x, Epsilon)) - 1 - x) + Beta·x
type XIELU struct{ Positive, Negative, Beta, Epsilon float32 }

// Activate replaces each element of x by its activation.
func (a *XIELU) Activate(x []float32) {
	for i, v := range x {
		if v > 0 {
			x[i] = a.Positive*v*v + a.Beta*v
		} else {
			x[i] = a.Negative*float32(math.Expm1(float64(min(v, a.Epsilon)))-float64(v)) + a.Beta*v
		}
	}
}

// Clamp bounds each element of x.
func Clamp(x []float32, least, most float32) {
	for i, v := range x {
		x[i] = min(max(v, least), most)
	}
}

// SoftCap replaces each element of x by limit*tanh(x/limit).
func SoftCap(x []float32, limit float32) {
	if f := active.softCap; f != nil && len(x) > 0 {
		f(&x[0], len(x), limit)
		return
	}
	for i, v := range x {
		x[i] = float32(float64(limit) * math.Tanh(float64(v)/float64(limit)))
	}
}
