package pipeline_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	"github.com/steervec/steer"
	"github.com/steervec/steer/beam/pipeline"
	"github.com/steervec/steer/beam/workers"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// The tests' own program is what their runner starts as workers.
func TestMain(m *testing.M) {
	flag.Parse()
	beam.Init() // a worker's process ends here
	os.Exit(m.Run())
}

const mood = "../../testdata/mood.jsonl"

// wanted is the vector of a single machine.
func wanted(t *testing.T, model, aggregator string) *steer.Vector {
	t.Helper()
	m, err := lm.Open(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	file, err := pairs.Open(mood)
	if err != nil {
		t.Fatal(err)
	}
	a, err := steer.ParseAggregator(aggregator)
	if err != nil {
		t.Fatal(err)
	}
	v, err := steer.Train(t.Context(), m, file.Samples, steer.TrainOptions{Aggregator: a})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// split writes the pairs into files that end at awkward places: of one line, without
// a last line end, and with lines that end as on Windows.
func split(t *testing.T) (glob string) {
	t.Helper()
	data, err := os.ReadFile(mood)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	folder := t.TempDir()
	for name, content := range map[string]string{
		"a.jsonl": lines[0] + "\n", "b.jsonl": strings.Join(lines[1:4], "\n"), "c.jsonl": strings.Join(lines[4:], "\r\n") + "\r\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "*.jsonl")
}

func train(ctx context.Context, job pipeline.Job, glob, out string, run func(context.Context, *beam.Pipeline) error) error {
	p, s := beam.NewPipelineWithRoot()
	pipeline.WriteVector(s, pipeline.Train(s, textio.Read(s, glob), job), out)
	return run(ctx, p)
}

func inProcesses(ctx context.Context, p *beam.Pipeline) error {
	_, err := workers.Run(ctx, p, workers.Options{})
	return err
}

func TestAPipelineGivesTheVectorOfOneMachine(t *testing.T) {
	glob := split(t)
	for name, test := range map[string]struct {
		aggregator string
		groups     int
		pools      int
		run        func(context.Context, *beam.Pipeline) error
	}{
		"mean, in this process":          {"mean", 3, 0, beamx.Run},
		"pca, one group":                 {"pca", 1, 0, beamx.Run},
		"logistic, in two processes":     {"logistic", 5, 2, inProcesses},
		"mean, more groups than prompts": {"mean", 500, 0, beamx.Run},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "v.safetensors")
			job := pipeline.Job{Model: "demo", Aggregator: test.aggregator, Groups: test.groups, Pools: test.pools}
			if err := train(t.Context(), job, glob, out, test.run); err != nil {
				t.Fatal(err)
			}
			got, err := steer.LoadVector(out)
			if err != nil {
				t.Fatal(err)
			}
			if want := wanted(t, "demo", test.aggregator); !reflect.DeepEqual(got, want) {
				t.Errorf("the vector is another than that of one machine: %+v, %+v", got.Provenance, want.Provenance)
			}
		})
	}
}
