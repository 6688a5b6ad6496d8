package steer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/steervec/steer/aggregators"
	"github.com/steervec/steer/internal/exact"
	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm"
)

// Statistics are what a vector is made of: what the aggregator keeps of each
// layer's activations, and which samples are in it. They depend on the set of
// samples alone: collected in any order, in any parts, stopped, resumed and merged,
// they give the same vector to the bit. They belong to one goroutine.
type Statistics struct {
	Usage     lm.Usage  // tokens of the samples, and those that were computed for them
	Rendering Rendering // of the samples, for the vector's provenance

	from         origin
	aggregator   Aggregator
	accumulators []Accumulator // [layers]
	norms        exact.Sums    // of the lengths of both activations of each sample, [layers]
	samples      []sampleID
	prompts      int // of the samples
	shards       Shards
}

// origin is all that statistics must agree in to be one.
type origin struct {
	Model        string  `json:"model"`
	Family       string  `json:"family"`
	ModelLayers  int     `json:"model_layers"`
	WeightsHash  string  `json:"weights_hash"`
	DType        string  `json:"dtype"` // of the products
	Instructions string  `json:"instructions"`
	Steering     string  `json:"steering"`
	Site         lm.Site `json:"layer_type"`
	Layers       []int   `json:"layers"`
	Widths       []int   `json:"widths"` // [layers]
	Aggregator   string  `json:"aggregator"`
	Read         string  `json:"read_token"`
}

func newStatistics(from origin, aggregator Aggregator) *Statistics {
	s := &Statistics{from: from, aggregator: aggregator, norms: exact.New(len(from.Layers))}
	for _, width := range from.Widths {
		s.accumulators = append(s.accumulators, aggregator.New(width))
	}
	return s
}

// origin says where an extraction's statistics come from.
func (e *extraction) origin(aggregator Aggregator) origin {
	m, d := e.model, e.model.Description()
	from := origin{
		Model: m.ID(), Family: m.Decoder().Family, ModelLayers: m.Layers(), WeightsHash: m.Fingerprint(), DType: d.DType, Instructions: d.Instructions,
		Steering: m.SteeringID(), Site: e.site, Layers: e.layers, Aggregator: aggregator.Name(), Read: e.opts.Read.String(),
	}
	for _, layer := range e.layers {
		from.Widths = append(from.Widths, m.Width(layer, e.site))
	}
	return from
}

// differs names what two origins do not agree in, or returns nil.
func (o origin) differs(other origin) error {
	for _, part := range []struct {
		name string
		a, b any
	}{
		{"model family", o.Family, other.Family}, {"weights", o.WeightsHash, other.WeightsHash}, {"number format", o.DType, other.DType},
		{"instruction set", o.Instructions, other.Instructions}, {"steering of the model", o.Steering, other.Steering}, {"layer type", o.Site, other.Site},
		{"layers", fmt.Sprint(o.Layers), fmt.Sprint(other.Layers)}, {"widths", fmt.Sprint(o.Widths), fmt.Sprint(other.Widths)},
		{"aggregator", o.Aggregator, other.Aggregator}, {"reading", o.Read, other.Read},
	} {
		if part.a != part.b {
			return fmt.Errorf("the %s differs: %q and %q", part.name, part.a, part.b)
		}
	}
	return nil
}

// add takes the activations of one sample.
func (s *Statistics) add(id sampleID, a sampleActivations) {
	for i, layer := range s.from.Layers {
		s.accumulators[i].Add(a.positive[layer], a.negative[layer])
	}
	for _, side := range []map[int][]float32{a.positive, a.negative} {
		if side == nil {
			continue
		}
		for i, layer := range s.from.Layers {
			s.norms.Add(i, float32(linear.Norm(side[layer])))
		}
		s.norms.Added()
		s.prompts++
	}
	s.samples = append(s.samples, id)
}

// Prompts returns how many prompts the samples have.
func (s *Statistics) Prompts() int { return s.prompts }

// Samples returns how many samples are in the statistics.
func (s *Statistics) Samples() int { return len(s.samples) }

// Layers returns the layers of which there are statistics, ascending.
func (s *Statistics) Layers() []int { return slices.Clone(s.from.Layers) }

