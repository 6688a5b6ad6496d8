package aggregators

import "fmt"

// Func makes an aggregator of a function that sees all rows, positive
// [samples][width] and negative [samples][width], row by row of the same samples,
// and returns a direction [width], or rows [rank, width]. The rows come sorted by
// their numbers, so that the direction does not depend on the samples' order. It
// keeps all activations.
func Func(name string, f func(positive, negative [][]float32) ([]float32, error)) Aggregator {
	return pairsAggregator{name, f}
}

type pairsAggregator struct {
	name string
	f    func(positive, negative [][]float32) ([]float32, error)
}

func (a pairsAggregator) Name() string { return a.name }

func (a pairsAggregator) New(width int) Accumulator {
	return &pairRows{aggregator: a, rows: rows{width: 2 * width}}
}

// pairRows keeps both activations of each sample: rows [positive, negative].
type pairRows struct {
	aggregator pairsAggregator
	rows
}

func (p *pairRows) Add(positive, negative []float32) {
	half := p.width / 2
	p.values = append(append(p.values, positive[:half]...), negative[:half]...)
}

func (p *pairRows) Merge(other Accumulator) error {
	o, ok := other.(*pairRows)
	if !ok || o.width != p.width || o.aggregator.name != p.aggregator.name {
		return errMerge(p, other)
	}
	p.values = append(p.values, o.values...)
	return nil
}

// sides returns both sides of the sorted samples, [samples][width] each.
func (p *pairRows) sides() (positive, negative [][]float32, err error) {
	if err := p.prepare(); err != nil {
		return nil, nil, err
	}
	half := p.width / 2
	for row := range p.each() {
		positive, negative = append(positive, row[:half:half]), append(negative, row[half:])
	}
	return positive, negative, nil
}

func (p *pairRows) Direction() ([]float32, error) {
	positive, negative, err := p.sides()
	if err != nil {
		return nil, err
	}
	half := p.width / 2
	direction, err := p.aggregator.f(positive, negative)
	if err != nil {
		return nil, fmt.Errorf("aggregator %s: %w", p.aggregator.name, err)
	}
	if len(direction) == 0 || len(direction)%half != 0 {
		return nil, fmt.Errorf("aggregator %s returned %d elements for activations of %d", p.aggregator.name, len(direction), half)
	}
	return direction, nil
}
