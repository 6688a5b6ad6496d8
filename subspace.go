package steer

import (
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/internal/linear"
)

// rows returns a layer's rows, each of the site's width.
func (v *Vector) rows(layer int) [][]float32 {
	values := v.Layers[layer]
	return slices.Collect(slices.Chunk(values, max(1, len(values)/max(1, v.Rank))))
}

// basis returns orthonormal vectors that span what rows span. A row that the ones
// before it span adds none.
func basis(rows [][]float32) (linear.Basis, error) {
	const spanned = 1e-6 // of a row's length: what float32 rows leave of one that is spanned
	var out linear.Basis
	for _, row := range rows {
		if err := finite.Check(row); err != nil {
			return nil, fmt.Errorf("it is not finite: %w", err)
		}
		out.Extend(linear.Wide(row), spanned)
	}
	return out, nil
}

// Orthogonalise returns the vector without what lies, at each of its layers, in the
// space that the others' rows span. The others must have its site, width and
// layers, and may have more. It is an error where nothing is left.
func (v *Vector) Orthogonalise(others ...*Vector) (*Vector, error) {
	if len(others) == 0 {
		return nil, errors.New("orthogonalise: there are no other vectors")
	}
	for _, one := range append(slices.Clone(others), v) {
		if err := one.directions(); err != nil {
			return nil, fmt.Errorf("orthogonalise: %w", err)
		}
	}
	out := v.derived("orthogonalised against " + described(others))
	for layer := range v.Layers {
		var span [][]float32
		for _, other := range others {
			at, err := v.meets(other, layer)
			if err != nil {
				return nil, fmt.Errorf("orthogonalise: %w", err)
			}
			span = append(span, other.rows(at)...)
		}
		orthonormal, err := basis(span)
		if err != nil {
			return nil, fmt.Errorf("orthogonalise at layer %d: %w", layer, err)
		}
		for _, row := range v.rows(layer) {
			rest := linear.Wide(row)
			const nothing = 1e-6
			if before, after := orthonormal.Remove(rest); !(after > nothing*before) {
				return nil, fmt.Errorf("orthogonalise: nothing is left at layer %d: the others span the vector", layer)
			}
			for _, x := range rest {
				out.Layers[layer] = append(out.Layers[layer], float32(x))
			}
		}
	}
	return out, nil
}

// Principal returns the k principal directions of several vectors at each layer:
// the right singular vectors of their rows, [rows, width], uncentred, by falling
// singular value. Each has length 1, and the sign by which its products with the
// rows sum to no less than zero. Vectors of several directions cannot be added as
// one: unless the vectors act in another way, the result of k > 1 ablates.
func Principal(k int, vectors ...*Vector) (*Vector, error) {
	if len(vectors) == 0 || k < 1 {
		return nil, fmt.Errorf("principal directions: %d of %d vectors are asked for", k, len(vectors))
	}
	for _, v := range vectors {
		if err := v.directions(); err != nil {
			return nil, fmt.Errorf("principal directions: %w", err)
		}
	}
	first := vectors[0]
	out := first.derived(fmt.Sprintf("principal directions, %d, with %s", k, described(vectors[1:])))
	out.Rank = k
	if k == 1 {
		out.Rank = 0
	} else if out.Operator == "" || out.Operator == Add().Name() {
		out.Operator = Ablate().Name()
	}
	for layer, values := range first.Layers {
		var rows [][]float32
		for _, other := range vectors {
			at, err := first.meets(other, layer)
			if err != nil {
				return nil, fmt.Errorf("principal directions: %w", err)
			}
			rows = append(rows, other.rows(at)...)
		}
		directions, err := principal(rows, k)
		if err != nil {
			return nil, fmt.Errorf("principal directions at layer %d: %w", layer, err)
		}
		out.Layers[layer] = make([]float32, 0, k*len(values)/max(1, first.Rank))
		for _, direction := range directions {
			for _, x := range direction {
				out.Layers[layer] = append(out.Layers[layer], float32(x))
			}
		}
	}
	return out, nil
}

func principal(rows [][]float32, k int) ([][]float64, error) {
	matrix := mat.NewDense(len(rows), len(rows[0]), nil)
	for r, row := range rows {
		if err := finite.Check(row); err != nil {
			return nil, fmt.Errorf("row %d is not finite: %w", r, err)
		}
		for c, x := range row {
			matrix.Set(r, c, float64(x))
		}
	}
	var svd mat.SVD
	if !svd.Factorize(matrix, mat.SVDThin) {
		return nil, errors.New("the singular values do not converge")
	}
	const nothing = 1e-7 // of the largest singular value
	values := svd.Values(nil)
	for n := range k {
		if n >= len(values) || !(values[n] > nothing*values[0]) {
			return nil, fmt.Errorf("%d directions are asked for; the rows span %d", k, n)
		}
	}
	var right mat.Dense
	svd.VTo(&right)
	out := make([][]float64, k)
	for n := range out {
		out[n] = mat.Col(nil, n, &right)
		sum := 0.0
		for _, row := range rows {
			for i, x := range row {
				sum += float64(x) * out[n][i]
			}
		}
		if sum < 0 {
			for i := range out[n] {
				out[n][i] = -out[n][i]
			}
		}
	}
	return out, nil
}

// between returns the cosine of the smallest angle between two spaces: the largest
// singular value of the products of their orthonormal bases (Björck and Golub,
// Numerical Methods for Computing Angles Between Linear Subspaces, 1973).
func between(a, b [][]float64) (float64, error) {
	if len(a) == 0 || len(b) == 0 {
		return 0, errors.New("one is zero")
	}
	products := mat.NewDense(len(a), len(b), nil)
	for i, x := range a {
		for j, y := range b {
			dot := 0.0
			for n := range x {
				dot += x[n] * y[n]
			}
			products.Set(i, j, dot)
		}
	}
	var svd mat.SVD
	if !svd.Factorize(products, mat.SVDNone) {
		return 0, errors.New("the singular values do not converge")
	}
	return min(1, svd.Values(nil)[0]), nil
}
