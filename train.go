package steer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/steervec/steer/aggregators"
	"github.com/steervec/steer/lm"
)

// TrainOptions say how a vector is trained. The zero value takes the mean
// difference at the last token of each prompt, at every layer's decoder_block.
type TrainOptions struct {
	Site       lm.Site    // "": decoder_block
	Layers     []int      // negative ones count from the last; nil: all that have the site
	Read       Reading    // of samples that do not say themselves; nil: ReadAt(-1)
	Aggregator Aggregator // nil: Mean()
	Shard      Shard      // the part of the samples that is collected; Train takes the whole only

	RunTokens int                   // tokens computed together: bounds memory, never changes results; 0: 1024
	Progress  func(done, total int) // tokens computed; nil: none

	// State is the path of a file that keeps the statistics of a run under way, so
	// that a killed run loses little; "": none. It is the caller's to remove once the
	// vector is kept. With Resume, a run continues from it where it is there, and gives
	// the same vector to the bit. It is an error when the file is of another model,
	// another way to read or aggregate, or holds samples that are not given.
	State  string
	Resume bool
}

// stateEvery is how often the state of a run is written, and stateShare how many
// times longer than a write took the run goes on before the next, so that large
// statistics do not slow it down.
const (
	stateEvery = 10 * time.Second
	stateShare = 20
)

// Train learns a steering vector: [Collect] and [Statistics.Vector].
func Train(ctx context.Context, model *lm.Model, samples []Sample, opts TrainOptions) (*Vector, error) {
	s, err := Collect(ctx, model, samples, opts)
	if err != nil {
		return nil, err
	}
	vector, err := s.Vector()
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return vector, nil
}

// Collect computes the samples' activations and gives each layer's to the
// aggregator as they come: each prompt's distinct prefixes are computed once,
// nothing past the last layer asked for. Errors name the sample and the value that
// is wrong.
func Collect(ctx context.Context, model *lm.Model, samples []Sample, opts TrainOptions) (*Statistics, error) {
	s, err := collect(ctx, model, samples, opts)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return s, nil
}

