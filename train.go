package steer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/steervec/steer/lm"
)

// TrainOptions say how a vector is trained. The zero value takes the mean
// difference at the last token of each prompt, at every layer's decoder_block.
type TrainOptions struct {
	ExtractOptions
	Aggregator Aggregator // nil: Mean()

	// State is the path of a file that keeps the statistics of a run under way, so
	// that a killed run loses little; "": none. It is the caller's to remove once the
	// vector is kept. With Resume, a run continues from it where it is there, and gives
	// the same vector to the bit. It is an error when the file belongs to another
	// model, other samples or other options.
	State  string
	Resume bool
}

// stateEvery is how often the state of a run is written.
const stateEvery = 10 * time.Second

// Train learns a steering vector: each prompt's distinct prefixes are computed
// once, nothing past the last layer asked for, and each layer's activations go
// to the aggregator as they come. Where the aggregator is a plain function it
// sees the samples in the order in which they are completed, which depends on
// the prompts alone. Errors name the sample and the value that is wrong.
func Train(ctx context.Context, model *lm.Model, samples []Sample, opts TrainOptions) (*Vector, error) {
	if opts.Aggregator == nil {
		opts.Aggregator = Mean()
	}
	e, err := prepare(model, samples, opts.ExtractOptions)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	s := newTrainState(e, opts.Aggregator)
	if opts.Resume {
		if opts.State == "" {
			return nil, errors.New("train: resume needs the path of a state file")
		}
		if err := s.load(opts.State); err != nil {
			return nil, fmt.Errorf("train: resume: %w", err)
		}
	}
	written := time.Now()
	err = e.run(ctx, s.done, func(a SampleActivations) error {
		for _, layer := range e.layers {
			s.accumulators[layer].Add(a.Positive[layer], a.Negative[layer])
		}
		s.done[a.Sample] = true
		if opts.State == "" || time.Since(written) < stateEvery {
			return nil
		}
		written = time.Now()
		return s.save(opts.State)
	})
	if err != nil {
		if opts.State != "" && slices.Contains(s.done, true) {
			err = errors.Join(err, s.save(opts.State))
		}
		return nil, fmt.Errorf("train: %w", err)
	}
	vector, err := s.vector()
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return vector, nil
}

// Aggregate turns extracted activations into a vector, layer by layer.
func Aggregate(activations *Activations, aggregator Aggregator) (*Vector, error) {
	if aggregator == nil {
		aggregator = Mean()
	}
	v := &Vector{LayerType: activations.LayerType, Layers: map[int][]float32{}, Provenance: activations.Provenance}
	v.Provenance.Aggregator = aggregator.Name()
	for layer, positive := range activations.Positive {
		negative := activations.Negative[layer]
		if len(positive) == 0 || len(positive) != len(negative) {
			return nil, fmt.Errorf("aggregate: layer %d has %d positive and %d negative activations", layer, len(positive), len(negative))
		}
		a := aggregator.New(len(positive[0]))
		for i := range positive {
			if len(positive[i]) != len(positive[0]) || len(negative[i]) != len(positive[0]) {
				return nil, fmt.Errorf("aggregate: layer %d, sample %d: activations of %d and %d elements beside %d", layer, i, len(positive[i]), len(negative[i]), len(positive[0]))
			}
			a.Add(positive[i], negative[i])
		}
		direction, err := a.Direction()
		if err != nil {
			return nil, fmt.Errorf("aggregate: layer %d: %w", layer, err)
		}
		v.Layers[layer] = direction
	}
	if len(v.Layers) == 0 {
		return nil, errors.New("aggregate: there are no layers")
	}
	return v, nil
}