// Merge adds what other statistics hold, of the same model, layers, reading and
// aggregator, computed in the same number format by the same instructions, so that
// the parts of a set of samples, however it was split, give the vector of the whole
// to the bit. Any parts will do; those that [Shard] makes share the most prefixes,
// and of those none may come twice. A sample that is in two other parts counts
// twice. The other statistics keep what they have.
func (s *Statistics) Merge(other *Statistics) error {
	if s == other {
		return errors.New("merge statistics: they are the same")
	}
	if err := s.from.differs(other.from); err != nil {
		return fmt.Errorf("merge statistics: %w", err)
	}
	if s.Rendering != other.Rendering {
		return errors.New("merge statistics: the chat templates or system messages differ")
	}
	joined, err := s.shards.Join(other.shards)
	if err != nil {
		return fmt.Errorf("merge statistics: %w", err)
	}
	for i, a := range s.accumulators {
		if err := a.Merge(other.accumulators[i]); err != nil {
			return fmt.Errorf("merge statistics: layer %d: %w", s.from.Layers[i], err)
		}
	}
	s.norms.Merge(&other.norms)
	s.samples = append(s.samples, other.samples...)
	s.prompts += other.prompts
	s.shards = joined
	s.Usage = s.Usage.Add(other.Usage)
	return nil
}

// Vector asks the aggregator for each layer's direction. It is an error where a
// direction is zero or not finite, as when the two sides of all samples are read
// where they are the same, and where shards are missing.
func (s *Statistics) Vector() (*Vector, error) {
	if len(s.from.Layers) == 0 {
		return nil, errors.New("there are no layers")
	}
	if err := s.shards.Complete(); err != nil {
		return nil, err
	}
	f := s.from
	v := &Vector{Site: f.Site, Layers: map[int][]float32{}, ActivationNorms: map[int]float64{}, Provenance: Provenance{
		Model: f.Model, Family: f.Family, ModelLayers: f.ModelLayers, WeightsHash: f.WeightsHash, DType: f.DType, Steering: f.Steering, PairsHash: hashSamples(s.samples),
		Aggregator: f.Aggregator, Read: f.Read, Rendering: s.Rendering, Version: Version(),
	}}
	directions, err := s.directions()
	if err != nil {
		return nil, err
	}
	for i, layer := range f.Layers {
		direction := directions[i]
		if direction == nil {
			continue
		}
		if err := checkDirection(direction); err != nil {
			return nil, fmt.Errorf("layer %d: %w", layer, err)
		}
		v.Rank, v.Layers[layer] = len(direction)/f.Widths[i], direction
	}
	if len(v.Layers) == 0 {
		return nil, errors.New("no layer has a direction")
	}
	if v.Rank == 1 {
		v.Rank = 0
	}
	if acting, ok := s.aggregator.(aggregators.Acting); ok {
		v.Operator = acting.Operator()
	}
	norms, err := s.norms.Values()
	if err != nil {
		return nil, err
	}
	for i, layer := range f.Layers {
		if v.Layers[layer] == nil {
			continue
		}
		v.ActivationNorms[layer] = norms[i] / float64(s.prompts)
	}
	return v, nil
}

// directions asks the aggregator for the rows of each layer; nil for one that it
// leaves out.
func (s *Statistics) directions() ([][]float32, error) {
	if joint, ok := s.aggregator.(aggregators.Joint); ok {
		return joint.Directions(s.accumulators)
	}
	var directions [][]float32
	for i, a := range s.accumulators {
		direction, err := a.Direction()
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", s.from.Layers[i], err)
		}
		directions = append(directions, direction)
	}
	return directions, nil
}

// HeadAccuracies returns how well each attention head tells the sides apart, from 0 to
// 1, by layer, where the aggregator is [aggregators.Heads].
func (s *Statistics) HeadAccuracies() (map[int][]float64, error) {
	out := map[int][]float64{}
	for i, a := range s.accumulators {
		accuracies, err := aggregators.HeadAccuracies(a)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", s.from.Layers[i], err)
		}
		out[s.from.Layers[i]] = accuracies
	}
	return out, nil
}

// checkDirection refuses what cannot steer.
func checkDirection(vector []float32) error {
	if err := finite.Check(vector); err != nil {
		return fmt.Errorf("the direction is not finite: %w", err)
	}
	if linear.IsZero(vector) {
		return errors.New("the direction is zero: the positive and negative activations do not differ in the mean; is the token read that differs?")
	}
	return nil
}

// resume marks the samples that are in the statistics; ids are those of all. It is
// an error where the statistics hold others.
func (s *Statistics) resume(ids []sampleID) ([]bool, error) {
	there := make(map[sampleID]int, len(s.samples))
	for _, id := range s.samples {
		there[id]++
	}
	done, left := make([]bool, len(ids)), len(s.samples)
	for i, id := range ids {
		if there[id] > 0 {
			there[id]--
			left--
			done[i] = true
		}
	}
	if left > 0 {
		return nil, fmt.Errorf("%d of the %d samples in it are not among those given", left, len(s.samples))
	}
	return done, nil
}
