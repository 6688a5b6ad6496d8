package aggregators

import (
	"errors"
	"fmt"
	"math"

	"github.com/steervec/steer/internal/finite"
)

// sidesAggregator is a recipe over the activations of both sides, which need not be
// pairs. It keeps them all.
type sidesAggregator struct {
	name, operator string
	f              func(positive, negative *rows) ([]float32, error) // both sorted, finite, two rows or more
}

func (a sidesAggregator) Name() string     { return a.name }
func (a sidesAggregator) Operator() string { return a.operator }
func (a sidesAggregator) Unpaired()        {}

func (a sidesAggregator) New(width int) Accumulator {
	return &sides{aggregator: a, width: width, positive: rows{width: width}, negative: rows{width: width}}
}

// sides keeps the activations of each side apart.
type sides struct {
	aggregator         sidesAggregator
	width, count       int
	positive, negative rows
}

func (s *sides) Add(positive, negative []float32) {
	s.positive.add(positive)
	s.negative.add(negative)
	s.count++
}

func (s *sides) Merge(other Accumulator) error {
	o, ok := other.(*sides)
	if !ok || o.width != s.width || o.aggregator.name != s.aggregator.name {
		return errMerge(s, other)
	}
	s.positive.values = append(s.positive.values, o.positive.values...)
	s.negative.values = append(s.negative.values, o.negative.values...)
	s.count += o.count
	return nil
}

func (s *sides) Samples() int { return s.count }

func (s *sides) Direction() ([]float32, error) {
	for _, side := range []struct {
		name string
		*rows
	}{{"positive", &s.positive}, {"negative", &s.negative}} {
		switch n := side.Samples(); {
		case s.count == 0:
			return nil, errNoSamples
		case n < 2:
			return nil, fmt.Errorf("there are %d %s activations; %s needs two or more", n, side.name, s.aggregator.name)
		case !finite.All(side.values):
			return nil, errNotFinite
		}
		side.sort()
	}
	return s.aggregator.f(&s.positive, &s.negative)
}

// MarshalBinary writes width and number of samples, then the rows of both sides.
func (s *sides) MarshalBinary() ([]byte, error) {
	positive, err := s.positive.MarshalBinary()
	if err != nil {
		return nil, err
	}
	negative, err := s.negative.MarshalBinary()
	return append(append(appendHeader(nil, s.width, s.count), positive...), negative...), err
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (s *sides) UnmarshalBinary(data []byte) error {
	count, data, err := readHeader(data, s.width)
	if err != nil {
		return err
	}
	first, rest, err := readHeader(data, s.width)
	if err != nil {
		return err
	}
	if len(rest)/4/s.width < first {
		return errors.New("the rows of the positive side end too early")
	}
	end := len(data) - len(rest) + 4*s.width*first
	read := sides{aggregator: s.aggregator, width: s.width, count: count, positive: rows{width: s.width}, negative: rows{width: s.width}}
	if err := read.positive.UnmarshalBinary(data[:end]); err != nil {
		return err
	}
	if err := read.negative.UnmarshalBinary(data[end:]); err != nil {
		return err
	}
	if err := checkSides(count, read.positive.Samples(), read.negative.Samples()); err != nil {
		return err
	}
	*s = read
	return nil
}

// checkSides returns an error where samples of one or two prompts do not have so many
// of each side.
func checkSides(samples, positive, negative int) error {
	if positive > samples || negative > samples || positive+negative < samples {
		return fmt.Errorf("%d positive and %d negative activations of %d samples", positive, negative, samples)
	}
	return nil
}

var errOneSide = errors.New("there are activations of one side only")

// mean returns the mean of the rows, [width].
func (r *rows) mean() []float64 {
	mean := make([]float64, r.width)
	for row := range r.each() {
		for i, v := range row {
			mean[i] += float64(v)
		}
	}
	for i := range mean {
		mean[i] /= float64(r.Samples())
	}
	return mean
}

// difference returns a - b.
func difference(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i, x := range a {
		out[i] = x - b[i]
	}
	return out
}

// narrow rounds rows of one width to one slice.
func narrow(rows ...[]float64) []float32 {
	var out []float32
	for _, row := range rows {
		for _, v := range row {
			out = append(out, float32(v))
		}
	}
	return out
}

// unit returns a vector made to have length 1.
func unit(v []float64) ([]float64, error) {
	square := 0.0
	for _, x := range v {
		square += x * x
	}
	norm := math.Sqrt(square)
	if norm == 0 || !finite.Is(norm) {
		return nil, errors.New("the direction is zero or not finite: positive and negative activations do not differ in the mean")
	}
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = x / norm
	}
	return out, nil
}
