package aggregators

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
