package steer

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// PCA takes the first principal component of the differences and their
// negatives, uncentred, of length 1, with the sign that the mean difference has
// along it (pca_aggregator of the reference). It keeps the differences while
// they are fewer than the width, and their scatter matrix from there on.
func PCA() Aggregator { return pcaAggregator{} }

type pcaAggregator struct{}

func (pcaAggregator) Name() string { return "pca" }

func (pcaAggregator) New(width int) Accumulator {
	return &pca{width: width, sum: make([]float64, width)}
}

type pca struct {
	width   int
	count   int
	sum     []float64 // of the differences [width]
	rows    []float64 // the differences [count, width], while scatter is nil
	scatter []float64 // the sum of δδᵀ [width, width]
}

func (p *pca) Add(positive, negative []float32) {
	row := make([]float64, p.width)
	for i := range row {
		row[i] = float64(positive[i]) - float64(negative[i])
	}
	p.add(row)
}

func (p *pca) add(row []float64) {
	floats.Add(p.sum, row)
	p.count++
	if p.scatter != nil {
		p.fold(row)
		return
	}
	p.rows = append(p.rows, row...)
	if p.count >= p.width {
		p.scatter = make([]float64, p.width*p.width)
		for at := 0; at < len(p.rows); at += p.width {
			p.fold(p.rows[at : at+p.width])
		}
		p.rows = nil
	}
}

func (p *pca) fold(row []float64) {
	for i, v := range row {
		if v != 0 {
			floats.AddScaled(p.scatter[i*p.width:(i+1)*p.width], v, row)
		}
	}
}

func (p *pca) Merge(other Accumulator) error {
	o, ok := other.(*pca)
	if !ok || o.width != p.width {
		return errMerge(p, other)
	}
	if o.scatter == nil {
		for at := 0; at < len(o.rows); at += p.width {
			p.add(o.rows[at : at+p.width])
		}
		return nil
	}
	if p.scatter == nil {
		p.scatter = make([]float64, p.width*p.width)
		for at := 0; at < len(p.rows); at += p.width {
			p.fold(p.rows[at : at+p.width])
		}
		p.rows = nil
	}
	floats.Add(p.scatter, o.scatter)
	floats.Add(p.sum, o.sum)
	p.count += o.count
	return nil
}

func (p *pca) Direction() ([]float32, error) {
	if p.count == 0 {
		return nil, errNoSamples
	}
	if err := allFinite(p.sum); err != nil {
		return nil, err
	}
	v, err := leadingEigenvector(p.width, p.apply)
	if err != nil {
		return nil, err
	}
	along := floats.Dot(p.sum, v)
	if along == 0 {
		return nil, errors.New("the mean difference has no part along the first principal component, so its sign is undefined")
	}
	direction := make([]float32, p.width)
	for i := range direction {
		direction[i] = float32(math.Copysign(1, along) * v[i])
	}
	return direction, nil
}

// apply writes the scatter matrix times v into dst.
func (p *pca) apply(dst, v []float64) {
	clear(dst)
	if p.scatter != nil {
		for i := range dst {
			dst[i] = floats.Dot(p.scatter[i*p.width:(i+1)*p.width], v)
		}
		return
	}
	for at := 0; at < len(p.rows); at += p.width {
		row := p.rows[at : at+p.width]
		floats.AddScaled(dst, floats.Dot(row, v), row)
	}
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

func (p *pca) MarshalBinary() ([]byte, error) {
	out := appendFloat64s(appendHeader(nil, p.width, p.count), p.sum)
	return appendFloat64s(appendFloat64s(out, p.rows), p.scatter), nil
}

func (p *pca) UnmarshalBinary(data []byte) error {
	count, rest, err := readHeader(data, p.width)
	if err != nil {
		return err
	}
	sum, rest, err := readFloat64s(rest, p.width)
	if err != nil {
		return err
	}
	n := min(count, p.width) * p.width // rows, or the scatter matrix
	if len(rest) != 8*n {
		return fmt.Errorf("state of %d differences of width %d in %d bytes", count, p.width, len(rest))
	}
	values, _, err := readFloat64s(rest, n)
	if err != nil {
		return err
	}
	p.sum, p.count, p.rows, p.scatter = sum, count, nil, nil
	if count >= p.width {
		p.scatter = values
	} else {
		p.rows = values
	}
	return nil
}
