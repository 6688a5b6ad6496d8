package aggregators

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/steervec/steer/internal/exact"
	"github.com/steervec/steer/internal/parameters"
)

// PCAOptions say what the principal components are taken of; the zero value is the
// reference's.
type PCAOptions struct {
	// Centred is "": δ and -δ, which have no mean, as also activations less the mean of
	// their pair are; [CentredDifferences]; or [CentredActivations].
	Centred string
	Rank    int // components; 0: 1. Several are for ablations
}

const (
	// CentredDifferences takes δ less its mean: what all pairs have in common is left
	// out.
	CentredDifferences = "differences"
	// CentredActivations takes the activations of both sides less their common mean.
	CentredActivations = "activations"
)

// PCA takes the first principal components, each of length 1, with the sign that the
// mean difference has along it. Of the differences and their negatives it is
// pca_aggregator of the reference; docs/methods.md says which tool takes them of what.
// It keeps rows while they are fewer than twice the width, and from there on their
// scatter matrix in integers, for which each row is rounded to 2^-18 of its largest
// element.
func PCA(opts PCAOptions) Aggregator {
	opts.Rank = max(opts.Rank, 1)
	return pcaAggregator{opts}
}

type pcaAggregator struct{ opts PCAOptions }

func (a pcaAggregator) Name() string {
	return parameters.Name("pca", parameters.Pair("centred", a.opts.Centred, ""), parameters.Pair("rank", a.opts.Rank, 1))
}

// Operator says that of several components the space is meant.
func (a pcaAggregator) Operator() string {
	if a.opts.Rank > 1 {
		return "ablate"
	}
	return ""
}

func (a pcaAggregator) New(width int) Accumulator { return a.accumulator(width) }

func (a pcaAggregator) accumulator(width int) *pca {
	return &pca{aggregator: a, rows: rows{width: width}, sums: exact.New(width), points: exact.New(width), zero: make([]float32, width)}
}

type pca struct {
	aggregator pcaAggregator
	rows                  // while they are few
	scatter               // of all rows, once they are many
	sums       exact.Sums // of the differences
	points     exact.Sums // of the rows, where those are activations
	count      int
	zero       []float32 // [width]
}

func (p *pca) Samples() int { return p.count }

// ofActivations reports whether the rows are activations, two of each sample, and not
// differences.
func (p *pca) ofActivations() bool { return p.aggregator.opts.Centred == CentredActivations }

func (p *pca) rowCount() int {
	if p.ofActivations() {
		return 2 * p.count
	}
	return p.count
}

func (p *pca) many() bool { return p.rowCount() >= 2*p.width }

func (p *pca) Add(positive, negative []float32) {
	p.sums.AddDifferences(positive, negative)
	if p.ofActivations() {
		for _, side := range [][]float32{positive, negative} {
			p.add(side)
			p.points.AddDifferences(side, p.zero)
		}
	} else {
		for i := range p.width {
			p.values = append(p.values, positive[i]-negative[i])
		}
	}
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
	if p.values = p.values[:0]; cap(p.values) > 2*p.width {
		p.values = make([]float32, 0, 2*p.width)
	}
}

func (p *pca) Merge(other Accumulator) error {
	o, ok := other.(*pca)
	if !ok || o.width != p.width || o.aggregator != p.aggregator {
		return errMerge(p, other)
	}
	p.values = append(p.values, o.values...)
	p.scatter.merge(&o.scatter)
	p.sums.Merge(&o.sums)
	p.points.Merge(&o.points)
	p.count += o.count
	p.settle()
	return nil
}

