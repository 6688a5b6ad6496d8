package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"

	"github.com/steervec/steer"
	"github.com/steervec/steer/beam/pipeline"
	"github.com/steervec/steer/beam/workers"
	"github.com/steervec/steer/pairs"
)

// workerProcess returns the process of the worker whose name has an ending, of those
// that carry a mark; 0: there is none (yet).
func workerProcess(mark, ending string) int {
	entries, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range entries {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		var marked, named bool
		for variable := range strings.SplitSeq(string(data), "\x00") {
			name, value, _ := strings.Cut(variable, "=")
			marked = marked || variable == mark
			named = named || name == "STEER_BEAM_WORKER" && strings.HasSuffix(value, ending)
		}
		var process int
		if _, err := fmt.Sscanf(path, "/proc/%d/", &process); err == nil && marked && named {
			return process
		}
	}
	return 0
}

// killing returns a runner that kills a worker process once, as the system does with
// processes that take too much memory, as soon as ready says so, and fails the test
// where the job ended before.
func killing(t *testing.T, ending string, attempts int, ready func() bool) runner {
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("processes cannot be looked for here")
	}
	return func(ctx context.Context, p *beam.Pipeline) (*metrics.Results, error) {
		mark := fmt.Sprintf("STEER_TEST=%s %d", t.Name(), os.Getpid())
		ctx, cancel := context.WithCancel(ctx)
		killed := make(chan int, 1)
		go func() {
			defer close(killed)
			for ctx.Err() == nil {
				if process := workerProcess(mark, ending); process != 0 && ready() {
					if victim, err := os.FindProcess(process); err == nil && victim.Kill() == nil {
						killed <- process
						return
					}
				}
				time.Sleep(time.Millisecond)
			}
		}()
		counters, err := workers.Run(ctx, p, workers.Options{Env: []string{mark}, Attempts: attempts})
		cancel()
		if <-killed == 0 {
			t.Error("no worker was killed")
		}
		if process := workerProcess(mark, ""); process != 0 {
			t.Errorf("worker process %d is left", process)
		}
		return counters, err
	}
}

// anyOf reports whether files that match are there.
func anyOf(pattern string) func() bool {
	return func() bool { files, _ := filepath.Glob(pattern); return len(files) > 0 }
}

func always() bool { return true }

func TestAKilledWorkerChangesNothing(t *testing.T) {
	glob, want := split(t, moods()), trained(t, "demo", "mean", moods())
	for _, test := range []struct {
		name, ending string
		keep         bool
	}{
		{"one that computes, and has computed something", "pool-1", true},
		{"one that computes", "pool-0", false},
		{"the one that groups and merges", "_go", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			job, ready := pipeline.Job{Model: "demo", Groups: 20, Pools: 2}, always
			if test.keep {
				job.Keep = t.TempDir()
				ready = anyOf(filepath.Join(job.Keep, "*.part"))
			}
			got, counters := train(t, job, glob, killing(t, test.ending, 2, ready))
			same(t, got, want)
			given := counter(counters, pipeline.GivenTokens)
			if all := givenTokens(t); test.keep && given >= all || !test.keep && given != all {
				t.Errorf("%d tokens were given to the attempt that succeeded; there are %d", given, all)
			}
		})
	}
}

// givenTokens is how many tokens the prompts of all pairs have.
func givenTokens(t *testing.T) int64 {
	t.Helper()
	file, err := pairs.Read(strings.NewReader(strings.Join(moods(), "\n")), "pairs")
	if err != nil {
		t.Fatal(err)
	}
	statistics, err := steer.Collect(t.Context(), open(t, "demo"), file.Samples, steer.TrainOptions{Aggregator: mean(t)})
	if err != nil {
		t.Fatal(err)
	}
	return int64(statistics.Usage.Given)
}

func TestAWorkerThatIsKilledWhileItEvaluatesChangesNothing(t *testing.T) {
	e := evaluation(t, "demo")
	e.Job.Keep = t.TempDir()
	got := evaluate(t, e, split(t, questions()), killing(t, "pool-0", 2, anyOf(filepath.Join(e.Job.Keep, "*.part"))))
	if !bytes.Equal(got, rows(t, e, questions())) {
		t.Error("the rows are others than those of one machine")
	}
}

// Activations are written while workers compute: what a killed one leaves half-written
// must not stay.
func TestAWorkerThatIsKilledWhileItWritesLeavesWholeFiles(t *testing.T) {
	glob := split(t, moods())
	extract := func(run runner, folder string) map[string]string {
		p, s := beam.NewPipelineWithRoot()
		pipeline.Extract(s, textio.Read(s, glob), pipeline.Job{Model: "demo", Groups: 20, Pools: 2}, filepath.Join(folder, "a"))
		if _, err := run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			data, err := os.ReadFile(filepath.Join(folder, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			files[entry.Name()] = string(data)
		}
		return files
	}
	interrupted := t.TempDir()
	got := extract(killing(t, "pool-1", 2, anyOf(filepath.Join(interrupted, "*.safetensors"))), interrupted)
	want := extract(inProcesses, t.TempDir())
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs from that of a job that lost no worker", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("there are %d files, and not %d", len(got), len(want))
	}
}

func TestAJobThatMayNotBeginAnewSaysWhoDied(t *testing.T) {
	out := filepath.Join(t.TempDir(), "v")
	p, s := beam.NewPipelineWithRoot()
	pipeline.WriteVector(s, pipeline.Train(s, textio.Read(s, split(t, moods())), pipeline.Job{Model: "demo", Pools: 2}), out)
	_, err := killing(t, "pool-0", 1, always)(t.Context(), p)
	if died := (*workers.DiedError)(nil); !errors.As(err, &died) || !strings.HasSuffix(died.Worker, "pool-0") || died.State != "signal: killed" {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("there is a vector")
	}
}
