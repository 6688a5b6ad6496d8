package pipeline_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"

	"github.com/steervec/steer/beam/pipeline"
	"github.com/steervec/steer/beam/workers"
	"github.com/steervec/steer/lm/demo/stories"
)

// BenchmarkTrainInProcesses trains on stories with one worker process and with two, of
// one core each. What is compared holds all that a user waits for: processes that start,
// models that are opened, groups, merges.
func BenchmarkTrainInProcesses(b *testing.B) {
	var lines []string
	for _, p := range stories.Pairs(1, 4000, "happy", "sad") {
		lines = append(lines, line([]string{p.Beginning + " " + p.Positive.String(), p.Beginning + " " + p.Negative.String()}))
	}
	glob := split(b, lines)
	for _, processes := range []int{1, 2} {
		b.Run(fmt.Sprint(processes), func(b *testing.B) {
			var counters *metrics.Results
			for b.Loop() {
				p, s := beam.NewPipelineWithRoot()
				job := pipeline.Job{Model: "demo", Groups: 64, Pools: processes}
				pipeline.WriteVector(s, pipeline.Train(s, textio.Read(s, glob), job), filepath.Join(b.TempDir(), "v"))
				var err error
				if counters, err = workers.Run(context.Background(), p, workers.Options{Env: []string{"GOMAXPROCS=1"}}); err != nil {
					b.Fatal(err)
				}
			}
			computed := float64(counter(counters, pipeline.ComputedTokens))
			b.ReportMetric(computed/b.Elapsed().Seconds()*float64(b.N), "tokens/s")
		})
	}
}
