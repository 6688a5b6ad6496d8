package aggregators

import (
	"cmp"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/floats"

	"github.com/steervec/steer/internal/parameters"
)

// KMeans takes k directions for the operator add-nearest: the means of groups of
// differences that point alike, found by k-means with cosines as the measure, the
// largest group first (steering-lite, topk_clusters.py). A group whose mean points
// against the mean of all is turned round. It begins with the difference that is
// nearest to the mean of all, then with that which is farthest from those chosen
// (Gonzalez 1985), so that nothing is drawn at random. It keeps all differences.
func KMeans(k int) Aggregator {
	return kmeansAggregator{differencesAggregator{parameters.Name("kmeans", parameters.Pair("k", k, 4)), func(differences *rows) ([]float32, error) {
		return group(differences, k)
	}}}
}

type kmeansAggregator struct{ differencesAggregator }

func (kmeansAggregator) Operator() string { return "add-nearest" }

func group(differences *rows, k int) ([]float32, error) {
	var deltas, units [][]float64
	for row := range differences.each() {
		delta := widen(make([]float64, differences.width), row)
		if u, err := unit(delta); err == nil { // one that is zero points nowhere
			deltas, units = append(deltas, delta), append(units, u)
		}
	}
	if k < 1 || len(deltas) < k {
		return nil, fmt.Errorf("%d groups of %d differences that are not zero", k, len(deltas))
	}
	all := meanOver(deltas, func(int) bool { return true })
	centres, err := spread(units, all, k)
	if err != nil {
		return nil, err
	}
	of := make([]int, len(units)) // the group of each difference
	const most = 1000
	for step := 0; ; step++ {
		moved := 0
		for i, u := range units {
			if best := nearest(centres, u); step == 0 || best != of[i] {
				of[i] = best
				moved++
			}
		}
		if moved == 0 {
			break
		}
		if step == most {
			return nil, fmt.Errorf("the groups still change after %d steps", most)
		}
		for g := range centres {
			c, err := unit(meanOver(deltas, func(i int) bool { return of[i] == g }))
			if err == nil { // else it is empty, or cancels, and stays where it is
				centres[g] = c
			}
		}
	}
	sizes, means := make([]int, k), make([][]float64, k)
	for _, g := range of {
		sizes[g]++
	}
	order := make([]int, 0, k)
	for g := range k {
		if sizes[g] == 0 {
			return nil, fmt.Errorf("the differences form fewer than %d groups", k)
		}
		means[g] = meanOver(deltas, func(i int) bool { return of[i] == g })
		if floats.Dot(means[g], all) < 0 {
			floats.Scale(-1, means[g])
		}
		order = append(order, g)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sizes[b], sizes[a]) })
	var rows [][]float64
	for _, g := range order {
		rows = append(rows, means[g])
	}
	return narrow(rows...), nil
}

// meanOver returns the mean of some of the points.
func meanOver(points [][]float64, in func(i int) bool) []float64 {
	out, n := make([]float64, len(points[0])), 0
	for i, point := range points {
		if in(i) {
			floats.Add(out, point)
			n++
		}
	}
	floats.Scale(1/float64(max(n, 1)), out)
	return out
}

// spread returns k of the units: the one nearest to a direction, then each time the one
// whose cosine with those that are chosen is lowest.
func spread(units [][]float64, towards []float64, k int) ([][]float64, error) {
	first := 0
	for i, u := range units {
		if floats.Dot(u, towards) > floats.Dot(units[first], towards) {
			first = i
		}
	}
	chosen := [][]float64{units[first]}
	closest := make([]float64, len(units)) // cosine with the nearest that is chosen
	for i, u := range units {
		closest[i] = floats.Dot(u, chosen[0])
	}
	for len(chosen) < k {
		next := 0
		for i, cosine := range closest {
			if cosine < closest[next] {
				next = i
			}
		}
		if closest[next] > 1-1e-12 {
			return nil, fmt.Errorf("the differences point in fewer than %d directions", k)
		}
		chosen = append(chosen, units[next])
		for i, u := range units {
			closest[i] = max(closest[i], floats.Dot(u, units[next]))
		}
	}
	return chosen, nil
}

// nearest returns the centre with the largest cosine, the first of equals.
func nearest(centres [][]float64, u []float64) int {
	best := 0
	for g, c := range centres {
		if floats.Dot(c, u) > floats.Dot(centres[best], u) {
			best = g
		}
	}
	return best
}
