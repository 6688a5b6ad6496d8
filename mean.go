package steer

import "fmt"

// Mean takes the mean of positive minus negative (mean_aggregator of the
// reference; Rimsky et al. 2023). It keeps a sum and a count.
func Mean() Aggregator { return meanAggregator{} }

type meanAggregator struct{}

func (meanAggregator) Name() string { return "mean" }

func (meanAggregator) New(width int) Accumulator { return &mean{sum: make([]float64, width)} }

type mean struct {
	sum   []float64 // of the differences
	count int
}

func (m *mean) Add(positive, negative []float32) {
	for i := range m.sum {
		m.sum[i] += float64(positive[i]) - float64(negative[i])
	}
	m.count++
}

func (m *mean) Merge(other Accumulator) error {
	o, ok := other.(*mean)
	if !ok || len(o.sum) != len(m.sum) {
		return errMerge(m, other)
	}
	for i, v := range o.sum {
		m.sum[i] += v
	}
	m.count += o.count
	return nil
}

func (m *mean) Direction() ([]float32, error) {
	if m.count == 0 {
		return nil, errNoSamples
	}
	if err := allFinite(m.sum); err != nil {
		return nil, err
	}
	direction := make([]float32, len(m.sum))
	for i, v := range m.sum {
		direction[i] = float32(v / float64(m.count))
	}
	return direction, nil
}

func (m *mean) MarshalBinary() ([]byte, error) {
	return appendFloat64s(appendHeader(nil, len(m.sum), m.count), m.sum), nil
}

func (m *mean) UnmarshalBinary(data []byte) error {
	count, rest, err := readHeader(data, len(m.sum))
	if err != nil {
		return err
	}
	sum, rest, err := readFloat64s(rest, len(m.sum))
	if err != nil {
		return err
	}
	if len(rest) != 0 {
		return fmt.Errorf("%d bytes follow the state", len(rest))
	}
	m.sum, m.count = sum, count
	return nil
}
