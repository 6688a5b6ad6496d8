package aggregators

import "gonum.org/v1/gonum/floats"

// Discriminant takes Fisher's linear discriminant, of length 1: Σ⁻¹(μ₊ - μ₋), Σ being
// the covariance within the sides, pooled and shrunk as Ledoit and Wolf do (Fisher
// 1936; Marks and Tegmark 2023, "The Geometry of Truth", section 5, where it is the
// mass-mean probe that knows the covariance). It keeps all activations, and solves
// with as many unknowns as there are activations or elements of one, whichever are
// fewer.
func Discriminant() Aggregator {
	return sidesAggregator{name: "lda", f: func(positive, negative *rows) ([]float32, error) {
		c, means, err := within(positive, negative)
		if err != nil {
			return nil, err
		}
		direction, err := c.solve(difference(means[0], means[1]))
		if err != nil {
			return nil, err
		}
		if direction, err = unit(direction); err != nil {
			return nil, err
		}
		return narrow(direction), nil
	}}
}

// LEACE takes the map after which no linear probe tells the sides apart, for the
// operator leace: h - L·R(h - μ), with μ the mean of all activations. For two sides
// the whitened covariance with the label is one column, so that L is δ = μ₊ - μ₋ and R
// is δᵀΣ⁻¹/(δᵀΣ⁻¹δ), Σ being the covariance of all activations, shrunk as Ledoit and Wolf
// do (Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed form",
// theorem 4.3). What it gives are the rows μ, R, L. It keeps all activations.
func LEACE() Aggregator {
	return sidesAggregator{name: "leace", operator: "leace", f: func(positive, negative *rows) ([]float32, error) {
		c, mean, err := around(positive, negative)
		if err != nil {
			return nil, err
		}
		delta := difference(positive.mean(), negative.mean())
		if _, err := unit(delta); err != nil {
			return nil, err
		}
		reads, err := c.solve(delta)
		if err != nil {
			return nil, err
		}
		floats.Scale(1/floats.Dot(delta, reads), reads)
		return narrow(mean, reads, delta), nil
	}}
}
