package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// gpt2 is the checkpoint of tests for which any will do.
var gpt2 string

const goldens = "../../testdata/goldens/"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "steer")
	if err != nil {
		panic(err)
	}
	gpt2 = filepath.Join(dir, "gpt2")
	if err := seeded.Write(goldens+"gpt2", gpt2); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// eachGolden runs a test on checkpoints of which the reference's results are known.
func eachGolden(t *testing.T, test func(t *testing.T, g *golden)) {
	for _, name := range []string{"gpt2", "llama_bf16", "llama"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			if err := seeded.Write(goldens+name, dir); err != nil {
				t.Fatal(err)
			}
			test(t, readGolden(t, dir))
		})
	}
}

type golden struct {
	Pairs []struct {
		Positive string `json:"positive"`
		Negative string `json:"negative"`
	}
	Probe struct {
		Text      string
		Positions []int `json:"positions_of_activations"`
	}
	Generation struct {
		Prompt string
		IDs    []int `json:"prompt_ids"`
		Cases  []struct {
			Key    string
			NewIDs []int `json:"new_ids"`
		}
	}

	dir   string // of the checkpoint, which has the golden's name
	pairs string // a file of the pairs
}

func readGolden(t *testing.T, dir string) *golden {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldens, filepath.Base(dir), "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{dir: dir, pairs: filepath.Join(t.TempDir(), "pairs.json")}
	if err := json.Unmarshal(data, g); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(g.Pairs)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.pairs, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return g
}

// steerWith runs a command line and returns what it printed.
func steerWith(ctx context.Context, in string, args ...string) (code int, out, diagnostics string) {
	var o, d bytes.Buffer
	code = run(ctx, args, strings.NewReader(in), &o, &d)
	return code, o.String(), d.String()
}

// must runs a command line that has to succeed, and say nothing but its result
// and notes.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, diagnostics := steerWith(t.Context(), "", args...)
	if code != exitOK || !onlyNotes(diagnostics) {
		t.Fatalf("steer %q: exit code %d: %s", args, code, diagnostics)
	}
	return out
}

func onlyNotes(diagnostics string) bool {
	for line := range strings.Lines(diagnostics) {
		if !strings.HasPrefix(line, "note: ") {
			return false
		}
	}
	return true
}

// answer decodes the JSON that a command line prints.
func answer[T any](t *testing.T, args ...string) (value T) {
	t.Helper()
	out := must(t, append(args, "--json")...)
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("steer %q: %v in %s", args, err, out)
	}
	return value
}

// tensorsWithin compares a file's tensor with the part of a golden one: of a
// layer, or the last rows. part -1 is the whole.
func (g *golden) tensorsWithin(t *testing.T, path, name, goldenName string, part int, tolerance float32) {
	t.Helper()
	got, want := tensor(t, path, name), g.tensor(t, goldenName)
	if part >= 0 {
		n := len(want) / goldenLayers
		want = want[part*n : (part+1)*n]
	}
	if len(got) < len(want) {
		t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
	}
	got = got[len(got)-len(want):]
	for i := range got {
		if d := got[i] - want[i]; !(d <= tolerance && -d <= tolerance) {
			t.Fatalf("%s: value %d is %v, want %v", name, i, got[i], want[i])
		}
	}
}

// goldenLayers is how many layers the goldens have.
const goldenLayers = 3

func (g *golden) tensor(t *testing.T, name string) []float32 {
	t.Helper()
	return tensor(t, filepath.Join(goldens, filepath.Base(g.dir), "golden.safetensors"), name)
}

