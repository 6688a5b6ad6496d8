package steer

import (
	"encoding"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Aggregator turns the activations of one layer into one direction. It is a
// recipe; New starts a fresh accumulation.
type Aggregator interface {
	// Name names the recipe and its options; recipes of equal names are the same.
	Name() string
	// New returns an empty accumulator for activations of this width.
	New(width int) Accumulator
}

// Accumulator takes the activations of samples as they come and keeps what the
// direction needs of them. It belongs to one goroutine.
//
// What it gives must depend on the set of samples alone, to the bit: neither on
// their order nor on how they were split among accumulators and merged. Those of
// this package keep exact sums, or rows that are sorted before they are used.
type Accumulator interface {
	// Add takes one sample's activations, each [width]. It does not keep the slices.
	Add(positive, negative []float32)
	// Merge adds what another accumulator of the same recipe and width has taken.
	Merge(other Accumulator) error
	// Samples returns how many samples were added.
	Samples() int
	// Direction returns the direction [width] of what was added so far. It is an
	// error where there is none, as when nothing was added.
	Direction() ([]float32, error)

	// The binary form continues to the same bits where it left off. Unmarshalling
	// checks its input and needs an accumulator of the same recipe and width.
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// ParseAggregator returns the aggregator of a name: "mean", "pca", "logistic", or
// "logistic(C=0.5)" with a weight of the samples.
func ParseAggregator(name string) (Aggregator, error) {
	switch name {
	case "mean":
		return Mean(), nil
	case "pca":
		return PCA(), nil
	case "logistic":
		return Logistic(LogisticOptions{}), nil
	}
	if text, ok := strings.CutPrefix(name, "logistic(C="); ok && strings.HasSuffix(text, ")") {
		if c, err := strconv.ParseFloat(text[:len(text)-1], 64); err == nil && c > 0 {
			return Logistic(LogisticOptions{C: c}), nil
		}
	}
	return nil, fmt.Errorf("unknown aggregator %q: it is mean, pca, logistic or logistic(C=0.5)", name)
}

// AggregatorFunc makes an aggregator of a function that sees all rows,
// positive [samples][width] and negative [samples][width], row by row of the
// same samples, and returns a direction [width]. The rows come sorted by their
// numbers, so that the direction does not depend on the samples' order. It keeps
// all activations.
func AggregatorFunc(name string, f func(positive, negative [][]float32) ([]float32, error)) Aggregator {
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

func (p *pairRows) Direction() ([]float32, error) {
	if err := p.prepare(); err != nil {
		return nil, err
	}
	half := p.width / 2
	var positive, negative [][]float32
	for row := range p.each() {
		positive, negative = append(positive, row[:half:half]), append(negative, row[half:])
	}
	direction, err := p.aggregator.f(positive, negative)
	if err != nil {
		return nil, fmt.Errorf("aggregator %s: %w", p.aggregator.name, err)
	}
	if len(direction) != half {
		return nil, fmt.Errorf("aggregator %s returned %d elements for activations of %d", p.aggregator.name, len(direction), half)
	}
	return direction, nil
}

// differencesAggregator is a recipe over the differences of all samples, which
// it keeps as float32: what the reference subtracts.
type differencesAggregator struct {
	name string
	f    func(differences *rows) ([]float32, error) // sorted, finite, not empty
}

func (a differencesAggregator) Name() string { return a.name }

func (a differencesAggregator) New(width int) Accumulator {
	return &differences{aggregator: a, rows: rows{width: width}}
}

type differences struct {
	aggregator differencesAggregator
	rows
}

func (d *differences) Add(positive, negative []float32) {
	for i := range d.width {
		d.values = append(d.values, positive[i]-negative[i])
	}
}

func (d *differences) Merge(other Accumulator) error {
	o, ok := other.(*differences)
	if !ok || o.width != d.width || o.aggregator.name != d.aggregator.name {
		return errMerge(d, other)
	}
	d.values = append(d.values, o.values...)
	return nil
}

func (d *differences) Direction() ([]float32, error) {
	if err := d.prepare(); err != nil {
		return nil, err
	}
	return d.aggregator.f(&d.rows)
}

func errMerge(a, b Accumulator) error {
	return fmt.Errorf("merge: %T cannot take %T of another recipe or width", a, b)
}

var errNoSamples = errors.New("no samples were added")
