// Command steer-beam trains steering vectors and extracts activations on many
// machines, as an Apache Beam pipeline:
//
//	steer-beam --model REF --pairs 'pairs-*.jsonl' --out V.safetensors
//	steer-beam --model REF --pairs 'pairs-*.jsonl' --activations PREFIX
//
// With --workers N the work is done by N processes of this machine. Otherwise Beam's
// own flags say where it is done, such as --runner=flink --endpoint=HOST:PORT; without
// any, in this process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	"github.com/steervec/steer/beam/pipeline"
	"github.com/steervec/steer/beam/workers"
	"github.com/steervec/steer/lm"
)

func main() {
	var job pipeline.Job
	var site string
	flag.StringVar(&job.Model, "model", "", "`REF` of the model, as every worker finds it: a folder, a GGUF file, a Hub id, or demo")
	pairs := flag.String("pairs", "", "`GLOB` of files with a pair on each line, in any file system that Beam reads")
	out := flag.String("out", "", "`FILE` for the vector")
	activations := flag.String("activations", "", "`PREFIX` of the files for activations, in place of a vector")
	flag.StringVar(&job.DType, "dtype", "auto", "number `FORMAT` of the products: auto, f32 or bf16")
	flag.StringVar(&site, "layer-type", string(lm.DecoderBlock), "`SITE`: where in the layers")
	flag.StringVar(&job.Layers, "layers", "", "`LAYERS` to read; all when not given")
	flag.StringVar(&job.Read, "read-token", "", "`READING`: what is read of a prompt where a pair does not say; the last token when not given")
	flag.StringVar(&job.Aggregator, "aggregator", "mean", "`RECIPE`: how activations become a direction")
	flag.IntVar(&job.Groups, "groups", 64, "put the pairs into `N` groups that share prefixes; each is computed at once by one worker")
	processes := flag.Int("workers", 0, "compute in `N` processes of this machine")
	flag.Parse()
	beam.Init() // a worker's process ends here

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	job.Site, job.Pools = lm.Site(site), *processes
	if err := check(job, *pairs, *out, *activations, *processes); err != nil {
		fmt.Fprintf(os.Stderr, "steer-beam: %v (see steer-beam --help)\n", err)
		os.Exit(2)
	}
	p, s := beam.NewPipelineWithRoot()
	lines := textio.Read(s, *pairs)
	if *out != "" {
		pipeline.WriteVector(s, pipeline.Train(s, lines, job), *out)
	} else {
		pipeline.Extract(s, lines, job, *activations)
	}
	var err error
	if *processes > 0 {
		_, err = workers.Run(ctx, p, workers.Options{})
	} else {
		err = beamx.Run(ctx, p)
	}
	if err != nil {
		fail(err)
	}
}

func check(job pipeline.Job, pairs, out, activations string, processes int) error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case pairs == "":
		return errors.New("--pairs is missing")
	case (out == "") == (activations == ""):
		return errors.New("give one of --out and --activations")
	case processes < 0 || processes > 1024:
		return fmt.Errorf("--workers %d is not from 0 to 1024", processes)
	}
	return job.Check()
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "steer-beam: %v\n", err)
	os.Exit(1)
}