func tensor(t *testing.T, path, name string) []float32 {
	t.Helper()
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

func TestTrainWritesTheReferencesVector(t *testing.T) {
	eachGolden(t, func(t *testing.T, g *golden) {
		out := filepath.Join(t.TempDir(), "v.safetensors")
		report := answer[work](t, "train", "--model", g.dir, "--pairs", g.pairs, "--out", out, "--layers", "1,-1", "--dtype", "f32")
		if report.Prompts != 2*len(g.Pairs) || report.Computed >= report.Given || report.Computed == 0 ||
			report.Seconds <= 0 || !slices.Equal(report.Layers, []int{1, 2}) || report.Out != out {
			t.Errorf("reported %+v", report)
		}
		g.tensorsWithin(t, out, "layer.1", "train.decoder_block.mean", 1, 2e-4)
		g.tensorsWithin(t, out, "layer.2", "train.decoder_block.mean", 2, 2e-4)
		if names := filesBeside(t, out); len(names) != 1 {
			t.Errorf("beside the vector %q are left", names)
		}
	})
}

func TestExtractThenAggregateIsTrain(t *testing.T) {
	g := readGolden(t, gpt2)
	for _, aggregator := range []string{"mean", "pca", "logistic"} {
		t.Run(aggregator, func(t *testing.T) {
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			selection := []string{"--model", gpt2, "--pairs", g.pairs, "--read-token", "-2", "--layer-type", "mlp", "--layers", "-1,1"}
			must(t, append([]string{"train", "--out", at("v"), "--aggregator", aggregator}, selection...)...)
			must(t, append([]string{"extract", "--out", at("a")}, selection...)...)
			must(t, "aggregate", "--activations", at("a"), "--aggregator", aggregator, "--out", at("w"))
			for _, side := range []string{"positive", "negative"} {
				if n := len(tensor(t, at("a"), side+".2")); n != 48*len(g.Pairs) {
					t.Errorf("%s.2 has %d values", side, n)
				}
			}
			v, w := loadVector(t, at("v")), loadVector(t, at("w"))
			if v.Provenance != w.Provenance || v.Site != w.Site || len(v.Layers) != 2 || len(w.Layers) != 2 {
				t.Errorf("%+v and %+v differ", v, w)
			}
			for layer, direction := range v.Layers {
				for i, x := range direction {
					if d := x - w.Layers[layer][i]; d > 1e-5 || d < -1e-5 {
						t.Fatalf("layer %d, value %d: %v and %v", layer, i, x, w.Layers[layer][i])
					}
				}
			}
		})
	}
}

func loadVector(t *testing.T, path string) *steer.Vector {
	t.Helper()
	v, err := steer.LoadVector(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRecordWritesTheReferencesActivations(t *testing.T) {
	eachGolden(t, func(t *testing.T, g *golden) {
		out := filepath.Join(t.TempDir(), "r.safetensors")
		record := []string{"record", "--model", g.dir, "--prompt", g.Probe.Text, "--out", out, "--dtype", "f32"}
		check := func(name, golden string, layer int) {
			t.Helper()
			got, want := tensor(t, out, name), g.tensor(t, golden)
			const width = 48
			for i, position := range g.Probe.Positions {
				for j, v := range want[(layer*len(g.Probe.Positions)+i)*width:][:width] {
					if d := got[position*width+j] - v; !(d <= 1e-3 && -d <= 1e-3) {
						t.Fatalf("%s: value %d of token %d is %v, want %v", name, j, position, got[position*width+j], v)
					}
				}
			}
		}
		must(t, append(record, "--layer-type", "self_attn", "--layers", "-2", "--logits")...)
		check("self_attn.1", "act.self_attn", 1)
		g.tensorsWithin(t, out, "logits", "logits", -1, 1e-3)
		must(t, record...)
		for layer := range goldenLayers {
			check(fmt.Sprintf("decoder_block.%d", layer), "act.decoder_block", layer)
		}
	})
}

func TestRecordShowsTheSteeredModel(t *testing.T) {
	eachGolden(t, func(t *testing.T, g *golden) {
		dir := t.TempDir()
		vector, out := filepath.Join(dir, "v"), filepath.Join(dir, "r")
		must(t, "train", "--model", g.dir, "--pairs", g.pairs, "--out", vector, "--dtype", "f32")
		for golden, flags := range map[string][]string{
			"steer.add_2.5":                {"--vector", vector + ":2.5", "--steer-layers", "0,-1"},
			"steer.ablation_then_addition": {"--vector", vector + ":2.5", "--steer-layers", "0,2", "--operator", "ablate-then-add"},
			"steer.token_indices":          {"--vector", vector, "--steer-layers", "0,2", "--tokens", "1,-4"},
			"steer.slice":                  {"--vector", vector, "--steer-layers", "0,2", "--tokens", "1::2"},
			"steer.min_token_index":        {"--vector", vector, "--steer-layers", "0,2", "--min-token", "3"},
		} {
			f, err := safetensors.Open(filepath.Join(goldens, filepath.Base(g.dir), "golden.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			_, there := f.Tensor(golden)
			f.Close()
			if !there {
				continue
			}
			must(t, append([]string{"record", "--model", g.dir, "--prompt", g.Probe.Text, "--out", out, "--dtype", "f32", "--logits"}, flags...)...)
			g.tensorsWithin(t, out, "logits", golden, -1, 1e-3)
		}
	})
}

func TestGenerateWritesTheReferencesTokens(t *testing.T) {
	eachGolden(t, func(t *testing.T, g *golden) {
		vector := filepath.Join(t.TempDir(), "v:1.safetensors") // a colon in a name is no multiplier
		must(t, "train", "--model", g.dir, "--pairs", g.pairs, "--out", vector, "--dtype", "f32")
		for _, c := range g.Generation.Cases {
			steering := map[string][]string{
				"unsteered":                {},
				"add_2.5":                  {"--vector", vector + ":2.5", "--steer-layers", "0,2"},
				"add_-2.5_min_token_index": {"--vector", vector + ":-2.5", "--steer-layers", "0,-1", "--tokens", "response"},
				"ablation_then_addition_2": {"--vector", vector + ":2", "--steer-layers", "0,2", "--operator", "ablate-then-add"},
			}[c.Key]
			args := append([]string{"generate", "--model", g.dir, "--dtype", "f32", "--max-tokens", "8", "--ignore-eos"}, steering...)
			got := answer[generated](t, append(args, "--prompt", g.Generation.Prompt)...)
			if !slices.Equal(got.IDs, c.NewIDs) || !slices.Equal(got.PromptIDs, g.Generation.IDs) || got.Finish != "length" {
				t.Errorf("%s: wrote %+v, want %v", c.Key, got, c.NewIDs)
			}
			text := got.Text
			ids := strings.Trim(strings.ReplaceAll(fmt.Sprint(g.Generation.IDs), " ", ","), "[]")
			if got := answer[generated](t, append(args, "--prompt-ids", ids)...); !slices.Equal(got.IDs, c.NewIDs) {
				t.Errorf("%s: from ids, wrote %v, want %v", c.Key, got.IDs, c.NewIDs)
			}
			if got := must(t, append(args, "--prompt", g.Generation.Prompt)...); got != text+"\n" {
				t.Errorf("%s: printed %q, want %q", c.Key, got, text)
			}
		}
	})
}

func TestSeveralVectorsActTogether(t *testing.T) {
	g := readGolden(t, gpt2)
	vector := filepath.Join(t.TempDir(), "v")
	must(t, "train", "--model", gpt2, "--pairs", g.pairs, "--out", vector, "--layers", "1,2")
	plain := []string{"generate", "--model", gpt2, "--prompt", g.Generation.Prompt, "--max-tokens", "6"}
	steered := append(slices.Clone(plain), "--vector", vector+":2.5")
	unsteered := append(slices.Clone(steered), "--vector", vector+":-2.5")
	if must(t, steered...) == must(t, plain...) {
		t.Error("a vector changes nothing")
	}
	if got, want := must(t, unsteered...), must(t, plain...); got != want {
		t.Errorf("a vector and its opposite make %q of %q", got, want)
	}
}

func TestAPromptMayComeFromStandardInput(t *testing.T) {
	g := readGolden(t, gpt2)
	args := []string{"generate", "--model", gpt2, "--max-tokens", "4", "--prompt"}
	want := must(t, append(args, g.Generation.Prompt)...)
	if code, got, diagnostics := steerWith(t.Context(), g.Generation.Prompt+"\n", append(args, "-")...); code != exitOK || got != want {
		t.Errorf("exit code %d, %q, %q; want %q", code, got, diagnostics, want)
	}
}

// What is asked for twice and summed must agree with what generation chose.
func TestScoreGivesEachTokensLogProbability(t *testing.T) {
	got := answer[scores](t, "score", "--model", gpt2, "--prompt", "The weather is", "--continuation", " good", "--continuation", "\"\n")
	if len(got.PromptIDs) == 0 || len(got.Continuations) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, c := range got.Continuations {
		sum := 0.0
		for _, token := range c.Tokens {
			sum += token.Logprob
			if !(token.Logprob < 0) || token.Token == "" {
				t.Errorf("token %+v", token)
			}
		}
		if sum != c.Logprob || len(c.Tokens) == 0 {
			t.Errorf("%q: %v, but its tokens sum to %v", c.Continuation, c.Logprob, sum)
		}
	}
}

func TestInformationCommandsAnswer(t *testing.T) {
	g := readGolden(t, gpt2)
	vector := filepath.Join(t.TempDir(), "v.safetensors")
	must(t, "train", "--model", gpt2, "--pairs", g.pairs, "--out", vector)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"score", "--model", gpt2, "--prompt", "The sky", "--continuation", " is"}, `" is"`},
		{[]string{"tokenize", "--model", gpt2, "--text", "The sky"}, `"T`},
		{[]string{"tokenize", "--model", gpt2, "--text", "The sky", "--json"}, `"offsets": [`},
		{[]string{"inspect", vector}, "mean\n"},
		{[]string{"inspect", vector, "--json"}, `"pairs_hash": "sha256:`},
		{[]string{"inspect", gpt2}, "transformer.h.{num}.mlp"},
		{[]string{"inspect", gpt2, "--json"}, `"family": "gpt2"`},
		{[]string{"--version"}, "steer (devel)"},
		{[]string{"version"}, "steer (devel)"},
		{[]string{}, "\nCommands:\n"},
		{[]string{"help", "train"}, "--resume"},
		{[]string{"completion", "bash"}, "bash completion"},
	} {
		if out := must(t, test.args...); !strings.Contains(out, test.want) {
			t.Errorf("steer %q printed %q, which does not say %q", test.args, out, test.want)
		}
	}
}

func TestEveryCommandsHelpHasAnExampleAndGroupsItsFlags(t *testing.T) {
	for _, c := range newRoot().Commands() {
		if c.Name() == "version" || c.Name() == "completion" || c.Name() == "help" {
			continue
		}
		help := must(t, c.Name(), "--help")
		for _, want := range []string{"\nExample:\n", "\nOutput:\n", "--json", "steer " + c.Name() + " "} {
			if !strings.Contains(help, want) {
				t.Errorf("steer %s --help has no %q:\n%s", c.Name(), want, help)
			}
		}
	}
}

func TestMistakesHaveTheirExitCodeAndOneLine(t *testing.T) {
	g := readGolden(t, gpt2)
	dir := t.TempDir()
	out, vector := filepath.Join(dir, "out"), filepath.Join(dir, "v")
	must(t, "train", "--model", gpt2, "--pairs", g.pairs, "--out", vector, "--layers", "1")
	empty := filepath.Join(dir, "empty.jsonl")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	train := []string{"train", "--model", gpt2, "--pairs", g.pairs, "--out", out}
	generate := []string{"generate", "--model", gpt2, "--prompt", "a"}
	with := func(base []string, more ...string) []string { return append(slices.Clone(base), more...) }
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown command", []string{"frobnicate"}, exitUsage, `steer: unknown command "frobnicate" (see steer --help)`},
		{"command with a slip", []string{"trian"}, exitUsage, `did you mean train?`},
		{"help for no command", []string{"help", "trian"}, exitUsage, `steer help: there is no command "trian"`},
		{"unknown flag", []string{"train", "--frob"}, exitUsage, "steer train: unknown flag: --frob (see steer train --help)"},
		{"missing flag", []string{"train", "--model", gpt2}, exitUsage, "--pairs is missing"},
		{"empty flag", []string{"train", "--model", ""}, exitUsage, "--model is empty"},
		{"flag without its value", []string{"train", "--model"}, exitUsage, "flag needs an argument: --model"},
		{"stray argument", []string{"train", "more"}, exitUsage, `unexpected argument "more"`},
		{"unknown aggregator", with(train, "--aggregator", "median"), exitUsage, "it is one of mean, mean-centred, pca, logistic"},
		{"unknown number format", with(train, "--dtype", "f8"), exitUsage, "it is one of auto, f32, bf16"},
		{"unknown layer type", with(train, "--layer-type", "attention"), exitUsage, "it is one of decoder_block"},
		{"bad layer list", with(train, "--layers", "1,x"), exitUsage, `"x" is not a layer`},
		{"empty layer list", with(train, "--layers", ""), exitUsage, `"" is not a layer`},
		{"no memory to compute in", with(train, "--run-tokens", "0"), exitUsage, "it is not from 1 to 2147483647"},
		{"reading of nothing", with(train, "--read-token", "last"), exitUsage, `"last" says nothing that can be read`},
		{"output that is a folder", []string{"train", "--model", gpt2, "--pairs", g.pairs, "--out", dir}, exitUsage, "is not a file"},
		{"output that is a device", []string{"train", "--model", gpt2, "--pairs", g.pairs, "--out", os.DevNull}, exitUsage, "is not a file"},
		{"no prompt", []string{"generate", "--model", gpt2}, exitUsage, "give one of --prompt, --prompt-ids and --prompts"},
		{"two prompts", with(generate, "--prompt-ids", "1"), exitUsage, "give one of --prompt, --prompt-ids and --prompts"},
		{"empty prompt", []string{"generate", "--model", gpt2, "--prompt", ""}, exitUsage, "--prompt is empty"},
		{"empty continuation", []string{"score", "--model", gpt2, "--prompt", "a", "--continuation", ""}, exitUsage, "--continuation is empty"},
		{"chat from ids", []string{"generate", "--model", gpt2, "--prompt-ids", "1", "--chat"}, exitUsage, "--chat needs a text"},
		{"probability out of range", with(generate, "--top-p", "1.5"), exitUsage, "it is not from 0 to 1"},
		{"temperature that is no number", with(generate, "--temperature", "NaN"), exitUsage, "it is not from 0"},
		{"steering without a vector", with(generate, "--operator", "add"), exitUsage, "no --vector is given"},
		{"unknown operator", with(generate, "--vector", vector, "--operator", "turn"), exitUsage, "it is one of add, add-same-norm, add-nearest, ablate"},
		{"two selections of tokens", with(generate, "--vector", vector, "--tokens", "prompt", "--min-token", "1"), exitUsage, "give one of"},
		{"selection with a mistake", with(generate, "--vector", vector, "--tokens", "1::0"), exitUsage, "step 0 is not positive"},
		{"position that is no number", with(generate, "--vector", vector, "--min-token", "1.5"), exitUsage, "it is not a whole number"},
		{"multiplier that is no number", with(generate, "--vector", "v:two"), exitUsage, `"two" is not a multiplier`},
		{"multiplier without end", with(generate, "--vector", vector+":Inf"), exitUsage, "+Inf"},
		{"condition without a vector", with(generate, "--when", "always"), exitUsage, "--when says how to steer, but no --vector is given"},
		{"condition with a mistake", with(generate, "--vector", vector, "--when", vector+":0>x"), exitUsage, `"x" is not a threshold`},
		{"condition in JSON with a mistake", with(generate, "--vector", vector, "--when", `{"above":1,"layr":2}`), exitUsage, `unknown field "layr"`},
		{"condition that is always and more", with(generate, "--vector", vector, "--when", "always", "--when", vector+":0>1"), exitUsage, "not combined with others"},
		{"condition without a file", with(generate, "--vector", vector, "--when", "gone:0>1"), exitFailure, "gone"},
		{"condition that a file does not have", with(generate, "--vector", vector, "--when", vector), exitFailure, "no condition of its own"},
		{"condition that comes too late", with(generate, "--vector", vector, "--when", `{"layer":1,"above":1,"read":"token"}`), exitUsage, "not known yet"},
		{"inside and outside", with(generate, "--vector", vector, "--inside", "a,b", "--outside", "a,b"), exitUsage, "give one of --inside and --outside"},
		{"inside of what has no end", with(generate, "--vector", vector, "--inside", "a"), exitUsage, "it is not BEGIN,END"},
		{"half-life of nothing", with(generate, "--vector", vector, "--half-life", "0"), exitUsage, "not a number of tokens"},
		{"condition that is not trained from a pipe", []string{"train-condition", "--model", gpt2, "--positive", "-", "--negative", g.pairs, "--out", out}, exitUsage, "name a file"},
		{"condition of no prompts", []string{"train-condition", "--model", gpt2, "--positive", g.pairs, "--out", out}, exitUsage, "--negative is missing"},
		{"ablation by nothing", with(generate, "--vector", vector+":0", "--operator", "ablate"), exitUsage, "multiplier is 0"},
		{"layer that the vector lacks", with(generate, "--vector", vector, "--steer-layers", "-1"), exitUsage, "has no layer 2"},
		{"layer to steer out of range", with(generate, "--vector", vector, "--steer-layers", "3"), exitUsage, "layer 3 is out of range"},
		{"nothing to inspect", []string{"inspect"}, exitUsage, "name a file or a model"},
		{"one file to convert", []string{"convert", "a"}, exitUsage, "not 1"},
		{"unknown producer", []string{"convert", vector, out, "--from", "nobody"}, exitUsage, "it is one of steer, repeng"},
		{"name without a format", []string{"convert", vector, out}, exitUsage, "--to names one"},
		{"ranks of a sum", []string{"combine", vector, "--out", out, "--rank", "2"}, exitUsage, "--rank is for --how principal"},
		{"nothing to combine", []string{"combine", "--out", out}, exitUsage, "name the vectors"},
		{"two files for the doctor", []string{"doctor", vector, vector}, exitUsage, "not 2"},

		{"token outside the prompt", with(generate, "--vector", vector, "--tokens", "7"), exitFailure, "token 7 is outside the prompt"},
		{"vector that is not there", with(generate, "--vector", "nothing:2"), exitFailure, "open nothing"},
		{"vector that is none", with(generate, "--vector", empty), exitFailure, "empty.jsonl"},
		{"activations that are none", []string{"aggregate", "--activations", vector, "--out", out}, exitFailure, "not named positive.<layer>"},
		{"pairs that are not there", []string{"train", "--model", gpt2, "--pairs", "nothing", "--out", out}, exitFailure, "open nothing"},
		{"pairs file without pairs", []string{"train", "--model", gpt2, "--pairs", empty, "--out", out}, exitFailure, "empty.jsonl"},
		{"layer out of range", with(train, "--layers", "7"), exitFailure, "layer 7 is out of range"},
		{"read token outside a prompt", with(train, "--read-token", "99"), exitFailure, "read token 99 is outside"},
		{"token id outside the vocabulary", []string{"generate", "--model", gpt2, "--prompt-ids", "1,99999"}, exitFailure, "99999"},
		{"model without a chat template", with(generate, "--chat"), exitFailure, "no chat template"},
		{"model that is not there", []string{"inspect", "./nowhere"}, exitFailure, "./nowhere"},
		{"file that is not there", []string{"inspect", "nowhere.safetensors"}, exitFailure, "open nowhere.safetensors"},
		{"output in no folder", []string{"train", "--model", gpt2, "--pairs", g.pairs, "--out", filepath.Join(out, "no", "v")}, exitFailure, "cannot be written"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, printed, diagnostics := steerWith(t.Context(), "", test.args...)
			if code != test.code || !strings.Contains(diagnostics, test.want) {
				t.Errorf("exit code %d and %q, want %d and %q", code, diagnostics, test.code, test.want)
			}
			if printed != "" || strings.Count(diagnostics, "\n") != 1 || !strings.HasPrefix(diagnostics, "steer") {
				t.Errorf("printed %q and %q: a mistake is told in one line", printed, diagnostics)
			}
		})
	}
	if files := filesBeside(t, out); len(files) != 2 {
		t.Errorf("mistakes left %q", files)
	}
}

