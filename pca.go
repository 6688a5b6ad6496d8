package steer

import (
	"errors"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// PCA takes the first principal component of the differences and their
// negatives, uncentred, of length 1, with the sign that the mean difference has
// along it (pca_aggregator of the reference). It keeps all differences.
func PCA() Aggregator { return differencesAggregator{"pca", principal} }

func principal(differences *rows) ([]float32, error) {
	width, sum := differences.width, make([]float64, differences.width)
	wide := make([]float64, width)
	for row := range differences.each() {
		floats.Add(sum, widen(wide, row))
	}
	apply := func(dst, v []float64) { // Σ δ (δ·v)
		clear(dst)
		for row := range differences.each() {
			floats.AddScaled(dst, floats.Dot(widen(wide, row), v), wide)
		}
	}
	if differences.Samples() >= width {
		scatter := scatterOf(differences)
		apply = func(dst, v []float64) {
			for i := range dst {
				dst[i] = floats.Dot(scatter[i*width:(i+1)*width], v)
			}
		}
	}
	v, err := leadingEigenvector(width, apply)
	if err != nil {
		return nil, err
	}
	along := floats.Dot(sum, v)
	if along == 0 {
		return nil, errors.New("the mean difference has no part along the first principal component, so its sign is undefined")
	}
	direction := make([]float32, width)
	for i := range direction {
		direction[i] = float32(math.Copysign(1, along) * v[i])
	}
	return direction, nil
}

// scatterOf returns Σ δδᵀ [width, width].
func scatterOf(differences *rows) []float64 {
	width := differences.width
	scatter, wide := make([]float64, width*width), make([]float64, width)
	for row := range differences.each() {
		widen(wide, row)
		for i, v := range wide {
			if v != 0 {
				floats.AddScaled(scatter[i*width:(i+1)*width], v, wide)
			}
		}
	}
	return scatter
}

func widen(dst []float64, row []float32) []float64 {
	for i, v := range row {
		dst[i] = float64(v)
	}
	return dst
}

// leadingEigenvector finds the eigenvector of the largest eigenvalue of a
// positive semidefinite matrix by the Lanczos method with full
// reorthogonalisation (Golub and Van Loan 2013, section 10.1), from a fixed
// start, to a relative residual of 1e-12 or until the Krylov space is exhausted.
func leadingEigenvector(width int, apply func(dst, v []float64)) ([]float64, error) {
	const tolerance, restart = 1e-12, 160
	random := rand.New(rand.NewPCG(1, 1))
	v, next := make([]float64, width), make([]float64, width)
	for i := range next {
		next[i] = random.NormFloat64()
	}
	apply(v, next) // the start lies in the matrix's range
	for range 100 {
		norm := floats.Norm(v, 2)
		if norm == 0 {
			return nil, errors.New("all differences are zero")
		}
		floats.Scale(1/norm, v)
		basis := [][]float64{append([]float64(nil), v...)}
		var alpha, beta []float64
		for {
			k := len(basis) - 1
			apply(next, basis[k])
			alpha = append(alpha, floats.Dot(next, basis[k]))
			for range 2 {
				for _, q := range basis {
					floats.AddScaled(next, -floats.Dot(next, q), q)
				}
			}
			residual := floats.Norm(next, 2)
			value, weights, err := leadingOfTridiagonal(alpha, beta)
			if err != nil {
				return nil, err
			}
			if value <= 0 {
				return nil, errors.New("all differences are zero")
			}
			converged := residual*math.Abs(weights[k]) <= tolerance*value
			if converged || len(basis) == min(restart, width) {
				clear(v)
				for i, q := range basis {
					floats.AddScaled(v, weights[i], q)
				}
				if converged || len(basis) == width {
					floats.Scale(1/floats.Norm(v, 2), v)
					return v, nil
				}
				break
			}
			floats.Scale(1/residual, next)
			basis = append(basis, append([]float64(nil), next...))
			beta = append(beta, residual)
		}
	}
	return nil, errors.New("the first principal component is not unique to working precision")
}

// leadingOfTridiagonal returns the largest eigenvalue of a small symmetric
// tridiagonal matrix and its eigenvector.
func leadingOfTridiagonal(diagonal, off []float64) (float64, []float64, error) {
	n := len(diagonal)
	t := mat.NewSymDense(n, nil)
	for i, v := range diagonal {
		t.SetSym(i, i, v)
		if i+1 < n {
			t.SetSym(i, i+1, off[i])
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(t, true) {
		return 0, nil, errors.New("the eigenvalues of the differences did not converge")
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	return eigen.Values(nil)[n-1], mat.Col(nil, n-1, &vectors), nil
}
