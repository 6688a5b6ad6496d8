package cli

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
)

// moodFiles are a vector, trained on the pairs of the tests, and what is held out.
func moodFiles(t *testing.T) (vector, pairs, heldOut, neutral string) {
	t.Helper()
	vector, pairs = filepath.Join(t.TempDir(), "mood.safetensors"), "../../testdata/mood.jsonl"
	must(t, "train", "--model", "demo", "--pairs", pairs, "--layers", "3", "--out", vector)
	return vector, pairs, "../../testdata/held-out.jsonl", "../../testdata/neutral.txt"
}

func TestEvalMeasuresTheVectorBesideItsBaselines(t *testing.T) {
	vector, _, heldOut, neutral := moodFiles(t)
	told := answer[evaluation](t, "eval", "--model", "demo", "--data", heldOut, "--vector", vector+",tokens=response", "--text", neutral,
		"--multipliers", "0.6,0,-0.6", "--random", "2", "--positive-system", "Anna was very happy.", "--negative-system", "Anna was very sad.")
	count := map[eval.Baseline]int{}
	for _, row := range told.Rows {
		if row.Set == eval.Choices {
			count[row.Baseline]++
		}
		if row.Baseline == "" && (row.Scope != "response" || !slices.Equal(row.Layers, []int{3}) || row.Operator != "add" || row.Aggregator != "mean") {
			t.Errorf("a point is %+v", row.Point)
		}
		if row.Set == eval.Cost && row.Baseline == "" && row.Metrics[eval.FirstKL].Value != 0 {
			t.Errorf("the first token after a prompt is steered by the response: %+v", row.Metrics)
		}
	}
	for baseline, want := range map[eval.Baseline]int{"": 3, eval.NoSteering: 1, eval.ZeroStrength: 1, eval.RandomVector: 4, eval.PositivePrompt: 1, eval.NegativePrompt: 1} {
		if count[baseline] != want {
			t.Errorf("%d rows of baseline %q, want %d", count[baseline], baseline, want)
		}
	}
	if told.Data.Count != 24 || told.Text.Path != neutral || told.Work.Saved() <= 0 || len(told.Vectors) != 1 {
		t.Errorf("told %+v, %+v, %+v", told.Data, told.Text, told.Work)
	}
	text := must(t, "eval", "--model", "demo", "--data", heldOut, "--vector", vector, "--multipliers", "0.5", "--random", "0")
	for _, part := range []string{"propensity", "not steered", "the vector at 0", "steered at 0.5", "kl95", "% saved"} {
		if !strings.Contains(text, part) {
			t.Errorf("there is no %q in\n%s", part, text)
		}
	}
}

// A calibration is written into the vector's file; strengths are then multiples of
// it, everywhere, and without it refused.
func TestStrengthsComeFromTheCalibration(t *testing.T) {
	vector, _, _, neutral := moodFiles(t)
	generate := func(args ...string) generated {
		return answer[generated](t, append([]string{"generate", "--model", "demo", "--prompt", "Anna had a red kite. One day,", "--max-tokens", "12"}, args...)...)
	}
	code, _, diagnostics := steerWith(t.Context(), "", "generate", "--model", "demo", "--prompt", "Anna", "--vector", vector, "--strength", "1")
	if code != exitUsage || !strings.Contains(diagnostics, "no calibration") {
		t.Errorf("a strength without a calibration: exit code %d, %s", code, diagnostics)
	}
	told := answer[calibrated](t, "calibrate", "--model", "demo", "--vector", vector, "--text", neutral, "--budget", "0.5", "--text-tokens", "200")
	v, err := steer.LoadVector(vector)
	if err != nil {
		t.Fatal(err)
	}
	c := v.Calibration
	if c == nil || c.Multiplier != told.Multiplier || c.Budget != 0.5 || c.Operator != "add" || !slices.Equal(c.Layers, []int{3}) || c.TextHash != told.Text.Hash {
		t.Fatalf("the file has %+v, told is %+v", c, told)
	}
	if math.Abs(told.Measured.Value/0.5-1) > 0.05 {
		t.Errorf("the strength costs %+v", told.Measured)
	}
	for _, test := range []struct {
		name string
		args []string
		want float64
	}{
		{"a flag", []string{"--vector", vector, "--strength", "2"}, 2 * c.Multiplier},
		{"behind the name", []string{"--vector", vector + ",strength=-0.5"}, -0.5 * c.Multiplier},
		{"behind the name, against the flag", []string{"--vector", vector + ",strength=1", "--strength", "2"}, c.Multiplier},
		{"a multiplier behind the name, against the flag", []string{"--vector", vector + ":0.25", "--strength", "2"}, 0.25},
	} {
		if got := generate(test.args...); got.Vectors[0].Multiplier != test.want {
			t.Errorf("%s: multiplier %v, want %v", test.name, got.Vectors[0].Multiplier, test.want)
		}
	}
	other := generate("--vector", vector, "--strength", "1", "--tokens", "response")
	if len(other.Notes) == 0 || !strings.Contains(other.Notes[0], "calibrated with tokens all") {
		t.Errorf("another use than that which was calibrated: notes %q", other.Notes)
	}
	for name, args := range map[string][]string{
		"a strength and a multiplier": {"--vector", vector + ":2,strength=1"},
		"a strength that is none":     {"--vector", vector + ",strength=much"},
	} {
		if code, _, _ := steerWith(t.Context(), "", append([]string{"generate", "--model", "demo", "--prompt", "Anna"}, args...)...); code != exitUsage {
			t.Errorf("%s: exit code %d", name, code)
		}
	}
	if code, _, diagnostics := steerWith(t.Context(), "", "calibrate", "--model", "demo", "--vector", vector+":2", "--text", neutral); code != exitUsage {
		t.Errorf("calibrating at a multiplier: exit code %d, %s", code, diagnostics)
	}
	doubled := filepath.Join(t.TempDir(), "doubled.safetensors")
	must(t, "combine", vector+",strength=2", "--out", doubled)
	twice, err := steer.LoadVector(doubled)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := twice.Norms()[3], 2*c.Multiplier*v.Norms()[3]; math.Abs(got/want-1) > 1e-6 || twice.Calibration != nil {
		t.Errorf("combined at a strength of 2 the vector is %v long, want %v; calibration %v", got, want, twice.Calibration)
	}
	out := filepath.Join(t.TempDir(), "other.safetensors")
	before, err := os.ReadFile(vector)
	if err != nil {
		t.Fatal(err)
	}
	must(t, "calibrate", "--model", "demo", "--vector", vector, "--text", neutral, "--text-tokens", "100", "--continue", "-1", "--out", out)
	if after, err := os.ReadFile(vector); err != nil || string(after) != string(before) {
		t.Errorf("the vector was changed although --out names another file (%v)", err)
	}
	if v, err := steer.LoadVector(out); err != nil || v.Calibration == nil || v.Calibration.Budget != 1 {
		t.Errorf("the other file: %v", err)
	}
}