func (p *pca) Direction() ([]float32, error) {
	apply, rounding, err := p.product()
	if err != nil {
		return nil, err
	}
	sum, err := p.sums.Values()
	if err != nil {
		return nil, err
	}
	var components [][]float64
	for len(components) < p.aggregator.opts.Rank {
		rest := without(components, apply)
		v, err := leadingEigenvector(p.width, rest)
		if err != nil {
			return nil, fmt.Errorf("component %d: %w", len(components), err)
		}
		spread := make([]float64, p.width)
		if rest(spread, v); !(floats.Dot(spread, v) > rounding) {
			return nil, fmt.Errorf("component %d: nothing varies along it", len(components))
		}
		along := floats.Dot(sum, v)
		if along == 0 {
			return nil, fmt.Errorf("the mean difference has no part along component %d, so its sign is undefined", len(components))
		}
		floats.Scale(math.Copysign(1, along), v)
		components = append(components, v)
	}
	return narrow(components...), nil
}

// product returns what multiplies a vector with the matrix Σ xxᵀ over the rows x, less
// their mean where that is asked for, and how much of it is rounding: what the mean
// leaves of it can be nothing else.
func (p *pca) product() (apply func(dst, v []float64), rounding float64, err error) {
	width := p.width
	apply = p.applyRows
	if p.many() {
		matrix, err := p.matrix(width)
		if err != nil {
			return nil, 0, err
		}
		for i := range width {
			rounding += 1e-5 * matrix[i*width+i]
		}
		apply = func(dst, v []float64) {
			for i := range dst {
				dst[i] = floats.Dot(matrix[i*width:(i+1)*width], v)
			}
		}
	} else {
		if err := p.prepare(); err != nil {
			return nil, 0, err
		}
		for _, v := range p.values {
			rounding += 1e-12 * float64(v) * float64(v)
		}
	}
	points := &p.points
	switch p.aggregator.opts.Centred {
	case "":
		return apply, rounding, nil
	case CentredDifferences:
		points = &p.sums
	}
	mean, err := points.Values()
	if err != nil {
		return nil, 0, err
	}
	n := float64(p.rowCount())
	floats.Scale(1/n, mean)
	uncentred := apply
	return func(dst, v []float64) {
		uncentred(dst, v)
		floats.AddScaled(dst, -n*floats.Dot(mean, v), mean)
	}, rounding, nil
}

// applyRows writes Σ x (x·v) into dst.
func (p *pca) applyRows(dst, v []float64) {
	clear(dst)
	wide := make([]float64, p.width)
	for row := range p.each() {
		floats.AddScaled(dst, floats.Dot(widen(wide, row), v), wide)
	}
}

// without returns what multiplies with a matrix that has nothing of some of its
// eigenvectors left.
func without(components [][]float64, apply func(dst, v []float64)) func(dst, v []float64) {
	if len(components) == 0 {
		return apply
	}
	return func(dst, v []float64) {
		rest := slices.Clone(v)
		for _, c := range components {
			floats.AddScaled(rest, -floats.Dot(rest, c), c)
		}
		apply(dst, rest)
		for _, c := range components {
			floats.AddScaled(dst, -floats.Dot(dst, c), c)
		}
	}
}

func widen(dst []float64, row []float32) []float64 {
	for i, v := range row {
		dst[i] = float64(v)
	}
	return dst
}

func (p *pca) MarshalBinary() ([]byte, error) {
	out, err := p.sums.AppendTo(appendHeader(nil, p.width, p.count))
	if err == nil && p.ofActivations() {
		out, err = p.points.AppendTo(out)
	}
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
	read := p.aggregator.accumulator(p.width)
	read.count = count
	sums := []*exact.Sums{&read.sums}
	if read.ofActivations() {
		sums = append(sums, &read.points)
	}
	for _, s := range sums {
		length, err := s.Length(data)
		if err != nil {
			return err
		}
		if err := s.Read(data[:length]); err != nil {
			return err
		}
		data = data[length:]
	}
	if read.many() {
		err = read.scatter.read(data, p.width, read.rowCount())
	} else if err = read.rows.UnmarshalBinary(data); err == nil && read.rows.Samples() != read.rowCount() {
		err = fmt.Errorf("%d rows of %d samples", read.rows.Samples(), count)
	}
	if err != nil {
		return err
	}
	*p = *read
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
