// Package workers runs a pipeline of package pipeline with worker processes on this
// machine: several at once, each with a model of its own, under Beam's Prism runner.
//
// Prism starts one worker for each environment that a pipeline names. So each pool of
// a pipeline is given an environment of its own; runners for clusters start as many
// workers as they like by themselves and need no pools.
package workers

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/util/grpcx"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/steervec/steer/beam/pipeline"
)

const processURN = "beam:env:process:v1"

// Run runs a pipeline under Prism, in this process, with a worker process for
// what belongs to no pool and one for each pool. The workers are this program,
// which must call [Boot] first thing. It returns the counters that the workers kept.
func Run(ctx context.Context, p *beam.Pipeline) (beam.PipelineResult, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	edges, _, err := p.Build()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]string{"command": self})
	if err != nil {
		return nil, err
	}
	environment, err := graphx.CreateEnvironment(ctx, processURN, func(context.Context) string { return string(config) })
	if err != nil {
		return nil, err
	}
	model, err := graphx.Marshal(edges, &graphx.Options{Environment: environment, PipelineResourceHints: jobopts.GetPipelineResourceHints()})
	if err != nil {
		return nil, err
	}
	part(model.GetComponents())
	endpoint, err := serve(ctx)
	if err != nil {
		return nil, err
	}
	return runnerlib.Execute(ctx, model, endpoint, &runnerlib.JobOptions{Name: jobopts.GetJobName(), Worker: self}, false)
}

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
		own := proto.Clone(c.Environments[t.GetEnvironmentId()]).(*pipepb.Environment)
		own.Dependencies = nil // the worker is on this machine already
		c.Environments[environment] = own
	}
	t.EnvironmentId = environment
}

// serve starts Prism's job service and returns where it listens.
func serve(ctx context.Context) (endpoint string, err error) {
	listener, err := net.Listen("tcp", "localhost:0") // a port that is free
	if err != nil {
		return "", err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return "", err
	}
	if _, err := prism.CreateJobServer(ctx, prism.Options{Port: port}); err != nil {
		return "", err
	}
	return fmt.Sprintf("localhost:%d", port), nil
}

// Boot makes this process a worker where a runner started it as one: then it works,
// and does not return. Else it does nothing; it comes before flags are parsed. A runner
// says where it is to be asked for the rest; the flags of Beam's worker are put in the
// place of what it said.
func Boot() error {
	var id, provision string
	for _, argument := range os.Args[1:] {
		name, value, _ := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		switch name {
		case "id":
			id = strings.Trim(value, "'")
		case "provision_endpoint":
			provision = value
		}
	}
	if provision == "" {
		return nil
	}
	connection, err := grpc.NewClient(provision, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("ask %s for the work: %w", provision, err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(grpcx.WriteWorkerID(context.Background(), id), time.Minute)
	defer cancel()
	answer, err := fnpb.NewProvisionServiceClient(connection).GetProvisionInfo(ctx, &fnpb.GetProvisionInfoRequest{})
	if err != nil {
		return fmt.Errorf("ask %s for the work: %w", provision, err)
	}
	info := answer.GetInfo()
	os.Args = []string{os.Args[0], "--worker", "--id=" + id, "--logging_endpoint=" + info.GetLoggingEndpoint().GetUrl(), "--control_endpoint=" + info.GetControlEndpoint().GetUrl()}
	if err := os.Setenv("RUNNER_CAPABILITIES", strings.Join(info.GetRunnerCapabilities(), " ")); err != nil {
		return err
	}
	flag.Parse()
	beam.Init() // the worker's life
	return errors.New("the worker went on after its end")
}
