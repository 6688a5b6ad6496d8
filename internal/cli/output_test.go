package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/internal/output"
	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

const moodPairs = "../../testdata/mood.jsonl"

// trained trains a vector of some layers of the demonstration model.
func trained(t *testing.T, layers string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "v.safetensors")
	must(t, "train", "--model", "demo", "--pairs", moodPairs, "--layers", layers, "--out", out)
	return out
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOutReplacesOnlyWhatSteerWrote(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	pairs, err := os.ReadFile(moodPairs)
	if err != nil {
		t.Fatal(err)
	}
	write(t, at("pairs.jsonl"), string(pairs))
	train := func(more ...string) []string {
		return append([]string{"train", "--model", "demo", "--layers", "3", "--pairs", at("pairs.jsonl")}, more...)
	}
	must(t, train("--out", at("v"))...)
	write(t, at("notes.txt"), "mine")
	write(t, at("empty"), "")
	if err := safetensors.Write(at("weights"), []safetensors.Tensor{safetensors.New("w", []int{1}, []float32{1})}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(at("model"), os.DirFS(gpt2)); err != nil {
		t.Fatal(err)
	}
	must(t, "extract", "--model", "demo", "--layers", "3", "--pairs", at("pairs.jsonl"), "--out", at("a"))
	must(t, "record", "--model", "demo", "--layers", "3", "--prompt", "Tom", "--out", at("r"))
	must(t, "record", "--model", "demo", "--logits", "--prompt", "Tom", "--out", at("r2"))
	for _, test := range []struct {
		name string
		args []string
		want string // "": it is written
	}{
		{"a vector", train("--out", at("v")), ""},
		{"activations", train("--out", at("a")), ""},
		{"a recording", train("--out", at("r")), ""},
		{"a recording with logits", train("--out", at("r2")), ""},
		{"an empty file", train("--out", at("empty")), ""},
		{"a file of somebody else", train("--out", at("notes.txt")), "--force replaces it"},
		{"tensors of somebody else", train("--out", at("weights")), "--force replaces it"},
		{"the pairs, by force", train("--out", at("pairs.jsonl"), "--force"), "is what the command reads"},
		{"the vector that steers", []string{"record", "--model", "demo", "--prompt", "Tom", "--vector", at("v"), "--out", at("v")}, "is what the command reads"},
		{"the activations that are aggregated", []string{"aggregate", "--activations", at("a"), "--out", at("a")}, "is what the command reads"},
		{"a file of the model, by force", []string{"record", "--model", at("model"), "--prompt", "a", "--out", at("model/model.safetensors"), "--force"}, "is a file of the model"},
		{"standard output", train("--out", "-"), "is not written to standard output"},
		{"a file of somebody else, by force", train("--out", at("notes.txt"), "--force"), ""},
	} {
		before, _ := os.ReadFile(test.args[slices.Index(test.args, "--out")+1])
		code, _, diagnostics := steerWith(t.Context(), "", test.args...)
		after, _ := os.ReadFile(test.args[slices.Index(test.args, "--out")+1])
		switch {
		case test.want == "" && code != exitOK:
			t.Errorf("%s: exit code %d: %s", test.name, code, diagnostics)
		case test.want != "" && (code == exitOK || !strings.Contains(diagnostics, test.want)):
			t.Errorf("%s: exit code %d: %s; want %q", test.name, code, diagnostics, test.want)
		case test.want != "" && !bytes.Equal(before, after):
			t.Errorf("%s: the file has changed", test.name)
		}
	}
}

func TestOutKeepsLinksAndReadOnlyFiles(t *testing.T) {
	vector := trained(t, "3")
	dir := filepath.Dir(vector)
	link := filepath.Join(dir, "link")
	if err := os.Symlink("v.safetensors", link); err != nil {
		t.Skipf("this system has no links: %v", err)
	}
	train := []string{"train", "--model", "demo", "--pairs", moodPairs, "--layers", "2"}
	must(t, append(train, "--out", link)...)
	if to, err := os.Readlink(link); err != nil || to != "v.safetensors" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if layers := loadVector(t, vector).Layers; layers[2] == nil {
		t.Error("what the link leads to was not written")
	}
	if err := os.Chmod(vector, 0o444); err != nil {
		t.Fatal(err)
	}
	code, _, diagnostics := steerWith(t.Context(), "", append(train, "--out", vector, "--force")...)
	if code == exitOK || !strings.Contains(diagnostics, "read-only") {
		t.Errorf("exit code %d: %s", code, diagnostics)
	}
}

// From its first moment to its last a run has its output for itself.
func TestTheSecondWriterOfAnOutputIsRefused(t *testing.T) {
	vector := trained(t, "3")
	train := []string{"train", "--model", "demo", "--pairs", moodPairs, "--layers", "3", "--out", vector}
	first := outFlags{path: vector}
	c, _, _ := newRoot().Find([]string{"train"})
	release, err := first.reserve(c)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, diagnostics := steerWith(t.Context(), "", train...); code != exitFailure || !strings.Contains(diagnostics, "another run is writing it") {
		t.Errorf("exit code %d: %s", code, diagnostics)
	}
	release()
	writer, err := output.Create(vector)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, diagnostics := steerWith(t.Context(), "", train...); code != exitFailure || !strings.Contains(diagnostics, "another run is writing it") {
		t.Errorf("exit code %d: %s", code, diagnostics)
	}
	if err := writer.Abort(); err != nil {
		t.Fatal(err)
	}
	must(t, train...)
	if files := filesBeside(t, vector); len(files) != 1 {
		t.Errorf("left %q", files)
	}
}

func TestNotesAreToldAndPartOfTheResult(t *testing.T) {
	vector := trained(t, ":")
	generate := []string{"generate", "--model", "demo", "--prompt", "Tom was a farmer.", "--max-tokens", "4"}
	for _, test := range []struct {
		name string
		args []string
		want []string // parts of the notes; none: there is no note
	}{
		{"nothing to note", generate, nil},
		{"one layer", append(generate, "--vector", vector+":0.7,layers=3"), nil},
		{"all layers", append(generate, "--vector", vector+":0.7"), []string{"all 6 layers at once"}},
		{"more than the activations", append(generate, "--vector", vector+":4,layers=3"), []string{"times their own length"}},
		{"nothing", append(generate, "--vector", vector+":0,layers=3"), []string{"changes nothing"}},
		{"a seed and nothing that is drawn", append(generate, "--seed", "7", "--top-k", "3"), []string{"--seed, --top-k have no effect at temperature 0"}},
		{"a seed that counts", append(generate, "--seed", "7", "--temperature", "1"), nil},
		{"a long prompt", []string{"generate", "--model", "demo", "--prompt", strings.Repeat("Tom was happy. ", 200), "--max-tokens", "1"}, []string{"more than the 512 positions"}},
		{"a long text", []string{"generate", "--model", "demo", "--prompt", "Tom", "--max-tokens", "600", "--ignore-eos"}, []string{"more than the 512 positions"}},
		{"a model that ends", []string{"generate", "--model", gpt2, "--prompt", "Tom", "--max-tokens", "600", "--ignore-eos"}, []string{"has no more than 96 positions"}},
		{"a long text to score", []string{"score", "--model", "demo", "--prompt", strings.Repeat("Tom was happy. ", 200), "--continuation", " a"}, []string{"more than the 512 positions"}},
	} {
		_, out, diagnostics := steerWith(t.Context(), "", append(slices.Clone(test.args), "--json")...)
		var got result
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Errorf("%s: %v: %s", test.name, err, diagnostics)
			continue
		}
		if len(got.Notes) != len(test.want) || strings.Count(diagnostics, "note: ") != len(test.want) {
			t.Errorf("%s: notes %q and %q, want %q", test.name, got.Notes, diagnostics, test.want)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(got.Notes[i], want) || !strings.Contains(diagnostics, want) {
				t.Errorf("%s: notes %q and %q, want %q", test.name, got.Notes, diagnostics, want)
			}
		}
	}
}

