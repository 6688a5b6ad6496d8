package eval

import (
	"maps"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/steervec/steer/internal/linear"
)

// cosines are those between the vectors of all layers and aggregators that are of
// one width.
func (s *sweep) cosines() Row {
	c := &Cosines{}
	var all [][]float32
	for _, name := range s.manifest.Grid.Aggregators {
		v := s.vectors[name]
		for _, layer := range slices.Sorted(maps.Keys(v.Layers)) {
			c.Names = append(c.Names, VectorName{layer, name})
			all = append(all, v.Layers[layer])
		}
	}
	for _, a := range all {
		row := make([]float64, len(all))
		for j, b := range all {
			if len(a) == len(b) {
				row[j] = cosine(a, b)
			}
		}
		c.Values = append(c.Values, row)
	}
	return Row{Set: Vectors, Cosines: c}
}

func cosine(a, b []float32) float64 {
	ab, aa, bb := linear.Dot(a, b), linear.Dot(a, a), linear.Dot(b, b)
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// planeSamples is how many pairs are shown in a plane.
const planeSamples = 100

// projections bring the activations that the vectors were trained on to a plane,
// a row for each layer.
func (s *sweep) projections() []Row {
	var rows []Row
	for _, layer := range slices.Sorted(maps.Keys(s.trained.Positive)) {
		n := min(planeSamples, len(s.trained.Positive[layer]))
		points, explained := plane(slices.Concat(s.trained.Positive[layer][:n], s.trained.Negative[layer][:n]))
		rows = append(rows, Row{Point: Point{Layers: []int{layer}}, Set: Activations,
			Projection: &Projection{Positive: points[:n], Negative: points[n:], Explained: explained}})
	}
	return rows
}

// plane returns activations, the first half of which are positive, on their first
// two principal components, and the components' shares of the variance. The
// positive ones lie on the greater side.
func plane(activations [][]float32) (points [][2]float64, explained [2]float64) {
	n, width := len(activations), len(activations[0])
	center := make([]float64, width)
	for _, a := range activations {
		for i, v := range a {
			center[i] += float64(v) / float64(n)
		}
	}
	rows := mat.NewDense(n, width, nil)
	for k, a := range activations {
		for i, v := range a {
			rows.Set(k, i, float64(v)-center[i])
		}
	}
	// The eigenvectors of the inner products of samples, times the root of their
	// eigenvalue, are the coordinates; samples are fewer than elements.
	var products mat.SymDense
	products.SymOuterK(1, rows)
	points = make([][2]float64, n)
	var eigen mat.EigenSym
	if !eigen.Factorize(&products, true) {
		return points, explained
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	values, total := eigen.Values(nil), 0.0 // ascending
	for _, v := range values {
		total += max(v, 0)
	}
	for axis := range min(2, n) {
		column := n - 1 - axis
		root := math.Sqrt(max(values[column], 0))
		if total > 0 {
			explained[axis] = max(values[column], 0) / total
		}
		side := 0.0
		for k := range points {
			points[k][axis] = root * vectors.At(k, column)
			if side += points[k][axis]; k >= n/2 {
				side -= 2 * points[k][axis]
			}
		}
		if side < 0 {
			for k := range points {
				points[k][axis] = -points[k][axis]
			}
		}
	}
	return points, explained
}