// An interrupt leaves the state of the run and no half-written file. The run
// goes on from there to the same bytes.
func TestAnInterruptedRunGoesOnToTheSameBytes(t *testing.T) {
	g := readGolden(t, gpt2)
	for _, aggregator := range []string{"mean", "pca", "logistic"} {
		t.Run(aggregator, func(t *testing.T) {
			dir := t.TempDir()
			whole, out := filepath.Join(dir, "whole"), filepath.Join(dir, "out")
			args := func(out string, more ...string) []string {
				return append([]string{"train", "--model", gpt2, "--pairs", g.pairs, "--out", out, "--run-tokens", "5", "--aggregator", aggregator}, more...)
			}
			ctx := &interrupted{Context: t.Context(), after: math.MaxInt64}
			if code, _, diagnostics := steerWith(ctx, "", args(whole)...); code != exitOK {
				t.Fatal(diagnostics)
			}

			asked := math.MaxInt64 - ctx.after
			ctx = &interrupted{Context: t.Context(), after: asked * 3 / 4}
			code, printed, diagnostics := steerWith(ctx, "", args(out)...)
			if code != exitFailure || printed != "" || !strings.Contains(diagnostics, "steer train: stopped; "+out+".state keeps what was done") {
				t.Fatalf("exit code %d, %q, %q", code, printed, diagnostics)
			}
			if files := filesBeside(t, out); !slices.Equal(files, []string{"out.state", "whole"}) {
				t.Errorf("an interrupt leaves %q", files)
			}

			report := answer[map[string]any](t, args(out, "--resume")...)
			all := answer[map[string]any](t, args(whole)...)
			if given, computed := report["given_tokens"].(float64), report["computed_tokens"].(float64); given != all["given_tokens"].(float64) || computed < all["computed_tokens"].(float64) {
				t.Errorf("the counts after both runs are %v tokens given and %v computed, not those of the whole, %v", given, computed, all)
			}
			if files := filesBeside(t, out); !slices.Equal(files, []string{"out", "whole"}) {
				t.Errorf("a finished run leaves %q", files)
			}
			one, err := os.ReadFile(whole)
			if err != nil {
				t.Fatal(err)
			}
			two, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(one, two) {
				t.Error("the vector of the resumed run differs")
			}
		})
	}
}

