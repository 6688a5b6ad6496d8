package aggregators

import (
	"errors"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// covariance is that of rows, shrunk towards a multiple of the identity:
// scale·XᵀX + ridge·I with rows X [n, width].
type covariance struct {
	rows         *mat.Dense
	gram         *mat.SymDense // XXᵀ [n, n] where n is less than width, else XᵀX [width, width]
	scale, ridge float64
}

// within returns the covariance of activations around the mean of their own side,
// and both means.
func within(positive, negative *rows) (c *covariance, means [2][]float64, err error) {
	x := mat.NewDense(positive.Samples()+negative.Samples(), positive.width, nil)
	at := 0
	for i, side := range []*rows{positive, negative} {
		means[i] = side.mean()
		at = centre(x, at, side, means[i])
	}
	c, err = shrink(x)
	return c, means, err
}

// around returns the covariance of all activations of some sides around their common
// mean, and that mean.
func around(sides ...*rows) (c *covariance, mean []float64, err error) {
	n, width := 0, sides[0].width
	mean = make([]float64, width)
	for _, side := range sides {
		floats.AddScaled(mean, float64(side.Samples()), side.mean())
		n += side.Samples()
	}
	floats.Scale(1/float64(n), mean)
	x, at := mat.NewDense(n, width, nil), 0
	for _, side := range sides {
		at = centre(x, at, side, mean)
	}
	c, err = shrink(x)
	return c, mean, err
}

// centre writes rows less a mean from a row of x on and returns the row behind them.
func centre(x *mat.Dense, at int, side *rows, mean []float64) int {
	for row := range side.each() {
		floats.Sub(widen(x.RawRowView(at), row), mean)
		at++
	}
	return at
}

// shrink returns the covariance of centred rows x [n, width], shrunk by as much as
// makes the expected square error least: (1-ρ)S + ρmI with S = xᵀx/n, m the mean of
// its diagonal, and
//
//	ρ = min(β², d²)/d²,  d² = ‖S - mI‖²,  β² = (Σ‖x‖⁴/n - ‖S‖²)/n
//
// in Frobenius norms (Ledoit and Wolf 2004, "A well-conditioned estimator for
// large-dimensional covariance matrices", lemma 3.2 to 3.4).
func shrink(x *mat.Dense) (*covariance, error) {
	rows, width := x.Dims()
	n := float64(rows)
	c := &covariance{rows: x}
	c.gram = outer(x, rows >= width)
	trace, fourth := 0.0, 0.0
	for i := range rows {
		square := floats.Dot(x.RawRowView(i), x.RawRowView(i))
		trace += square
		fourth += square * square
	}
	size, square := c.gram.SymmetricDim(), 0.0 // ‖xᵀx‖², which is ‖xxᵀ‖²
	for i := range size {
		for k := range size {
			square += c.gram.At(i, k) * c.gram.At(i, k)
		}
	}
	square /= n * n
	mean := trace / n / float64(width)
	if !(mean > 0) {
		return nil, errors.New("the activations of a side do not differ among themselves: there is no covariance")
	}
	distance := square - mean*mean*float64(width)
	share := 1.0
	if distance > 0 {
		share = min(max((fourth/n-square)/n, 0)/distance, 1)
	}
	c.scale, c.ridge = (1-share)/n, share*mean
	return c, nil
}

// solve returns the inverse of the covariance times v, by the cheaper of two ways: a
// system of width unknowns, or with n < width rows one of n (Woodbury):
//
//	(1/λ)(v - Xᵀ(λ/s·I + XXᵀ)⁻¹Xv)
func (c *covariance) solve(v []float64) ([]float64, error) {
	rows, width := c.rows.Dims()
	out := mat.NewVecDense(width, append([]float64(nil), v...))
	if c.scale == 0 {
		out.ScaleVec(1/c.ridge, out)
		return out.RawVector().Data, nil
	}
	if c.ridge == 0 && rows < width {
		return nil, errSingular
	}
	var factors mat.Cholesky
	if !factors.Factorize(addDiagonal(c.gram, 1, c.ridge/c.scale)) {
		return nil, errSingular
	}
	if rows >= width {
		err := factors.SolveVecTo(out, out)
		out.ScaleVec(1/c.scale, out)
		return out.RawVector().Data, badly(err)
	}
	along := mat.NewVecDense(rows, nil)
	along.MulVec(c.rows, out)
	if err := factors.SolveVecTo(along, along); badly(err) != nil {
		return nil, err
	}
	var inside mat.VecDense
	inside.MulVec(c.rows.T(), along)
	out.SubVec(out, &inside)
	out.ScaleVec(1/c.ridge, out)
	return out.RawVector().Data, nil
}

// matrix returns the covariance [width, width].
func (c *covariance) matrix() *mat.SymDense {
	rows, width := c.rows.Dims()
	full := c.gram
	if rows < width {
		full = outer(c.rows, true)
	}
	return addDiagonal(full, c.scale, c.ridge)
}

// outer returns xxᵀ, or xᵀx of the transposed. It is a product of general matrices,
// which runs on all cores; gonum's symmetric one does not, and is many times slower.
func outer(x *mat.Dense, transposed bool) *mat.SymDense {
	n, _ := x.Dims()
	first, second := blas.NoTrans, blas.Trans
	if transposed {
		_, n = x.Dims()
		first, second = second, first
	}
	out := blas64.General{Rows: n, Cols: n, Stride: n, Data: make([]float64, n*n)}
	blas64.Gemm(first, second, 1, x.RawMatrix(), x.RawMatrix(), 0, out)
	return mat.NewSymDense(n, out.Data)
}

// addDiagonal returns scale·a + ridge·I.
func addDiagonal(a *mat.SymDense, scale, ridge float64) *mat.SymDense {
	n := a.SymmetricDim()
	out := mat.NewSymDense(n, nil)
	out.ScaleSym(scale, a)
	for i := range n {
		out.SetSym(i, i, out.At(i, i)+ridge)
	}
	return out
}

var errSingular = errors.New("the covariance cannot be inverted: there are too few different activations")

// badly is the error of a solution, unless it says only that digits were lost.
func badly(err error) error {
	if _, lost := err.(mat.Condition); lost {
		return nil
	}
	return err
}
