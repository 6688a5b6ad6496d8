// Command steer-beam trains steering vectors, extracts activations and evaluates
// vectors on many machines, as an Apache Beam pipeline:
//
//	steer-beam --model REF --pairs 'pairs-*.jsonl' --out V.safetensors
//	steer-beam --model REF --pairs 'pairs-*.jsonl' --activations PREFIX
//	steer-beam --model REF --data 'held-out-*.jsonl' --vector V.safetensors --rows ROWS.jsonl
//
// With --workers N the work is done by N processes of this machine. Otherwise Beam's
// own flags say where it is done, such as --runner=flink --endpoint=HOST:PORT; without
// any, in this process.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	"github.com/steervec/steer"
	"github.com/steervec/steer/beam/pipeline"
	"github.com/steervec/steer/beam/workers"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// asked is what the flags say.
type asked struct {
	job                            pipeline.Job
	evaluation                     pipeline.Evaluation
	pairs, out, activations        string
	data, rows, text               string
	positiveSystem, negativeSystem string
	workers, attempts              int
}

func main() {
	a := asked{evaluation: pipeline.Evaluation{Multipliers: []float64{-1.5, -1, -0.5, 0, 0.5, 1, 1.5}}}
	a.flags()
	flag.Parse()
	beam.Init() // a worker's process ends here

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := a.check(); err != nil {
		fmt.Fprintf(os.Stderr, "steer-beam: %v (see steer-beam --help)\n", err)
		os.Exit(2)
	}
	if err := a.run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "steer-beam: %v\n", err)
		os.Exit(1)
	}
}

func (a *asked) flags() {
	job, e := &a.job, &a.evaluation
	flag.StringVar(&job.Model, "model", "", "`REF` of the model, as every worker finds it: a folder, a GGUF file, a Hub id, or demo")
	flag.StringVar(&job.DType, "dtype", "auto", "number `FORMAT` of the products: auto, f32 or bf16")

	flag.StringVar(&a.pairs, "pairs", "", "`GLOB` of files with a pair on each line, in any file system that Beam reads")
	flag.StringVar(&a.out, "out", "", "`FILE` for the vector")
	flag.StringVar(&a.activations, "activations", "", "`PREFIX` of the files for activations, in place of a vector")
	flag.StringVar((*string)(&job.Site), "layer-type", string(lm.DecoderBlock), "`SITE`: where in the layers")
	flag.StringVar(&job.Layers, "layers", "", "`LAYERS` to read; all when not given")
	flag.StringVar(&job.Read, "read-token", "", "`READING`: what is read of a prompt where a pair does not say; the last token when not given")
	flag.StringVar(&job.Aggregator, "aggregator", "mean", "`RECIPE`: how activations become a direction")

	flag.StringVar(&a.data, "data", "", "`GLOB` of files of what is asked, as for steer eval; several are JSON Lines")
	flag.StringVar(&a.rows, "rows", "", "`FILE` for the rows of the evaluation")
	flag.Func("vector", "`VECTOR` to evaluate, again for more: a file, or a JSON object whose vector is one and that says how it acts", a.addVector)
	flag.Func("multipliers", "`LIST` of numbers; -1.5,-1,-0.5,0,0.5,1,1.5 when not given", func(text string) (err error) {
		e.Multipliers, err = parseNumbers(text)
		return err
	})
	flag.BoolVar(&e.Chat, "chat", false, "ask each question through the model's chat template")
	flag.StringVar(&a.text, "text", "", "neutral `FILE`, on which the cost is measured; the data's own prompts when not given")
	flag.IntVar(&e.TextTokens, "text-tokens", 512, "`N` tokens of it are taken")
	flag.IntVar(&e.Random, "random", 3, "compare with `N` random vectors of the same length")
	flag.StringVar(&a.positiveSystem, "positive-system", "", "`TEXT` that asks for the behaviour, to compare with")
	flag.StringVar(&a.negativeSystem, "negative-system", "", "`TEXT` that asks for its opposite")
	flag.Uint64Var(&e.Seed, "seed", 1, "`SEED` of random vectors and intervals")
	flag.IntVar(&e.Resamples, "resamples", 1000, "`N` draws of the bootstrap that the intervals come from")

	flag.IntVar(&job.Groups, "groups", 64, "put the work into `N` groups that share prefixes; each is computed at once by one worker")
	flag.StringVar(&job.Keep, "keep", "", "`FOLDER`, in any file system that Beam knows, where the groups' results stay, so that a job that is run again takes them from there")
	flag.IntVar(&a.workers, "workers", 0, "compute in `N` processes of this machine")
	flag.IntVar(&a.attempts, "attempts", 3, "with --workers: begin the job `N` times at most, where processes die")
}

