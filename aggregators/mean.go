package aggregators

import "github.com/steervec/steer/internal/exact"

// Mean takes the mean of positive minus negative (mean_aggregator of the
// reference; Rimsky et al. 2023). It keeps the exact sum of the differences, each
// rounded to float32 as the reference's are, and their number.
func Mean() Aggregator { return meanAggregator{} }

type meanAggregator struct{}

func (meanAggregator) Name() string { return "mean" }

func (meanAggregator) New(width int) Accumulator { return &mean{sums: exact.New(width)} }

type mean struct {
	sums  exact.Sums // of the differences
	count int
}

func (m *mean) Add(positive, negative []float32) {
	m.sums.AddDifferences(positive, negative)
	m.count++
}

func (m *mean) Merge(other Accumulator) error {
	o, ok := other.(*mean)
	if !ok || o.sums.Width() != m.sums.Width() {
		return errMerge(m, other)
	}
	m.sums.Merge(&o.sums)
	m.count += o.count
	return nil
}

func (m *mean) Samples() int { return m.count }

func (m *mean) Direction() ([]float32, error) {
	if m.count == 0 {
		return nil, errNoSamples
	}
	sums, err := m.sums.Values()
	if err != nil {
		return nil, err
	}
	direction := make([]float32, len(sums))
	for i, sum := range sums {
		direction[i] = float32(sum / float64(m.count))
	}
	return direction, nil
}

func (m *mean) MarshalBinary() ([]byte, error) {
	return m.sums.AppendTo(appendHeader(nil, m.sums.Width(), m.count))
}

func (m *mean) UnmarshalBinary(data []byte) error {
	count, data, err := readHeader(data, m.sums.Width())
	if err != nil {
		return err
	}
	sums := exact.New(m.sums.Width())
	if err := sums.Read(data); err != nil {
		return err
	}
	m.sums, m.count = sums, count
	return nil
}
