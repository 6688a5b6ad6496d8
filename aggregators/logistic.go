package aggregators

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/optimize"

	"github.com/steervec/steer/internal/parameters"
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
	opts = opts.usual()
	name := parameters.Name("logistic", parameters.Pair("C", opts.C, 1), parameters.Pair("tolerance", opts.Tolerance, defaultTolerance),
		parameters.Pair("iterations", opts.MaxIterations, defaultIterations))
	return differencesAggregator{name, func(differences *rows) ([]float32, error) { return separate(differences, opts) }}
}

// usual fills in what is not given.
func (o LogisticOptions) usual() LogisticOptions {
	return LogisticOptions{cmp.Or(o.C, 1), cmp.Or(o.Tolerance, defaultTolerance), cmp.Or(o.MaxIterations, defaultIterations)}
}

const (
	defaultTolerance  = 1e-9
	defaultIterations = 10000
)

func separate(differences *rows, opts LogisticOptions) ([]float32, error) {
	if !(opts.C > 0) || !(opts.Tolerance > 0) || opts.MaxIterations < 1 {
		return nil, fmt.Errorf("logistic regression: C %v, tolerance %v and %d iterations must be positive", opts.C, opts.Tolerance, opts.MaxIterations)
	}
	var halves [][]float64 // ½δ
	for row := range differences.each() {
		half := widen(make([]float64, differences.width), row)
		floats.Scale(0.5, half)
		halves = append(halves, half)
	}
	// Both points of a pair give the same term.
	normal, _, err := fit(classes{points: halves, weight: 2 * opts.C}, opts)
	if err != nil {
		return nil, err
	}
	if normal, err = unit(normal); err != nil {
		return nil, errors.New("positive and negative activations are the same: no plane parts them")
	}
	return narrow(normal), nil
}

// classes are points that a plane is to part.
type classes struct {
	points    [][]float64 // of the positive class, or the negatives of those of the other
	weight    float64     // of a point against the penalty
	intercept []float64   // 1 for a point that is its own, -1 for a negative; nil: the plane goes through the origin
}

// fit returns the normal w of the plane and its intercept b: the minimum of
//
//	½ w·w + weight Σ log(1 + exp(-(x·w + y·b)))
//
// over points x with intercepts y.
func fit(c classes, opts LogisticOptions) (w []float64, b float64, err error) {
	width := len(c.points[0])
	margin := func(i int, x []float64) float64 {
		m := floats.Dot(c.points[i], x[:width])
		if c.intercept != nil {
			m += c.intercept[i] * x[width]
		}
		return m
	}
	problem := optimize.Problem{
		Func: func(x []float64) float64 {
			loss := 0.5 * floats.Dot(x[:width], x[:width])
			for i := range c.points {
				loss += c.weight * softplus(-margin(i, x))
			}
			return loss
		},
		Grad: func(gradient, x []float64) {
			clear(gradient)
			copy(gradient, x[:width])
			for i, point := range c.points {
				push := -c.weight / (1 + math.Exp(margin(i, x)))
				floats.AddScaled(gradient[:width], push, point)
				if c.intercept != nil {
					gradient[width] += push * c.intercept[i]
				}
			}
		},
	}
	start := make([]float64, width)
	if c.intercept != nil {
		start = append(start, 0)
	}
	result, err := optimize.Minimize(problem, start, &optimize.Settings{
		GradientThreshold: opts.Tolerance * max(1, opts.C), MajorIterations: opts.MaxIterations,
		Converger: optimize.NeverTerminate{},
	}, &optimize.LBFGS{Store: 20})
	if result == nil {
		return nil, 0, err
	}
	// At the end of float64's precision the line search finds no lower point; the
	// gradient tells whether that is the minimum.
	gradient := make([]float64, len(start))
	problem.Grad(gradient, result.X)
	if worst := floats.Norm(gradient, math.Inf(1)); !(worst <= max(1e-5, 10*opts.Tolerance)*max(1, opts.C)) {
		return nil, 0, fmt.Errorf("the regression did not converge: gradient %.3g after %d iterations (%v)", worst, result.MajorIterations, result.Status)
	}
	if c.intercept != nil {
		b = result.X[width]
	}
	return result.X[:width], b, nil
}

// softplus is log(1 + exp(x)) without overflow.
func softplus(x float64) float64 {
	if x > 0 {
		return x + math.Log1p(math.Exp(-x))
	}
	return math.Log1p(math.Exp(x))
}
