// Package workers runs a pipeline of package pipeline with worker processes on this
// machine: several at once, each with a model of its own, under Beam's Prism runner.
//
// Prism starts one worker for each environment that a pipeline names. So each pool of
// a pipeline is given an environment of its own; runners for clusters start as many
// workers as they like by themselves and need no pools.
//
// Prism gives a bundle to nobody else when its worker dies: the job fails, or waits for
// ever where the worker was idle. So the processes are this package's own, and a job
// that has lost one is cancelled and begun anew. That changes no result, since what a
// job writes appears whole and has the same bytes each time.
package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/metricsx"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"google.golang.org/protobuf/proto"

	"github.com/steervec/steer/beam/pipeline"
)

// Options say how a pipeline is run.
type Options struct {
	Attempts int      // how often a job is begun at most, where workers die; 0: 3
	Env      []string // NAME=VALUE for the workers, beside this process's own
}

// Run runs a pipeline under Prism, in this process, with a worker process for
// what belongs to no pool and one for each pool. The workers are this program, which
// must call [beam.Init] once its flags are parsed and before anything else. Run returns
// the counters that the workers kept, those of the attempt that succeeded alone.
func Run(ctx context.Context, p *beam.Pipeline, options Options) (*metrics.Results, error) {
	if os.Getenv(startedAs) != "" {
		return nil, errors.New("a worker process would run the pipeline that it works for: its program does not call beam.Init first")
	}
	attempts := options.Attempts
	if attempts == 0 {
		attempts = 3
	}
	for attempt := 1; ; attempt++ {
		counters, err := run(ctx, p, options.Env)
		if !errors.As(err, new(*DiedError)) || attempt == attempts || ctx.Err() != nil {
			return counters, err
		}
		slog.Warn("the job begins anew", "attempt", attempt+1, "of", attempts, "error", err)
	}
}

// run makes one attempt.
func run(ctx context.Context, p *beam.Pipeline, env []string) (*metrics.Results, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	pool, err := startPool(fail, env)
	if err != nil {
		return nil, err
	}
	counters, err := submit(ctx, p, pool.address())
	died := pool.close()
	if err != nil && died != nil {
		err = died // the reason of whatever the job said
	}
	return counters, err
}

// submit has Prism run a pipeline with workers from a pool, and waits for its end.
func submit(ctx context.Context, p *beam.Pipeline, pool string) (*metrics.Results, error) {
	edges, _, err := p.Build()
	if err != nil {
		return nil, err
	}
	environment, err := graphx.CreateEnvironment(ctx, graphx.URNEnvExternal, func(context.Context) string { return pool })
	if err != nil {
		return nil, err
	}
	environment.Dependencies = nil // the program is on this machine already
	model, err := graphx.Marshal(edges, &graphx.Options{Environment: environment, PipelineResourceHints: jobopts.GetPipelineResourceHints()})
	if err != nil {
		return nil, err
	}
	part(model.GetComponents())
	jobs, err := jobService()
	if err != nil {
		return nil, err
	}
	prepared, _, token, err := runnerlib.Prepare(ctx, jobs, model, &runnerlib.JobOptions{Name: jobopts.GetJobName()})
	if err != nil {
		return nil, err
	}
	id, err := runnerlib.Submit(ctx, jobs, prepared, token)
	if err != nil {
		return nil, err
	}
	err = runnerlib.WaitForCompletion(ctx, jobs, id)
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if ctx.Err() != nil { // the job knows nothing of it yet
		_, stopped := jobs.Cancel(after, &jobpb.CancelJobRequest{JobId: id})
		return nil, errors.Join(context.Cause(ctx), stopped)
	}
	if err != nil {
		return nil, err
	}
	kept, err := jobs.GetJobMetrics(after, &jobpb.GetJobMetricsRequest{JobId: id})
	if err != nil {
		return nil, fmt.Errorf("ask for the job's counters: %w", err)
	}
	return metricsx.FromMonitoringInfos(model, kept.GetMetrics().GetAttempted(), kept.GetMetrics().GetCommitted()), nil
}

// jobService is Prism, which serves all jobs of this process for as long as that lives.
var jobService = sync.OnceValues(func() (jobpb.JobServiceClient, error) {
	return prism.CreateJobServer(context.Background(), prism.Options{})
})

// part gives what belongs to each pool an environment of its own.
func part(c *pipepb.Components) {
	for _, t := range c.GetTransforms() {
		if at := strings.Index(t.GetUniqueName(), pipeline.PoolScope); at >= 0 && len(t.GetSubtransforms()) > 0 {
			move(c, t, "pool-"+t.GetUniqueName()[at+len(pipeline.PoolScope):])
		}
	}
}

// move gives a transform, and what it is made of, another environment, which is a
// copy of what it has.
func move(c *pipepb.Components, t *pipepb.PTransform, environment string) {
	for _, id := range t.GetSubtransforms() {
		move(c, c.GetTransforms()[id], environment)
	}
	if t.GetEnvironmentId() == "" {
		return
	}
	if c.Environments[environment] == nil {
		c.Environments[environment] = proto.Clone(c.Environments[t.GetEnvironmentId()]).(*pipepb.Environment)
	}
	t.EnvironmentId = environment
}
