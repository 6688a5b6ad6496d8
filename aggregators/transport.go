package aggregators

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// LinearAcT takes for each coordinate the line that carries the negative activations
// to the positive ones, for the operator affine: the rows are ω = Σãb̃/Σã² and
// β = m_b - ω·m_a, where a and b are the negative and positive values, each sorted, m
// their means, and ã and b̃ what they differ from them (Rodriguez et al. 2024,
// "Controlling Language and Diffusion Models by Transporting Activations", equation 5).
// A coordinate in which the negative side does not vary is shifted. Layers are fitted
// apart from each other: the paper may also fit each behind those before it. Both
// sides need as many activations. It keeps them all.
func LinearAcT() Aggregator {
	return sidesAggregator{name: "linear-act", operator: "affine", f: func(positive, negative *rows) ([]float32, error) {
		n := positive.Samples()
		if n != negative.Samples() {
			return nil, fmt.Errorf("there are %d positive and %d negative activations; their values are carried one to one", n, negative.Samples())
		}
		width := positive.width
		scales, shifts := make([]float64, width), make([]float64, width)
		a, b := make([]float64, n), make([]float64, n)
		for i := range width {
			for k := range n {
				a[k], b[k] = float64(negative.row(k)[i]), float64(positive.row(k)[i])
			}
			slices.Sort(a)
			slices.Sort(b)
			from, to := meanOf(a), meanOf(b)
			both, square := 0.0, 0.0
			for k := range n {
				both += (a[k] - from) * (b[k] - to)
				square += (a[k] - from) * (a[k] - from)
			}
			scales[i] = 1
			if square > 0 {
				scales[i] = both / square
			}
			shifts[i] = to - scales[i]*from
		}
		return narrow(scales, shifts), nil
	}}
}

func meanOf(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// Transport takes the map that carries a normal distribution with mean and covariance
// of the negative activations to that of the positive ones at the least cost, for the
// operator transport: the rows are μ₁, μ₂ and those of
//
//	A = K₁^-½ (K₁^½ K₂ K₁^½)^½ K₁^-½
//
// with 1 the negative side and 2 the positive one (Singh et al. 2024, "Representation
// Surgery: Theory and Practice of Affine Steering", MiMiC; Dowson and Landau 1982).
// Both covariances are shrunk as Ledoit and Wolf do. It keeps all activations, and its
// work grows with the cube of the width.
func Transport() Aggregator {
	return sidesAggregator{name: "transport", operator: "transport", f: func(positive, negative *rows) ([]float32, error) {
		from, mean1, err := around(negative)
		if err != nil {
			return nil, err
		}
		to, mean2, err := around(positive)
		if err != nil {
			return nil, err
		}
		root, inverse, err := roots(from.matrix())
		if err != nil {
			return nil, err
		}
		between, _, err := roots(sandwich(root, to.matrix()))
		if err != nil {
			return nil, err
		}
		a := sandwich(inverse, between)
		rows := [][]float64{mean1, mean2}
		for i := range positive.width {
			rows = append(rows, mat.Row(nil, i, a))
		}
		return narrow(rows...), nil
	}}
}

// sandwich returns a·b·a of symmetric matrices.
func sandwich(a, b mat.Symmetric) *mat.SymDense {
	var left, all mat.Dense
	left.Mul(a, b)
	all.Mul(&left, a)
	n := a.SymmetricDim()
	out := mat.NewSymDense(n, nil)
	for i := range n {
		for k := i; k < n; k++ {
			out.SetSym(i, k, (all.At(i, k)+all.At(k, i))/2)
		}
	}
	return out
}

// roots returns a positive definite matrix to the powers ½ and -½.
func roots(a *mat.SymDense) (root, inverse *mat.SymDense, err error) {
	var eigen mat.EigenSym
	if !eigen.Factorize(a, true) {
		return nil, nil, errors.New("the eigenvalues of a covariance did not converge")
	}
	values := eigen.Values(nil)
	if !(values[0] > 0) {
		return nil, nil, errSingular
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	power := func(exponent float64) *mat.SymDense {
		n := len(values)
		scaled := mat.NewDense(n, n, nil)
		for k, v := range values {
			factor := math.Pow(v, exponent/2)
			for i := range n {
				scaled.Set(i, k, vectors.At(i, k)*factor)
			}
		}
		return outer(scaled, false)
	}
	return power(0.5), power(-0.5), nil
}
