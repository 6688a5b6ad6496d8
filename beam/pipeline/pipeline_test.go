package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	"github.com/steervec/steer"
	"github.com/steervec/steer/beam/pipeline"
	"github.com/steervec/steer/beam/workers"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/demo/stories"
	"github.com/steervec/steer/pairs"
)

// The tests' own program is what their runner starts as workers.
func TestMain(m *testing.M) {
	flag.Parse()
	beam.Init() // a worker's process ends here
	os.Exit(m.Run())
}

// moods are pairs of stories, each twice with another ending, so that there are
// prefixes to share, and one of them once more.
func moods() (lines []string) {
	for _, p := range stories.Pairs(1, 30, "happy", "sad") {
		for _, end := range []string{"", " It was late."} {
			lines = append(lines, line([]string{p.Beginning + " " + p.PositiveStatement + end, p.Beginning + " " + p.NegativeStatement + end}))
		}
	}
	return append(lines, lines[0])
}

// questions are stories of which one ending shows the mood.
func questions() (lines []string) {
	type side struct {
		Prompt   string `json:"prompt"`
		Response string `json:"response"`
	}
	for _, p := range stories.Pairs(2, 12, "happy", "sad") {
		lines = append(lines, line(map[string]side{
			"positive": {p.Beginning, " " + p.Positive.String()}, "negative": {p.Beginning, " " + p.Negative.String()},
		}))
	}
	return lines
}

func line(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // texts only
	}
	return string(data)
}

// split writes lines into files that end at awkward places: one with a single line, one
// without a last line end, one with the ends and the blank lines of Windows, an
// empty one, and one whose name has a space.
func split(t testing.TB, lines []string) (glob string) {
	t.Helper()
	folder := t.TempDir()
	half := len(lines) / 2
	for name, content := range map[string]string{
		"a.jsonl": lines[0] + "\n", "b.jsonl": strings.Join(lines[1:4], "\n"), "c.jsonl": strings.Join(lines[4:half], "\r\n\r\n") + "\r\n",
		"d.jsonl": "", "e e.jsonl": "\n" + strings.Join(lines[half:], "\n\n"),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "*.jsonl")
}

