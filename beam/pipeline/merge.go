package pipeline

import (
	"errors"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/steervec/steer"
)

// mergeFn combines the statistics of groups. The order in which they come, and how
// they are put together on the way, changes nothing.
type mergeFn struct{}

// merging is what is merged so far; nil statistics where nothing is.
type merging struct{ statistics *steer.Statistics }

// CreateAccumulator begins with nothing.
func (f *mergeFn) CreateAccumulator() *merging { return &merging{} }

// AddInput adds the statistics of a group.
func (f *mergeFn) AddInput(m *merging, data []byte) (*merging, error) {
	statistics, err := steer.ParseStatistics(data)
	if err != nil {
		return nil, err
	}
	return f.MergeAccumulators(m, &merging{statistics})
}

// MergeAccumulators adds what another worker has merged.
func (f *mergeFn) MergeAccumulators(m, other *merging) (*merging, error) {
	switch {
	case other.statistics == nil:
		return m, nil
	case m.statistics == nil:
		return other, nil
	}
	return m, m.statistics.Merge(other.statistics)
}

// ExtractOutput returns the statistics of all groups.
func (f *mergeFn) ExtractOutput(m *merging) ([]byte, error) {
	if m.statistics == nil {
		return nil, errors.New("nothing was merged")
	}
	return m.statistics.MarshalBinary()
}

func encodeMerging(m *merging) ([]byte, error) {
	if m.statistics == nil {
		return nil, nil
	}
	return m.statistics.MarshalBinary()
}

func decodeMerging(data []byte) (*merging, error) {
	if len(data) == 0 {
		return &merging{}, nil
	}
	statistics, err := steer.ParseStatistics(data)
	return &merging{statistics}, err
}

func init() {
	register.Combiner3[*merging, []byte, []byte](&mergeFn{})
	beam.RegisterCoder(reflect.TypeFor[*merging](), encodeMerging, decodeMerging)
}