func collect(ctx context.Context, model *lm.Model, samples []Sample, opts TrainOptions) (*Statistics, error) {
	if opts.Resume && opts.State == "" {
		return nil, errors.New("resume needs the path of a state file")
	}
	if opts.State != "" {
		if err := checkState(opts.State); err != nil {
			return nil, err
		}
	}
	if opts.Aggregator == nil {
		opts.Aggregator = Mean()
	}
	computed := 0 // tokens, by this call
	_, unpaired := opts.Aggregator.(aggregators.Unpaired)
	e, err := prepare(ctx, model, samples, ExtractOptions{
		unpaired: unpaired,
		Site:     opts.Site, Layers: opts.Layers, Read: opts.Read, Shard: opts.Shard, RunTokens: opts.RunTokens,
		Progress: func(done, total int) {
			computed = done
			if opts.Progress != nil {
				opts.Progress(done, total)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	if opts.Aggregator, err = ofHeads(opts.Aggregator, e); err != nil {
		return nil, err
	}
	ids := e.ids()
	s := newStatistics(e.origin(opts.Aggregator), opts.Aggregator)
	s.shards = opts.Shard.Alone(e.whole)
	var done []bool
	if opts.Resume {
		if s, done, err = e.resume(opts, s, ids); err != nil {
			return nil, fmt.Errorf("resume: %w", err)
		}
	}
	before, next := s.Usage.Computed, time.Now().Add(stateEvery)
	usage, err := e.run(ctx, done, func(a sampleActivations) error {
		s.add(ids[a.sample], a)
		s.Usage.Given += len(e.inputs[2*a.sample].Tokens) + len(e.inputs[2*a.sample+1].Tokens)
		s.Usage.Computed = before + computed
		if opts.State == "" || time.Now().Before(next) {
			return nil
		}
		begin := time.Now()
		err := s.Save(opts.State)
		next = time.Now().Add(max(stateEvery, stateShare*time.Since(begin)))
		return err
	})
	if err != nil {
		s.Usage.Computed = before + computed
		if opts.State != "" && s.Samples() > 0 {
			err = errors.Join(err, s.Save(opts.State))
		}
		return nil, err
	}
	s.Usage.Computed = before + usage.Computed
	return s, nil
}

// ofHeads tells an aggregator that looks at heads how large they are.
func ofHeads(aggregator Aggregator, e *extraction) (Aggregator, error) {
	byHeads, ok := aggregator.(aggregators.ByHeads)
	if !ok {
		return aggregator, nil
	}
	if e.site != lm.AttnHeads {
		return nil, fmt.Errorf("aggregator %s: heads are seen at %s, not at %s", aggregator.Name(), lm.AttnHeads, e.site)
	}
	for _, layer := range e.layers {
		var err error
		if aggregator, err = byHeads.OfSize(e.model.Width(layer, e.site) / e.model.Decoder().Blocks[layer].Attention.Heads); err != nil {
			return nil, fmt.Errorf("layer %d: %w", layer, err)
		}
		byHeads = aggregator.(aggregators.ByHeads)
	}
	return aggregator, nil
}

// resume returns the statistics of the state file, where it is there, and which
// samples are in them.
func (e *extraction) resume(opts TrainOptions, fresh *Statistics, ids []sampleID) (*Statistics, []bool, error) {
	s, err := LoadStatistics(opts.State, opts.Aggregator)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var done []bool
	if err = s.from.differs(fresh.from); err == nil {
		done, err = s.resume(ids)
	}
	if err == nil && !reflect.DeepEqual(s.shards, fresh.shards) {
		err = errors.New("its shard is another")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s is the state of another run: %w; remove it to begin anew", opts.State, err)
	}
	return s, done, nil
}

// Aggregate turns extracted activations into a vector, layer by layer: the one
// that [Train] makes of the same samples.
func Aggregate(activations *Activations, aggregator Aggregator) (*Vector, error) {
	if aggregator == nil {
		aggregator = Mean()
	}
	if _, ok := aggregator.(aggregators.ByHeads); ok && activations.Site != lm.AttnHeads {
		return nil, fmt.Errorf("aggregate: aggregator %s: heads are seen at %s, not at %s", aggregator.Name(), lm.AttnHeads, activations.Site)
	}
	from := origin{Site: activations.Site, Layers: slices.Sorted(maps.Keys(activations.Positive)), Aggregator: aggregator.Name()}
	count := 0
	for i, layer := range from.Layers {
		positive, negative := activations.Positive[layer], activations.Negative[layer]
		if i == 0 {
			count = len(positive)
		}
		if len(positive) == 0 || len(positive) != len(negative) || len(positive) != count {
			return nil, fmt.Errorf("aggregate: layer %d has %d positive and %d negative activations", layer, len(positive), len(negative))
		}
		width := len(positive[0])
		for sample := range positive {
			if len(positive[sample]) != width || len(negative[sample]) != width || width == 0 {
				return nil, fmt.Errorf("aggregate: layer %d, sample %d: activations of %d and %d elements beside %d", layer, sample, len(positive[sample]), len(negative[sample]), width)
			}
		}
		from.Widths = append(from.Widths, width)
	}
	s := newStatistics(from, aggregator)
	for sample := range count {
		a := sampleActivations{sample: sample, positive: map[int][]float32{}, negative: map[int][]float32{}}
		for _, layer := range from.Layers {
			a.positive[layer], a.negative[layer] = activations.Positive[layer][sample], activations.Negative[layer][sample]
		}
		s.add(sampleID{}, a)
	}
	v, err := s.Vector()
	if err != nil {
		return nil, fmt.Errorf("aggregate: %w", err)
	}
	v.Provenance = activations.Provenance
	v.Provenance.Aggregator = aggregator.Name()
	return v, nil
}
