package steer

// Mean takes the mean of positive minus negative (mean_aggregator of the
// reference; Rimsky et al. 2023). It keeps the exact sum of the differences, each
// rounded to float32 as the reference's are, and their number.
func Mean() Aggregator { return meanAggregator{} }

type meanAggregator struct{}

func (meanAggregator) Name() string { return "mean" }

func (meanAggregator) New(width int) Accumulator { return &mean{sums: exactSums{width: width}} }

type mean struct {
	sums  exactSums // of the differences
	count int
}

func (m *mean) Add(positive, negative []float32) {
	m.sums.addDifferences(positive, negative)
	m.count++
}

func (m *mean) Merge(other Accumulator) error {
	o, ok := other.(*mean)
	if !ok || o.sums.width != m.sums.width {
		return errMerge(m, other)
	}
	m.sums.merge(&o.sums)
	m.count += o.count
	return nil
}

func (m *mean) Samples() int { return m.count }

func (m *mean) Direction() ([]float32, error) {
	if m.count == 0 {
		return nil, errNoSamples
	}
	sums, err := m.sums.values()
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
	return m.sums.appendTo(appendHeader(nil, m.sums.width, m.count))
}

func (m *mean) UnmarshalBinary(data []byte) error {
	count, data, err := readHeader(data, m.sums.width)
	if err != nil {
		return err
	}
	sums := exactSums{width: m.sums.width}
	if err := sums.read(data); err != nil {
		return err
	}
	m.sums, m.count = sums, count
	return nil
}