// golden writes the checkpoint of a golden.
func golden(t *testing.T, name string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if err := seeded.Write(filepath.Join("..", "..", "testdata", "goldens", name), folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

func open(t *testing.T, model string) *lm.Model {
	t.Helper()
	m, err := lm.Open(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// trained is the vector of a single machine.
func trained(t *testing.T, model, aggregator string, lines []string) *steer.Vector {
	t.Helper()
	file, err := pairs.Read(strings.NewReader(strings.Join(lines, "\n")), "pairs")
	if err != nil {
		t.Fatal(err)
	}
	a, err := steer.ParseAggregator(aggregator)
	if err != nil {
		t.Fatal(err)
	}
	v, err := steer.Train(t.Context(), open(t, model), file.Samples, steer.TrainOptions{Aggregator: a})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A runner runs a pipeline and returns what its workers counted; nil: it was not asked.
type runner func(context.Context, *beam.Pipeline) (*metrics.Results, error)

func inThisProcess(ctx context.Context, p *beam.Pipeline) (*metrics.Results, error) {
	return nil, beamx.Run(ctx, p)
}

func inProcesses(ctx context.Context, p *beam.Pipeline) (*metrics.Results, error) {
	return workers.Run(ctx, p, workers.Options{})
}

// train trains a vector by a pipeline.
func train(t *testing.T, job pipeline.Job, glob string, run runner) (*steer.Vector, *metrics.Results) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "v.safetensors")
	p, s := beam.NewPipelineWithRoot()
	pipeline.WriteVector(s, pipeline.Train(s, textio.Read(s, glob), job), out)
	counters, err := run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	v, err := steer.LoadVector(out)
	if err != nil {
		t.Fatal(err)
	}
	return v, counters
}

func same(t *testing.T, got, want *steer.Vector) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the vector is another than that of one machine: %+v, %+v", got.Provenance, want.Provenance)
	}
}

func TestAPipelineGivesTheVectorOfOneMachine(t *testing.T) {
	llama := golden(t, "llama")
	for _, test := range []struct {
		name, model, aggregator string
		groups, pools           int
		run                     runner
	}{
		{"mean, in this process", "demo", "mean", 3, 0, inThisProcess},
		{"pca, one group", "demo", "pca", 1, 0, inThisProcess},
		{"mean, more groups than prompts", "demo", "mean", 500, 0, inThisProcess},
		{"mean, in two processes", "demo", "mean", 7, 2, inProcesses},
		{"pca, in two processes", "demo", "pca", 7, 2, inProcesses},
		{"logistic, in two processes", "demo", "logistic", 7, 2, inProcesses},
		{"mean of a golden, in two processes", llama, "mean", 5, 2, inProcesses},
		{"pca of a golden, in two processes", llama, "pca", 5, 2, inProcesses},
		{"logistic of a golden, in two processes", llama, "logistic", 5, 2, inProcesses},
	} {
		t.Run(test.name, func(t *testing.T) {
			job := pipeline.Job{Model: test.model, Aggregator: test.aggregator, Groups: test.groups, Pools: test.pools}
			got, _ := train(t, job, split(t, moods()), test.run)
			same(t, got, trained(t, test.model, test.aggregator, moods()))
		})
	}
}

// Beam reads files in blocks of 64 MB, by several workers at once. Lines across the
// boundary, and lines that are long, belong to one of them.
func TestALargeFileIsReadInBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pairs.jsonl")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	padding := strings.Repeat(" ", 90<<20/len(moods()))
	for _, line := range moods() {
		if _, err := file.WriteString(padding + line + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := train(t, pipeline.Job{Model: "demo", Groups: 4}, path, inThisProcess)
	same(t, got, trained(t, "demo", "mean", moods()))
}

// evaluation is one that has all that rows can have: vectors with conditions of their
// own, baselines, and costs.
func evaluation(t *testing.T, model string) pipeline.Evaluation {
	t.Helper()
	vector := trained(t, model, "mean", moods())
	some, err := steer.ParseLayers("1:3")
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.Evaluation{
		Job: pipeline.Job{Model: model, Groups: 5, Pools: 2},
		Uses: []eval.Use{
			{Vector: vector, Intervention: steer.Intervention{Vector: "happy.safetensors", Tokens: "response", Layers: some}},
		},
		Multipliers: []float64{-0.5, 0, 0.5}, Random: 1, Seed: 3, Resamples: 100, TextTokens: 64,
		Instruction: &pairs.Instruction{Positive: "Be happy.", Negative: "Be sad."},
	}
}

// rows are those of a single machine.
func rows(t *testing.T, e pipeline.Evaluation, lines []string) []byte {
	t.Helper()
	file, err := pairs.ReadItems(strings.NewReader(strings.Join(lines, "\n")), "data")
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, e.Job.Model)
	evaluator, err := eval.NewEvaluator(t.Context(), m, eval.Options{Items: file.Items, Text: eval.TextOf(file.Items), TextTokens: e.TextTokens, Seed: e.Seed, Resamples: e.Resamples})
	if err != nil {
		t.Fatal(err)
	}
	arms, err := eval.Baselines{Random: e.Random, Seed: e.Seed, Instruction: e.Instruction}.Arms(m, e.Uses, e.Multipliers)
	if err != nil {
		t.Fatal(err)
	}
	steered, err := eval.Arms(m, e.Uses, e.Multipliers)
	if err != nil {
		t.Fatal(err)
	}
	out, err := evaluator.Rows(t.Context(), append(arms, steered...), nil)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := eval.EncodeRows(&text, out); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

// evaluate evaluates by a pipeline.
func evaluate(t *testing.T, e pipeline.Evaluation, glob string, run runner) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "rows.jsonl")
	p, s := beam.NewPipelineWithRoot()
	data := pipeline.ReadData(s, glob)
	pipeline.WriteRows(s, data, pipeline.Measure(s, data, e), e, out)
	if _, err := run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAPipelineGivesTheRowsOfOneMachine(t *testing.T) {
	for name, model := range map[string]string{"demo": "demo", "golden": golden(t, "qwen2")} {
		t.Run(name, func(t *testing.T) {
			e := evaluation(t, model)
			want := rows(t, e, questions())
			if n := bytes.Count(want, []byte("\n")); n < 10 {
				t.Fatalf("there are only %d rows", n)
			}
			if got := evaluate(t, e, split(t, questions()), inProcesses); !bytes.Equal(got, want) {
				t.Errorf("the rows are others than those of one machine:\n%s\n%s", got, want)
			}
		})
	}
}

func TestActivationsAreTheirLines(t *testing.T) {
	folder := t.TempDir()
	p, s := beam.NewPipelineWithRoot()
	pipeline.Extract(s, textio.Read(s, split(t, moods())), pipeline.Job{Model: "demo", Layers: "2", Groups: 4}, filepath.Join(folder, "a"))
	if err := beamx.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	var all []string
	files, err := filepath.Glob(filepath.Join(folder, "a-*.safetensors"))
	if err != nil || len(files) < 2 {
		t.Fatalf("there are %d files: %v", len(files), err)
	}
	for _, path := range files {
		data, err := os.ReadFile(strings.TrimSuffix(path, ".safetensors") + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		all = append(all, lines...)
		activations, err := steer.LoadActivations(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := steer.Aggregate(activations, mean(t))
		if err != nil {
			t.Fatal(err)
		}
		want := trained(t, "demo", "mean", lines)
		if !reflect.DeepEqual(got.Layers[2], want.Layers[2]) {
			t.Errorf("%s has other activations than its lines", path)
		}
	}
	if len(all) != len(moods()) {
		t.Errorf("%d lines became %d", len(moods()), len(all))
	}
}

func mean(t *testing.T) steer.Aggregator {
	t.Helper()
	a, err := steer.ParseAggregator("mean")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestMistakesAreNamed(t *testing.T) {
	for _, test := range []struct{ name, lines, wanted string }{
		{"a line that is no pair", `{"positive": "a"}`, "negative"},
		{"two pairs on a line", `["a", "b"]["c", "d"]`, "line"},
		{"nothing", "\n\n", "there are no pairs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pairs.jsonl")
			if err := os.WriteFile(path, []byte(test.lines), 0o666); err != nil {
				t.Fatal(err)
			}
			p, s := beam.NewPipelineWithRoot()
			pipeline.WriteVector(s, pipeline.Train(s, textio.Read(s, path), pipeline.Job{Model: "demo"}), filepath.Join(t.TempDir(), "v"))
			err := beamx.Run(t.Context(), p)
			if err == nil || !strings.Contains(err.Error(), test.wanted) {
				t.Errorf("the error is %v, without %q", err, test.wanted)
			}
		})
	}
}

// counter returns what the workers counted.
func counter(counters *metrics.Results, name string) (total int64) {
	for _, c := range counters.AllMetrics().Counters() {
		if c.Name() == name && c.Namespace() == pipeline.Counters {
			total += c.Result()
		}
	}
	return total
}
