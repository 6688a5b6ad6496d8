package aggregators

import "github.com/steervec/steer/internal/exact"

// MeanCentred takes the mean of the positive activations less that of a neutral
// corpus, whose texts are negative prompts: μ₊ − μ₋, each side over as many samples as
// it has (Jorgensen et al. 2023, "Improving Activation Steering in Language Models with
// Mean-Centring", equation 2). It keeps the exact sums of both sides. Where each
// sample has both prompts it is [Mean], but for rounding.
func MeanCentred() Aggregator { return centredAggregator{} }

type centredAggregator struct{}

func (centredAggregator) Name() string { return "mean-centred" }
func (centredAggregator) Unpaired()    {}

func (centredAggregator) New(width int) Accumulator {
	return &centred{count: 0, sums: [2]exact.Sums{exact.New(width), exact.New(width)}, zero: make([]float32, width)}
}

type centred struct {
	count int
	sides [2]int // activations of each
	sums  [2]exact.Sums
	zero  []float32 // [width]
}

func (c *centred) Add(positive, negative []float32) {
	for i, side := range [][]float32{positive, negative} {
		if side != nil {
			c.sums[i].AddDifferences(side, c.zero)
			c.sides[i]++
		}
	}
	c.count++
}

func (c *centred) Merge(other Accumulator) error {
	o, ok := other.(*centred)
	if !ok || len(o.zero) != len(c.zero) {
		return errMerge(c, other)
	}
	for i := range c.sums {
		c.sums[i].Merge(&o.sums[i])
		c.sides[i] += o.sides[i]
	}
	c.count += o.count
	return nil
}

func (c *centred) Samples() int { return c.count }

func (c *centred) Direction() ([]float32, error) {
	if c.sides[0] == 0 || c.sides[1] == 0 {
		return nil, errOneSide
	}
	positive, err := c.sums[0].Values()
	if err != nil {
		return nil, err
	}
	negative, err := c.sums[1].Values()
	if err != nil {
		return nil, err
	}
	direction := make([]float32, len(positive))
	for i, sum := range positive {
		direction[i] = float32(sum/float64(c.sides[0]) - negative[i]/float64(c.sides[1]))
	}
	return direction, nil
}

// MarshalBinary writes width and number of samples; then of each side the same of its
// activations and their sums.
func (c *centred) MarshalBinary() (out []byte, err error) {
	out = appendHeader(nil, len(c.zero), c.count)
	for i := range c.sums {
		if out, err = c.sums[i].AppendTo(appendHeader(out, len(c.zero), c.sides[i])); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *centred) UnmarshalBinary(data []byte) error {
	width := len(c.zero)
	count, data, err := readHeader(data, width)
	if err != nil {
		return err
	}
	read := centred{count: count, zero: c.zero}
	for i := range read.sums {
		if read.sides[i], data, err = readHeader(data, width); err != nil {
			return err
		}
		read.sums[i] = exact.New(width)
		length := len(data)
		if i == 0 {
			if length, err = read.sums[i].Length(data); err != nil {
				return err
			}
		}
		if err := read.sums[i].Read(data[:length]); err != nil {
			return err
		}
		data = data[length:]
	}
	if err := checkSides(count, read.sides[0], read.sides[1]); err != nil {
		return err
	}
	*c = read
	return nil
}