func TestAResultSaysWhatItWasMadeWith(t *testing.T) {
	vector := trained(t, "2,3")
	hash, err := hashFile(vector)
	if err != nil {
		t.Fatal(err)
	}
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	steering := []string{"--vector", vector + ":0.5,layers=3,tokens=response", "--vector", vector, "--operator", "ablate", "--steer-layers", "2"}
	want := []applied{
		{vector, hash, 0.5, "ablate", lm.DecoderBlock, []int{3}, "response", nil, nil, nil},
		{vector, hash, 1, "ablate", lm.DecoderBlock, []int{2}, "all", nil, nil, nil},
	}
	for _, args := range [][]string{
		{"generate", "--max-tokens", "2", "--temperature", "1", "--seed", "9"}, {"score", "--continuation", " a"}, {"record", "--out", filepath.Join(t.TempDir(), "r")},
	} {
		args = append(append(args, "--model", "demo", "--prompt", "Tom", "--json"), steering...)
		var got struct {
			Seed uint64
			result
		}
		if err := json.Unmarshal([]byte(must(t, args...)), &got); err != nil {
			t.Fatal(err)
		}
		if got.Model != "demo" || got.WeightsHash != model.Fingerprint() || got.DType != "bf16" || len(got.Vectors) != 2 {
			t.Fatalf("%s: %+v", args[0], got)
		}
		for i, v := range got.Vectors {
			if v.File != want[i].File || v.Hash != want[i].Hash || v.Multiplier != want[i].Multiplier || v.Operator != want[i].Operator ||
				v.LayerType != want[i].LayerType || !slices.Equal(v.Layers, want[i].Layers) || v.Tokens != want[i].Tokens {
				t.Errorf("%s: vector %+v, want %+v", args[0], v, want[i])
			}
		}
		if args[0] == "generate" && got.Seed != 9 {
			t.Errorf("the seed is %d", got.Seed)
		}
	}
}

