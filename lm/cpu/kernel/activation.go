package kernel

import "math"

// Activation is a function applied to each element of an MLP's hidden layer.
type Activation uint8

const (
	SiLU     Activation = iota // x·sigmoid(x)
	GELU                       // x·Φ(x), with the error function (Hendrycks and Gimpel 2016)
	GELUTanh                   // the tanh approximation of GELU, same paper
	ReLU                       // max(0, x)
)

// Activate replaces each element of x by its activation.
func Activate(kind Activation, x []float32) {
	if f := active.activation[kind]; f != nil && len(x) > 0 {
		f(&x[0], nil, len(x))
		return
	}
	for i, v := range x {
		x[i] = activate(kind, v)
	}
}

// ActivateGated replaces gate by activation(gate) * up, element by element.
func ActivateGated(kind Activation, gate, up []float32) {
	up = up[:len(gate)]
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