// interrupted is a context that is cancelled after it was asked a number of times.
type interrupted struct {
	context.Context
	after int64
}

func (c *interrupted) Err() error {
	if atomic.AddInt64(&c.after, -1) < 0 {
		return context.Canceled
	}
	return c.Context.Err()
}

func TestARunBeginsAnewWithANoteAboutAnOldState(t *testing.T) {
	g := readGolden(t, gpt2)
	out := filepath.Join(t.TempDir(), "v")
	args := []string{"train", "--model", gpt2, "--pairs", g.pairs, "--out", out, "--run-tokens", "5"}
	if err := os.WriteFile(out+".state", []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{nil, {"--resume"}} {
		if code, _, diagnostics := steerWith(t.Context(), "", append(args, more...)...); code != exitFailure || !strings.Contains(diagnostics, "v.state") {
			t.Errorf("what is no state, with %q: exit code %d, %q", more, code, diagnostics)
		}
	}
	if err := os.Remove(out + ".state"); err != nil {
		t.Fatal(err)
	}
	ctx := &interrupted{Context: t.Context(), after: math.MaxInt64}
	steerWith(ctx, "", args...)
	steerWith(&interrupted{Context: t.Context(), after: (math.MaxInt64 - ctx.after) * 3 / 4}, "", args...)
	code, _, diagnostics := steerWith(t.Context(), "", args...)
	if code != exitOK || !strings.HasPrefix(diagnostics, "note: ") {
		t.Errorf("exit code %d, %q", code, diagnostics)
	}
	if files := filesBeside(t, out); len(files) != 1 {
		t.Errorf("left %q", files)
	}
}

func TestAnInterruptEndsWaitingForStandardInput(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, hold := io.Pipe()
	defer hold.Close()
	cancel()
	var out, diagnostics bytes.Buffer
	if code := run(ctx, []string{"generate", "--model", gpt2, "--prompt", "-"}, in, &out, &diagnostics); code != exitFailure || diagnostics.String() != "steer generate: stopped\n" {
		t.Errorf("exit code %d, %q", code, diagnostics.String())
	}
}

// filesBeside returns the names in a file's folder.
func filesBeside(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
