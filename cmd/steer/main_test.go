package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

const model = "../../testdata/goldens/gpt2"

// steerWith runs a command line and returns what it printed.
func steerWith(t *testing.T, args ...string) (code int, out, diagnostics string) {
	t.Helper()
	var o, d bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &o, &d)
	return code, o.String(), d.String()
}

// must runs a command line that has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, diagnostics := steerWith(t, args...)
	if code != exitOK {
		t.Fatalf("steer %v: exit code %d: %s", args, code, diagnostics)
	}
	return out
}

type golden struct {
	Pairs []struct {
		Positive string `json:"positive"`
		Negative string `json:"negative"`
	}
	Probe      struct{ Text string }
	Generation struct {
		Prompt string
		IDs    []int `json:"prompt_ids"`
		Max    int   `json:"max_new_tokens"`
		Cases  []struct {
			Key    string
			NewIDs []int `json:"new_ids"`
			Text   string
		}
	}
}

func readGolden(t *testing.T) (g golden, pairs string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(model, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(g.Pairs)
	if err != nil {
		t.Fatal(err)
	}
	pairs = filepath.Join(t.TempDir(), "pairs.json")
	if err := os.WriteFile(pairs, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return g, pairs
}

// tensorsWithin compares a file's tensor with the golden of a name.
func tensorsWithin(t *testing.T, path, name, goldenName string, tolerance float32) {
	t.Helper()
	read := func(path, name string) []float32 {
		f, err := safetensors.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		tensor, ok := f.Tensor(name)
		if !ok {
			t.Fatalf("%s has no tensor %q, only %q", path, name, f.Names())
		}
		values, err := tensor.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	got, want := read(path, name), read(filepath.Join(model, "golden.safetensors"), goldenName)
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
	}
	for i := range got {
		if d := got[i] - want[i]; !(d <= tolerance && -d <= tolerance) {
			t.Fatalf("%s: value %d is %v, want %v", name, i, got[i], want[i])
		}
	}
}

func TestTrainWritesTheReferencesVector(t *testing.T) {
	_, pairs := readGolden(t)
	out := filepath.Join(t.TempDir(), "v.safetensors")
	report := must(t, "train", "--model", model, "--pairs", pairs, "--out", out, "--layers", "1,-1", "--json")
	var counts struct {
		Prompts        int     `json:"prompts"`
		GivenTokens    int     `json:"given_tokens"`
		ComputedTokens int     `json:"computed_tokens"`
		Seconds        float64 `json:"seconds"`
	}
	if err := json.Unmarshal([]byte(report), &counts); err != nil {
		t.Fatalf("%v in %s", err, report)
	}
	if counts.Prompts != 14 || counts.ComputedTokens >= counts.GivenTokens || counts.ComputedTokens == 0 {
		t.Errorf("reported %s", report)
	}
	tensorsWithin(t, out, "layer.1", "train.decoder_block.mean.-1.1", 2e-4)
	tensorsWithin(t, out, "layer.3", "train.decoder_block.mean.-1.3", 2e-4)
	if _, err := os.Stat(out + ".state"); !os.IsNotExist(err) {
		t.Error("the state of a finished run is left")
	}
}

func TestExtractThenAggregateIsTrain(t *testing.T) {
	_, pairs := readGolden(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, "train", "--model", model, "--pairs", pairs, "--out", at("v"), "--read-token", "-2", "--aggregator", "pca", "--layer-type", "mlp")
	must(t, "extract", "--model", model, "--pairs", pairs, "--out", at("a"), "--read-token", "-2", "--layer-type", "mlp")
	must(t, "aggregate", "--activations", at("a"), "--aggregator", "pca", "--out", at("w"))
	v, err := steer.LoadVector(at("v"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := steer.LoadVector(at("w"))
	if err != nil {
		t.Fatal(err)
	}
	if v.Provenance != w.Provenance || v.LayerType != w.LayerType || len(v.Layers) != len(w.Layers) {
		t.Errorf("%+v and %+v differ", v, w)
	}
}

func TestRecordWritesTheReferencesActivations(t *testing.T) {
	g, _ := readGolden(t)
	out := filepath.Join(t.TempDir(), "r.safetensors")
	must(t, "record", "--model", model, "--prompt", g.Probe.Text, "--out", out, "--layer-type", "self_attn", "--layers", "-2", "--logits")
	tensorsWithin(t, out, "self_attn.2", "act.self_attn.2", 1e-3)
	tensorsWithin(t, out, "logits", "logits", 1e-3)
}

func TestGenerateWritesTheReferencesTokens(t *testing.T) {
	g, pairs := readGolden(t)
	vector := filepath.Join(t.TempDir(), "v.safetensors")
	must(t, "train", "--model", model, "--pairs", pairs, "--out", vector)
	for _, c := range g.Generation.Cases {
		args := []string{"generate", "--model", model, "--prompt", g.Generation.Prompt, "--max-tokens", "12", "--ignore-eos", "--json"}
		steering := map[string][]string{
			"unsteered":                {},
			"add_2.5":                  {"--vector", vector + ":2.5", "--steer-layers", "1,2"},
			"add_-1":                   {"--vector", vector + ":-1", "--steer-layers", "1,2"},
			"add_2.5_min_token_index":  {"--vector", vector + ":2.5", "--steer-layers", "1,2", "--tokens", "response"},
			"ablation_then_addition_2": {"--vector", vector + ":2", "--steer-layers", "1,2", "--operator", "ablate-then-add"},
		}[c.Key]
		var got struct {
			PromptIDs []int `json:"prompt_ids"`
			IDs       []int
			Text      string
		}
		if err := json.Unmarshal([]byte(must(t, append(args, steering...)...)), &got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.IDs, c.NewIDs) || got.Text != c.Text || !slices.Equal(got.PromptIDs, g.Generation.IDs) {
			t.Errorf("%s: wrote %v %q, want %v %q", c.Key, got.IDs, got.Text, c.NewIDs, c.Text)
		}
	}
}

func TestOtherCommandsAnswer(t *testing.T) {
	_, pairs := readGolden(t)
	vector := filepath.Join(t.TempDir(), "v.safetensors")
	must(t, "train", "--model", model, "--pairs", pairs, "--out", vector)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"score", "--model", model, "--prompt", "The sky", "--continuation", " is", "--json"}, `"logprob": -`},
		{[]string{"tokenize", "--model", model, "--text", "The sky", "--json"}, `"ids": [`},
		{[]string{"inspect", vector}, "aggregator     mean"},
		{[]string{"inspect", model}, "transformer.h.{num}.mlp"},
		{[]string{"inspect", model, "--json"}, `"family": "gpt2"`},
		{[]string{"--version"}, "steer version"},
		{[]string{}, "Available Commands"},
	} {
		if out := must(t, test.args...); !strings.Contains(out, test.want) {
			t.Errorf("steer %v printed %q, which does not say %q", test.args, out, test.want)
		}
	}
}

func TestMistakesHaveTheirExitCode(t *testing.T) {
	_, pairs := readGolden(t)
	out := filepath.Join(t.TempDir(), "out")
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown command", []string{"frobnicate"}, exitUsage, `unknown command "frobnicate"`},
		{"unknown flag", []string{"train", "--frob"}, exitUsage, "unknown flag: --frob"},
		{"missing flag", []string{"train", "--model", model}, exitUsage, "--pairs is missing"},
		{"stray argument", []string{"train", "more"}, exitUsage, `unexpected argument "more"`},
		{"unknown aggregator", []string{"train", "--aggregator", "median"}, exitUsage, "it is mean, pca or logistic"},
		{"bad layer list", []string{"train", "--model", model, "--pairs", pairs, "--out", out, "--layers", "1,x"}, exitUsage, `"x" is not a whole number`},
		{"steering without a vector", []string{"generate", "--model", model, "--prompt", "a", "--operator", "add"}, exitUsage, "no --vector is given"},
		{"vector that is not there", []string{"generate", "--model", model, "--prompt", "a", "--vector", "nothing"}, exitFailure, "nothing"},
		{"multiplier that is no number", []string{"generate", "--model", model, "--prompt", "a", "--vector", "v:two"}, exitUsage, `"two" is not a multiplier`},
		{"layer out of range", []string{"train", "--model", model, "--pairs", pairs, "--out", out, "--layers", "7"}, exitFailure, "layer 7 is out of range"},
		{"model that is not there", []string{"inspect", "./nowhere"}, exitFailure, "no such"},
		{"output in no folder", []string{"train", "--model", model, "--pairs", pairs, "--out", filepath.Join(out, "no", "v")}, exitFailure, "--out"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, _, diagnostics := steerWith(t, test.args...)
			if code != test.code || !strings.Contains(diagnostics, test.want) {
				t.Errorf("exit code %d and %q, want %d and %q", code, diagnostics, test.code, test.want)
			}
		})
	}
}

// An interrupt leaves no half-written file, and the run can go on.
func TestAnInterruptedRunLeavesNoOutput(t *testing.T) {
	_, pairs := readGolden(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, diagnostics bytes.Buffer
	args := []string{"train", "--model", model, "--pairs", pairs, "--out", filepath.Join(dir, "v")}
	if code := run(ctx, args, nil, &out, &diagnostics); code != exitFailure || !strings.Contains(diagnostics.String(), "stopped") {
		t.Errorf("exit code %d and %q", code, diagnostics.String())
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 0 {
		t.Errorf("%v is left (%v)", files, err)
	}
	must(t, append(args, "--resume")...)
}
