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
// along it (pca_aggregator of the reference). It keeps the differences while they
// are fewer than twice the width, and from there on their scatter matrix in
// integers, for which each difference is rounded to 2^-18 of its largest element.
func PCA() Aggregator { return pcaAggregator{} }

type pcaAggregator struct{}

func (pcaAggregator) Name() string { return "pca" }

func (pcaAggregator) New(width int) Accumulator {
	return &pca{rows: rows{width: width}, sums: exactSums{width: width}}
}

type pca struct {
	rows              // the differences, while they are few
	sums    exactSums // of the differences
	scatter           // of all differences, once they are many
	count   int
}

func (p *pca) Samples() int { return p.count }

func (p *pca) many() bool { return p.count >= 2*p.width }

func (p *pca) Add(positive, negative []float32) {
	for i := range p.width {
		p.values = append(p.values, positive[i]-negative[i])
	}
	p.sums.addDifferences(positive, negative)
	p.count++
	p.settle()
}

// settle moves the rows to the scatter matrix when they are many. Whether they are
// depends on the number of all samples alone.
func (p *pca) settle() {
	if !p.many() {
		return
	}
	for row := range p.each() {
		p.fold(row)
	}
	if p.values = p.values[:0]; cap(p.values) > p.width {
		p.values = make([]float32, 0, p.width)
	}
}

func (p *pca) Merge(other Accumulator) error {
	o, ok := other.(*pca)
	if !ok || o.width != p.width {
		return errMerge(p, other)
	}
	p.values = append(p.values, o.values...)
	p.scatter.merge(&o.scatter)
	p.sums.merge(&o.sums)
	p.count += o.count
	p.settle()
	return nil
}

func (p *pca) Direction() ([]float32, error) {
	sum, err := p.sums.values()
	if err != nil {
		return nil, err
	}
	width, apply := p.width, p.applyRows
	if p.many() {
		matrix, err := p.matrix(width)
		if err != nil {
			return nil, err
		}
		apply = func(dst, v []float64) {
			for i := range dst {
				dst[i] = floats.Dot(matrix[i*width:(i+1)*width], v)
			}
		}
	} else if err := p.prepare(); err != nil {
		return nil, err
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

// applyRows writes Σ δ (δ·v) into dst.
func (p *pca) applyRows(dst, v []float64) {
	clear(dst)
	wide := make([]float64, p.width)
	for row := range p.each() {
		floats.AddScaled(dst, floats.Dot(widen(wide, row), v), wide)
	}
}

func widen(dst []float64, row []float32) []float64 {
	for i, v := range row {
		dst[i] = float64(v)
	}
	return dst
}

func (p *pca) MarshalBinary() ([]byte, error) {
	out, err := p.sums.appendTo(appendHeader(nil, p.width, p.count))
	if err != nil {
		return nil, err
	}
	// What has a length of its own comes last.
	if p.many() {
		return p.scatter.appendTo(out), nil
	}
	few, err := p.rows.MarshalBinary()
	return append(out, few...), err
}

func (p *pca) UnmarshalBinary(data []byte) error {
	count, data, err := readHeader(data, p.width)
	if err != nil {
		return err
	}
	read := pca{rows: rows{width: p.width}, sums: exactSums{width: p.width}, count: count}
	length, err := read.sums.length(data)
	if err != nil {
		return err
	}
	if err := read.sums.read(data[:length]); err != nil {
		return err
	}
	if data = data[length:]; read.many() {
		err = read.scatter.read(data, p.width, count)
	} else if err = read.rows.UnmarshalBinary(data); err == nil && read.rows.Samples() != count {
		err = fmt.Errorf("%d rows of %d samples", read.rows.Samples(), count)
	}
	if err != nil {
		return err
	}
	*p = read
	return nil
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