// addVector reads a vector and how it acts.
func (a *asked) addVector(text string) error {
	how := steer.Intervention{Vector: text}
	if strings.HasPrefix(text, "{") {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		how.Vector = ""
		if err := decoder.Decode(&how); err != nil {
			return err
		}
	}
	vector, err := steer.LoadVector(how.Vector)
	if err == nil && how.When != nil {
		how.When, err = how.When.Embed(vector, steer.LoadVector)
	}
	a.evaluation.Uses = append(a.evaluation.Uses, eval.Use{Vector: vector, Intervention: how})
	return err
}

func parseNumbers(text string) (numbers []float64, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), nil
}

// check returns an error where the flags make no sense together, and completes what
// they say.
func (a *asked) check() error {
	evaluates := a.data != "" || a.rows != "" || len(a.evaluation.Uses) > 0
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case evaluates == (a.pairs != ""):
		return errors.New("give either --pairs, or --data with --vector and --rows")
	case evaluates && (a.data == "" || a.rows == ""):
		return errors.New("an evaluation needs --data, --vector and --rows")
	case (a.out == "") == (a.activations == "") && !evaluates:
		return errors.New("give one of --out and --activations")
	case evaluates && a.out+a.activations != "":
		return errors.New("--out and --activations go with --pairs")
	case a.workers < 0 || a.workers > 1024:
		return fmt.Errorf("--workers %d is not from 0 to 1024", a.workers)
	case a.attempts < 1:
		return fmt.Errorf("--attempts %d is less than 1", a.attempts)
	case (a.positiveSystem == "") != (a.negativeSystem == ""):
		return errors.New("give both of --positive-system and --negative-system, or neither")
	}
	a.job.Pools = a.workers
	if !evaluates {
		return a.job.Check()
	}
	a.evaluation.Job = a.job
	if a.positiveSystem != "" {
		a.evaluation.Instruction = &pairs.Instruction{Positive: a.positiveSystem, Negative: a.negativeSystem}
	}
	if a.text != "" {
		text, err := os.ReadFile(a.text)
		if err != nil {
			return err
		}
		a.evaluation.Text = string(text)
	}
	return a.evaluation.Check()
}

// run builds the pipeline, runs it, and says what was computed where the runner tells.
func (a *asked) run(ctx context.Context) error {
	p, s := beam.NewPipelineWithRoot()
	switch {
	case a.rows != "":
		data := pipeline.ReadData(s, a.data)
		pipeline.WriteRows(s, data, pipeline.Measure(s, data, a.evaluation), a.evaluation, a.rows)
	case a.out != "":
		pipeline.WriteVector(s, pipeline.Train(s, textio.Read(s, a.pairs), a.job), a.out)
	default:
		pipeline.Extract(s, textio.Read(s, a.pairs), a.job, a.activations)
	}
	if a.workers == 0 {
		return beamx.Run(ctx, p)
	}
	counters, err := workers.Run(ctx, p, workers.Options{Attempts: a.attempts})
	if err != nil {
		return err
	}
	total := map[string]int64{}
	for _, c := range counters.AllMetrics().Counters() {
		if c.Namespace() == pipeline.Counters {
			total[c.Name()] += c.Result()
		}
	}
	fmt.Printf("%d tokens given, %d computed\n", total[pipeline.GivenTokens], total[pipeline.ComputedTokens])
	return nil
}