// A sweep that is run again by its manifest, or goes on after an interrupt, has the
// same rows; other data are refused.
func TestSweepsAreRunAgain(t *testing.T) {
	_, pairs, heldOut, neutral := moodFiles(t)
	dir := t.TempDir()
	rows := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name, "rows.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	args := func(name string, more ...string) []string {
		return append([]string{"sweep", "--model", "demo", "--pairs", pairs, "--eval", heldOut, "--text", neutral, "--layers", "2,3", "--multipliers", "-0.5,0.5",
			"--random", "1", "--resamples", "50", "--text-tokens", "100", "--generate", "2", "--max-tokens", "8", "--words", "happy,smiled", "--out", filepath.Join(dir, name)}, more...)
	}
	told := answer[eval.Manifest](t, args("first")...)
	if told.Result == nil || told.Rows != strings.Count(rows("first"), "\n") || len(told.Command) < 4 || told.Model.Ref != "demo" {
		t.Errorf("the manifest is %+v", told)
	}
	if _, err := os.Stat(filepath.Join(dir, "first", "report.html")); err != nil {
		t.Error(err)
	}
	manifest := filepath.Join(dir, "first", "sweep.json")
	must(t, "sweep", "--manifest", manifest, "--out", filepath.Join(dir, "again"))
	if rows("again") != rows("first") {
		t.Error("the rows of a sweep that is run again differ")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, _, diagnostics := steerWith(ctx, "", args("stopped")...)
	if code != exitFailure {
		t.Errorf("an interrupted sweep: exit code %d, %s", code, diagnostics)
	}
	must(t, args("stopped", "--resume")...)
	if rows("stopped") != rows("first") {
		t.Error("the rows of a sweep that was stopped differ")
	}

	other := filepath.Join(dir, "other.jsonl")
	if err := os.WriteFile(other, []byte(`["Anna was happy.", "Anna was sad."]`), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"other training data":       {[]string{"sweep", "--manifest", manifest, "--pairs", other, "--out", filepath.Join(dir, "x")}, exitFailure, "training data differs"},
		"a manifest and a grid":     {[]string{"sweep", "--manifest", manifest, "--layers", "1", "--out", filepath.Join(dir, "x")}, exitUsage, "beside --manifest"},
		"multipliers and budgets":   {args("x", "--budgets", "1"), exitUsage, "one of --multipliers and --budgets"},
		"another sweep to go on":    {args("first", "--resume", "--scopes", "response"), exitFailure, "grid differs"},
		"an operator that is none":  {args("x", "--operators", "add,push"), exitUsage, "push"},
		"questions without answers": {[]string{"sweep", "--model", "demo", "--pairs", pairs, "--eval", "../../pairs/testdata/open.json", "--out", filepath.Join(dir, "x")}, exitFailure, "two-sided"},
		"a judge without a name":    {args("x", "--judge-url", "http://localhost:1/v1"), exitUsage, "--judge-model"},
	} {
		code, _, diagnostics := steerWith(t.Context(), "", test.args...)
		if code != test.code || !strings.Contains(diagnostics, test.want) {
			t.Errorf("%s: exit code %d, %s", name, code, diagnostics)
		}
	}
}
