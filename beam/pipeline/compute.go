package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// models are those that this process has open, or is opening: one for each reference
// and number format, whatever the number of bundles that it works on at once.
var models sync.Map // modelKey -> func() (*lm.Model, error)

type modelKey struct{ ref, dtype string }

// model returns the job's model.
func (j Job) model() (*lm.Model, error) {
	open := sync.OnceValues(func() (*lm.Model, error) {
		// It outlives the bundle that happens to need it first.
		return lm.Open(context.Background(), j.Model, lm.Compute(dtypes[j.DType]))
	})
	kept, _ := models.LoadOrStore(modelKey{j.Model, j.DType}, open)
	return kept.(func() (*lm.Model, error))()
}

// begin returns the model, the pairs of lines, and how they are read.
func (j Job) begin(lines []string) (model *lm.Model, samples []steer.Sample, options steer.TrainOptions, err error) {
	if model, err = j.model(); err != nil {
		return nil, nil, options, err
	}
	if options, err = j.options(); err != nil {
		return nil, nil, options, err
	}
	if j.Layers != "" {
		selection, err := steer.ParseLayers(j.Layers)
		if err == nil {
			options.Layers, err = selection.Of(model)
		}
		if err != nil {
			return nil, nil, options, err
		}
	}
	file, err := readLines(lines)
	if err != nil {
		return nil, nil, options, err
	}
	if options.Read == nil {
		options.Read = file.Read
	}
	return model, file.Samples, options, nil
}

// placed says of an error of one of the samples which line it is.
func placed(err error, lines []string) error {
	if wrong := (*steer.SampleError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("the %s prompt of %.200q: %w", wrong.Side, lines[wrong.Sample], wrong.Err)
	}
	return err
}

// collectFn computes the statistics of a group.
type collectFn struct{ Job Job }

// Setup opens the model before there is work.
func (f *collectFn) Setup() error {
	_, err := f.Job.model()
	return err
}

// ProcessElement emits the statistics of a group's lines.
func (f *collectFn) ProcessElement(ctx context.Context, _ int, lines []string, emit func([]byte)) error {
	model, samples, options, err := f.Job.begin(lines)
	if err != nil {
		return err
	}
	data, err := f.Job.kept(ctx, model, lines, func() ([]byte, error) {
		statistics, err := steer.Collect(ctx, model, samples, options)
		if err != nil {
			return nil, placed(err, lines)
		}
		count(ctx, statistics.Usage)
		return statistics.MarshalBinary()
	})
	if err == nil {
		emit(data)
	}
	return err
}

// What the workers were given and what of it they computed; a bundle that is tried
// again counts once where the runner counts so.
var (
	given    = beam.NewCounter(Counters, GivenTokens)
	computed = beam.NewCounter(Counters, ComputedTokens)
)

// The namespace of the counters of workers, and their names.
const (
	Counters       = "steer"
	GivenTokens    = "given_tokens"    // were every prompt computed by itself
	ComputedTokens = "computed_tokens" // what was computed
)

func count(ctx context.Context, usage lm.Usage) {
	given.Inc(ctx, int64(usage.Given))
	computed.Inc(ctx, int64(usage.Computed))
}

// extractFn writes the activations of a group.
type extractFn struct {
	Job    Job
	Prefix string
}

// Setup opens the model before there is work.
func (f *extractFn) Setup() error {
	_, err := f.Job.model()
	return err
}

// ProcessElement writes a group's files and emits the name of the safetensors file.
func (f *extractFn) ProcessElement(ctx context.Context, group int, lines []string, emit func(string)) error {
	model, samples, options, err := f.Job.begin(lines)
	if err != nil {
		return err
	}
	activations, err := steer.Extract(ctx, model, samples, steer.ExtractOptions{Site: options.Site, Layers: options.Layers, Read: options.Read})
	if err != nil {
		return placed(err, lines)
	}
	count(ctx, activations.Usage)
	name := fmt.Sprintf("%s-%05d", f.Prefix, group)
	err = publish(ctx, name+".jsonl", func(local string) error {
		return save(local, []byte(strings.Join(lines, "\n")+"\n"))
	})
	if err == nil {
		err = publish(ctx, name+".safetensors", activations.Save)
	}
	if err == nil {
		emit(name + ".safetensors")
	}
	return err
}

func init() {
	register.DoFn4x1[context.Context, int, []string, func([]byte), error](&collectFn{})
	register.DoFn4x1[context.Context, int, []string, func(string), error](&extractFn{})
	register.Emitter1[[]byte]()
	register.Emitter1[string]()
}