// An interrupt leaves the text that is there, and says that it is not all.
func TestAnInterruptedGenerationPrintsWhatItHas(t *testing.T) {
	prompts := write(t, filepath.Join(t.TempDir(), "prompts.txt"), "Tom was a farmer.\nOnce there was a fox\n")
	for _, source := range [][]string{{"--prompt", "Tom was a farmer."}, {"--prompts", prompts}} {
		args := append([]string{"generate", "--model", "demo", "--max-tokens", "200", "--ignore-eos", "--json"}, source...)
		ctx := &interrupted{Context: t.Context(), after: 1 << 60}
		if code, _, diagnostics := steerWith(ctx, "", args...); code != exitOK {
			t.Fatal(diagnostics)
		}
		ctx = &interrupted{Context: t.Context(), after: (1<<60 - ctx.after) * 3 / 4}
		code, out, diagnostics := steerWith(ctx, "", args...)
		if code != exitFailure || diagnostics != "steer generate: stopped\n" {
			t.Errorf("exit code %d: %q", code, diagnostics)
		}
		decoder := json.NewDecoder(strings.NewReader(out))
		results := 0
		for ; decoder.More(); results++ {
			var g generated
			if err := decoder.Decode(&g); err != nil {
				t.Fatal(err)
			}
			if !g.Partial || g.Finish != "" || len(g.IDs) == 0 || len(g.IDs) >= 200 || g.Text == "" {
				t.Errorf("it prints %+v", g)
			}
		}
		if want := map[string]int{"--prompt": 1, "--prompts": 2}[source[0]]; results != want {
			t.Errorf("%d results, want %d", results, want)
		}
	}
}

func TestAVectorOfAnotherModelIsRefusedOrNoted(t *testing.T) {
	vector := trained(t, "2")
	code, _, diagnostics := steerWith(t.Context(), "", "generate", "--model", gpt2, "--prompt", "a", "--vector", vector)
	if code == exitOK || !strings.Contains(diagnostics, "of family llama; model gpt2 is of family gpt2") {
		t.Errorf("another family: exit code %d: %s", code, diagnostics)
	}
	llama := filepath.Join(t.TempDir(), "llama")
	if err := seeded.Write(goldens+"llama", llama); err != nil {
		t.Fatal(err)
	}
	code, _, diagnostics = steerWith(t.Context(), "", "generate", "--model", llama, "--prompt", "a", "--vector", vector)
	if code == exitOK || !strings.Contains(diagnostics, "160 elements") {
		t.Errorf("another width: exit code %d: %s", code, diagnostics)
	}
	v := loadVector(t, vector)
	v.Provenance.WeightsHash = "sha256:0"
	if err := v.Save(vector); err != nil {
		t.Fatal(err)
	}
	code, out, diagnostics := steerWith(t.Context(), "", "generate", "--model", "demo", "--prompt", "a", "--vector", vector+":0.5", "--max-tokens", "2", "--json")
	if code != exitOK || !strings.Contains(diagnostics, "other weights") || !strings.Contains(out, "other weights") {
		t.Errorf("other weights: exit code %d: %s%s", code, diagnostics, out)
	}
}

func TestWhatIsNotFiniteIsAnError(t *testing.T) {
	vector := trained(t, "3")
	v := loadVector(t, vector)
	for i := range v.Layers[3] {
		v.Layers[3][i] = 1e38
	}
	if err := v.Save(vector); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"score", "--continuation", " a", "--vector", vector + ",operator=ablate", "--vector", vector + ":3", "--vector", vector + ":3"}, "finite"},
		{[]string{"score", "--json", "--continuation", " a", "--vector", vector + ":3", "--vector", vector + ":3"}, "finite"},
		{[]string{"generate", "--vector", vector + ":3", "--vector", vector + ":3"}, "finite"},
		{[]string{"generate", "--vector", vector + ":1e-90", "--operator", "ablate"}, "nothing is left of it"},
	} {
		args := append(test.args, "--model", "demo", "--prompt", "Tom")
		code, out, diagnostics := steerWith(t.Context(), "", args...)
		last := diagnostics[strings.LastIndex(strings.TrimSpace(diagnostics), "\n")+1:]
		if code == exitOK || out != "" || !strings.Contains(last, test.want) || strings.Contains(last, "input 0") || strings.Contains(last, "forward:") {
			t.Errorf("steer %q: exit code %d, %q: %s; want %q", args, code, out, diagnostics, test.want)
		}
	}
}

func TestAnInterruptStopsEveryCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{
		{"train", "--model", "demo", "--pairs", moodPairs, "--out", filepath.Join(t.TempDir(), "v")},
		{"generate", "--model", "demo", "--prompt", "a"},
		{"record", "--model", "demo", "--prompt", "a", "--out", filepath.Join(t.TempDir(), "r")},
		{"score", "--model", "demo", "--prompt", "a", "--continuation", "b"},
	} {
		if code, _, diagnostics := steerWith(ctx, "", args...); code != exitFailure || !strings.HasPrefix(diagnostics, "steer "+args[0]+": stopped") {
			t.Errorf("steer %q: exit code %d: %s", args, code, diagnostics)
		}
		if i := slices.Index(args, "--out"); i >= 0 {
			if files := filesBeside(t, args[i+1]); len(files) > 1 || len(files) == 1 && !strings.HasSuffix(files[0], ".state") {
				t.Errorf("steer %q leaves %q", args, files)
			}
		}
	}
}
