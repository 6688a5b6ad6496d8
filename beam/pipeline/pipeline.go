// Package pipeline trains steering vectors and extracts activations as Apache Beam
// pipelines, on any engine that runs Beam's Go SDK.
//
// A pipeline reads lines of pairs, groups them so that those that share long
// prefixes come together, computes each group with a model that every worker process
// opens once, and combines the groups' statistics. These depend on the set of samples
// alone, so that the vector is the one that a single machine gives, to the bit, however
// the work was split, retried or merged.
package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// Job says what is computed of the pairs. It travels to the workers, so that what
// it names, as a model's folder, must be there for each of them.
type Job struct {
	Model      string  // as for lm.Open
	DType      string  // auto, f32 or bf16; "": auto
	Site       lm.Site // "": decoder_block
	Layers     string  // as steer.ParseLayers reads them; "": all
	Read       string  // as steer.ParseReading reads it; "": what the pairs say, or the last token
	Aggregator string  // as steer.ParseAggregator reads it; "": mean

	Groups int // into how many groups the pairs are put; 0: 64
	Pools  int // among how many pools of workers the groups are shared, see package workers; 0: 1

	// Keep is a folder, in any file system that Beam knows, where each group's result
	// stays when it is computed, so that a job that is begun again takes it from there.
	// "": nothing is kept.
	Keep string
}

// Check returns an error for what makes no sense whatever the pairs are.
func (j Job) Check() error {
	if j.Model == "" {
		return fmt.Errorf("there is no model")
	}
	if j.Groups < 0 || j.Pools < 0 {
		return fmt.Errorf("%d groups in %d pools", j.Groups, j.Pools)
	}
	_, err := j.options()
	return err
}

// options are those that the texts of a job stand for, without the layers, which
// only a model can resolve.
func (j Job) options() (o steer.TrainOptions, err error) {
	o.Site = j.Site
	if j.Read != "" {
		if o.Read, err = steer.ParseReading(j.Read); err != nil {
			return o, fmt.Errorf("reading %q: %w", j.Read, err)
		}
	}
	if j.Aggregator != "" {
		if o.Aggregator, err = steer.ParseAggregator(j.Aggregator); err != nil {
			return o, fmt.Errorf("aggregator %q: %w", j.Aggregator, err)
		}
	}
	if j.Layers != "" {
		if _, err = steer.ParseLayers(j.Layers); err != nil {
			return o, fmt.Errorf("layers %q: %w", j.Layers, err)
		}
	}
	if _, known := dtypes[j.DType]; !known {
		return o, fmt.Errorf("number format %q: it is auto, f32 or bf16", j.DType)
	}
	return o, nil
}

var dtypes = map[string]lm.DType{"": lm.Auto, "auto": lm.Auto, "f32": lm.Float32, "bf16": lm.BFloat16}

// Train returns the statistics, one element of the bytes that
// steer.ParseStatistics reads, of lines, a collection of strings that each hold a pair
// as a line of a pairs file does.
func Train(s beam.Scope, lines beam.PCollection, job Job) beam.PCollection {
	s = s.Scope("steer.Train")
	return beam.Combine(s, &mergeFn{}, job.perGroup(s, lines, func(s beam.Scope, group beam.PCollection) beam.PCollection {
		return beam.ParDo(s, &collectFn{Job: job}, group)
	}))
}

// Extract writes the activations of lines as safetensors files
// PREFIX-<group>.safetensors, each beside PREFIX-<group>.jsonl with the lines
// that are its rows, and returns the names of the files. A group that is computed
// twice writes the same bytes to the same names.
func Extract(s beam.Scope, lines beam.PCollection, job Job, prefix string) beam.PCollection {
	s = s.Scope("steer.Extract")
	return job.perGroup(s, lines, func(s beam.Scope, group beam.PCollection) beam.PCollection {
		return beam.ParDo(s, &extractFn{Job: job, Prefix: prefix}, group)
	})
}

// WriteVector makes the vector of a collection's single statistics and writes it to
// a file, in any file system that Beam knows.
func WriteVector(s beam.Scope, statistics beam.PCollection, path string) {
	s = s.Scope("steer.WriteVector")
	beam.ParDo0(s, &writeVectorFn{Path: path}, beam.Impulse(s), beam.SideInput{Input: statistics})
}

type writeVectorFn struct{ Path string }

// ProcessElement makes and writes the vector. It is called where there are no
// statistics too, so that this is an error.
func (f *writeVectorFn) ProcessElement(ctx context.Context, _ []byte, all func(*[]byte) bool) error {
	var data []byte
	if !all(&data) {
		return errors.New("there are no pairs")
	}
	statistics, err := steer.ParseStatistics(data)
	if err != nil {
		return err
	}
	vector, err := statistics.Vector()
	if err != nil {
		return err
	}
	return publish(ctx, f.Path, func(local string) error { return vector.Save(local) })
}

func init() {
	register.DoFn3x1[context.Context, []byte, func(*[]byte) bool, error](&writeVectorFn{})
}
