package aggregators

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"

	"github.com/steervec/steer/internal/parameters"
)

// HeadOptions say which attention heads are steered.
type HeadOptions struct {
	Top   int  // how many, of all layers together; 0: 48
	Probe bool // along the normal of the probe's plane, in place of the mean difference
	Size  int  // elements of a head; 0: as the model has it
}

// Heads takes the few attention heads that tell the sides apart best, at the site
// attn_heads, and in each the direction θ between the means, of length 1, times the
// standard deviation σ of all activations along it: what is added is multiplier·σ·θ in
// front of the output projection (inference-time intervention: Li et al. 2023, section
// 3). How well a head tells the sides apart is the accuracy of a logistic regression on
// pairs that it was not fitted to, the mean over two halves of them. Layers without such
// a head are left out. It keeps all activations.
func Heads(opts HeadOptions) Aggregator {
	opts.Top = cmp.Or(opts.Top, 48)
	return headsAggregator{opts}
}

type headsAggregator struct{ opts HeadOptions }

func (a headsAggregator) Name() string {
	direction := ""
	if a.opts.Probe {
		direction = "direction=probe"
	}
	return parameters.Name("heads", parameters.Pair("top", a.opts.Top, 48), direction, parameters.Pair("size", a.opts.Size, 0))
}

func (a headsAggregator) OfSize(size int) (Aggregator, error) {
	if a.opts.Size != 0 && a.opts.Size != size {
		return nil, fmt.Errorf("aggregator %s: the model's heads have %d elements", a.Name(), size)
	}
	a.opts.Size = size
	return a, nil
}

func (a headsAggregator) New(width int) Accumulator {
	return &heads{aggregator: a, pairRows: pairRows{rows: rows{width: 2 * width}}}
}

type heads struct {
	aggregator headsAggregator
	pairRows
	accuracies []float64 // of the heads, of the pairs so far; nil: not known
}

func (h *heads) Add(positive, negative []float32) {
	h.pairRows.Add(positive, negative)
	h.accuracies = nil
}

func (h *heads) Merge(other Accumulator) error {
	o, ok := other.(*heads)
	if !ok || o.width != h.width || o.aggregator != h.aggregator {
		return errMerge(h, other)
	}
	h.values, h.accuracies = append(h.values, o.values...), nil
	return nil
}

func (h *heads) UnmarshalBinary(data []byte) error {
	h.accuracies = nil
	return h.pairRows.UnmarshalBinary(data)
}

// Direction takes the best heads of this layer alone.
func (h *heads) Direction() ([]float32, error) {
	rows, err := h.aggregator.Directions([]Accumulator{h})
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

func (a headsAggregator) Directions(layers []Accumulator) ([][]float32, error) {
	type place struct{ layer, head int }
	var places []place
	accuracy := map[place]float64{}
	for layer, accumulator := range layers {
		accuracies, err := HeadAccuracies(accumulator)
		if err != nil {
			return nil, err
		}
		for head, share := range accuracies {
			places = append(places, place{layer, head})
			accuracy[place{layer, head}] = share
		}
	}
	if a.opts.Top > len(places) {
		return nil, fmt.Errorf("aggregator %s: the best %d of %d heads are asked for", a.Name(), a.opts.Top, len(places))
	}
	slices.SortStableFunc(places, func(x, y place) int { return cmp.Compare(accuracy[y], accuracy[x]) })
	directions := make([][]float32, len(layers))
	for _, p := range places[:a.opts.Top] {
		h := layers[p.layer].(*heads) // as HeadAccuracies has seen
		if directions[p.layer] == nil {
			directions[p.layer] = make([]float32, h.width/2)
		}
		direction, err := h.direction(p.head)
		if err != nil {
			return nil, fmt.Errorf("head %d: %w", p.head, err)
		}
		copy(directions[p.layer][p.head*a.opts.Size:], direction)
	}
	return directions, nil
}

// HeadAccuracies returns how well each head of a layer tells the sides apart, from 0 to
// 1. It is an error for an accumulator that is not of [Heads].
func HeadAccuracies(a Accumulator) ([]float64, error) {
	h, ok := a.(*heads)
	if !ok {
		return nil, fmt.Errorf("%T does not look at heads", a)
	}
	size, width := h.aggregator.opts.Size, h.width/2
	switch {
	case size == 0:
		return nil, errors.New("the size of a head is not known: give size=N")
	case width%size != 0:
		return nil, fmt.Errorf("activations of %d elements are not of heads of %d", width, size)
	case h.Samples() < 4:
		return nil, fmt.Errorf("there are %d pairs; probes that are tried on other pairs need four", h.Samples())
	}
	if h.accuracies != nil {
		return h.accuracies, nil
	}
	var accuracies []float64
	for head := range width / size {
		points, own, err := h.points(head)
		if err != nil {
			return nil, err
		}
		right := 0
		for half := range 2 {
			n, err := tried(points, own, half)
			if err != nil {
				return nil, fmt.Errorf("head %d: %w", head, err)
			}
			right += n
		}
		accuracies = append(accuracies, float64(right)/float64(len(points)))
	}
	h.accuracies = accuracies
	return accuracies, nil
}

// points returns a head's activations of the sorted pairs, positive and negative in
// turn, the latter negated, and the sign of each.
func (h *heads) points(head int) (points [][]float64, own []float64, err error) {
	positive, negative, err := h.sides()
	if err != nil {
		return nil, nil, err
	}
	size := h.aggregator.opts.Size
	part := func(row []float32) []float64 { return widen(make([]float64, size), row[head*size:(head+1)*size]) }
	for i := range positive {
		away := part(negative[i])
		floats.Scale(-1, away)
		points, own = append(points, part(positive[i]), away), append(own, 1, -1)
	}
	return points, own, nil
}

// tried fits a probe to every other pair and returns how many points of the rest it
// puts on their side.
func tried(points [][]float64, own []float64, half int) (right int, err error) {
	c := classes{weight: 1, intercept: []float64{}}
	for i, point := range points {
		if i/2%2 == half {
			c.points, c.intercept = append(c.points, point), append(c.intercept, own[i])
		}
	}
	w, b, err := fit(c, LogisticOptions{}.usual())
	if err != nil {
		return 0, err
	}
	for i, point := range points {
		if i/2%2 != half && floats.Dot(point, w)+own[i]*b > 0 {
			right++
		}
	}
	return right, nil
}

// direction returns σθ of a head.
func (h *heads) direction(head int) ([]float32, error) {
	points, own, err := h.points(head)
	if err != nil {
		return nil, err
	}
	theta := make([]float64, len(points[0]))
	for _, point := range points { // the negative ones are negated
		floats.Add(theta, point)
	}
	if h.aggregator.opts.Probe {
		if theta, _, err = fit(classes{points: points, weight: 1, intercept: own}, LogisticOptions{}.usual()); err != nil {
			return nil, err
		}
	}
	if theta, err = unit(theta); err != nil {
		return nil, err
	}
	sum, square := 0.0, 0.0
	for i, point := range points {
		along := own[i] * floats.Dot(point, theta)
		sum += along
		square += along * along
	}
	n := float64(len(points))
	floats.Scale(math.Sqrt(max(0, square/n-sum*sum/(n*n))), theta)
	return narrow(theta), nil
}
