package steer

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/optimize"
)

// LogisticOptions are those of the classifier; the zero value is the
// reference's.
type LogisticOptions struct {
	C             float64 // weight of the samples against the penalty; 0: 1
	Tolerance     float64 // largest element of the gradient at the end, relative to C; 0: 1e-9
	MaxIterations int     // 0: 10000
}

// Logistic takes the normal of the plane that a logistic regression without
// intercept puts between positive and negative activations, of length 1
// (logistic_aggregator of the reference). Each pair is centred on its own mean
// first, so that the regression sees half the difference δ and its negative:
// the direction is that of the minimum over w of
//
//	½ w·w + C Σ 2 log(1 + exp(-½ δ·w)),
//
// the objective of scikit-learn's LogisticRegression with an L2 penalty on
// those points. It keeps all differences.
func Logistic(opts LogisticOptions) Aggregator {
	if opts.C == 0 {
		opts.C = 1
	}
	if opts.Tolerance == 0 {
		opts.Tolerance = defaultTolerance
	}
	if opts.MaxIterations == 0 {
		opts.MaxIterations = defaultIterations
	}
	name := fmt.Sprintf("logistic(C=%g)", opts.C)
	if opts.Tolerance != defaultTolerance || opts.MaxIterations != defaultIterations {
		name = fmt.Sprintf("logistic(C=%g, tolerance=%g, iterations=%d)", opts.C, opts.Tolerance, opts.MaxIterations)
	}
	return differencesAggregator{name, func(differences *rows) ([]float32, error) { return separate(differences, opts) }}
}

const (
	defaultTolerance  = 1e-9
	defaultIterations = 10000
)

func separate(differences *rows, opts LogisticOptions) ([]float32, error) {
	if !(opts.C > 0) || !(opts.Tolerance > 0) || opts.MaxIterations < 1 {
		return nil, fmt.Errorf("logistic regression: C %v, tolerance %v and %d iterations must be positive", opts.C, opts.Tolerance, opts.MaxIterations)
	}
	width := differences.width
	var halves [][]float64 // ½δ
	for row := range differences.each() {
		half := widen(make([]float64, width), row)
		floats.Scale(0.5, half)
		halves = append(halves, half)
	}
	weight := 2 * opts.C // both points of a pair give the same term
	problem := optimize.Problem{
		Func: func(w []float64) float64 {
			loss := 0.5 * floats.Dot(w, w)
			for _, x := range halves {
				loss += weight * softplus(-floats.Dot(x, w))
			}
			return loss
		},
		Grad: func(gradient, w []float64) {
			copy(gradient, w)
			for _, x := range halves {
				floats.AddScaled(gradient, -weight/(1+math.Exp(floats.Dot(x, w))), x)
			}
		},
	}
	result, err := optimize.Minimize(problem, make([]float64, width), &optimize.Settings{
		GradientThreshold: opts.Tolerance * max(1, opts.C), MajorIterations: opts.MaxIterations,
		Converger: optimize.NeverTerminate{},
	}, &optimize.LBFGS{Store: 20})
	if result == nil {
		return nil, err
	}
	// At the end of float64's precision the line search finds no lower point; the
	// gradient tells whether that is the minimum.
	gradient := make([]float64, width)
	problem.Grad(gradient, result.X)
	if worst := floats.Norm(gradient, math.Inf(1)); !(worst <= max(1e-5, 10*opts.Tolerance)*max(1, opts.C)) {
		return nil, fmt.Errorf("the regression did not converge: gradient %.3g after %d iterations (%v)", worst, result.MajorIterations, result.Status)
	}
	norm := floats.Norm(result.X, 2)
	if norm == 0 {
		return nil, errors.New("positive and negative activations are the same: no plane parts them")
	}
	direction := make([]float32, width)
	for i, v := range result.X {
		direction[i] = float32(v / norm)
	}
	return direction, nil
}

// softplus is log(1 + exp(x)) without overflow.
func softplus(x float64) float64 {
	if x > 0 {
		return x + math.Log1p(math.Exp(-x))
	}
	return math.Log1p(math.Exp(x))
}
