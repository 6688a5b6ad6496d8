package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/pairs"
)

// What is built is what the library builds, the parts of a split are the whole, and
// a vector can be trained on what was written.
func TestPairsAreBuiltAndSplit(t *testing.T) {
	dir := t.TempDir()
	model := talking(t)
	suffixes := write(t, filepath.Join(dir, "suffixes.txt"), "The road was long\nOnce there was a fox\nTom met Mia\nThe sun came out\nIt was late\nNina sang\n")
	out := filepath.Join(dir, "words.jsonl")
	words := []string{"pairs", "--model", model, "--template", "Tom felt {persona}.", "--positive", "happy", "--negative", "sad", "--suffixes", suffixes}
	all := answer[builtPairs](t, append(words, "--out", out)...)
	file, err := pairs.Open(out)
	if err != nil || len(file.Samples) != all.Files[0].Count || len(file.Samples) < 10 || !strings.HasPrefix(file.Samples[0].Positive, "Tom felt happy. The") {
		t.Fatalf("%+v: %d pairs, %v", all, len(file.Samples), err)
	}
	parts := answer[builtPairs](t, append(words, "--out", out, "--split", "40/30/30", "--seed", "3", "--force")...)
	var texts []string
	for _, part := range parts.Files {
		if part.File != partPath(out, part.Part) {
			t.Errorf("the %s part is %s", part.Part, part.File)
		}
		of, err := pairs.Open(part.File)
		if err != nil || len(of.Samples) != part.Count {
			t.Fatalf("%s: %d pairs, %v", part.File, len(of.Samples), err)
		}
		for _, s := range of.Samples {
			texts = append(texts, s.Positive)
		}
	}
	var want []string
	for _, s := range file.Samples {
		want = append(want, s.Positive)
	}
	slices.Sort(texts)
	slices.Sort(want)
	if !slices.Equal(texts, want) {
		t.Errorf("the parts hold %d pairs, the whole %d", len(texts), len(want))
	}
	must(t, "train", "--model", model, "--pairs", out, "--layers", "3", "--out", filepath.Join(dir, "v.safetensors"))
	persona := filepath.Join(dir, "kind.jsonl")
	must(t, "pairs", "--model", model, "--persona", "../../pairs/testdata/persona.json", "--out", persona)
	must(t, "train", "--model", model, "--pairs", persona, "--layers", "3", "--out", filepath.Join(dir, "kind.safetensors"))
}

// The parts that are not trained on are what evaluations read.
func TestWhatIsHeldOutIsEvaluationData(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "even.jsonl")
	questions := write(t, filepath.Join(dir, "q.jsonl"), manyQuestions())
	built := answer[builtPairs](t, "pairs", "--ab", questions, "--model", talking(t), "--chat", "--split", "50/25/25", "--out", out)
	if len(built.Files) != 3 || built.Files[0].Kind != "pairs" || built.Files[1].Kind != "A/B questions" {
		t.Fatalf("the files are %+v", built.Files)
	}
	train, err := pairs.Open(built.Files[0].File)
	if err != nil || train.Samples[0].PositiveIDs == nil {
		t.Errorf("the part to train on is no conversation: %v", err)
	}
	heldOut, err := pairs.OpenItems(built.Files[1].File)
	if err != nil || heldOut.Items[0].Kind != pairs.ABItem || heldOut.Items[0].Swapped == nil {
		t.Errorf("the held-out part is %+v (%v)", heldOut, err)
	}
}

// The preview marks the token that training reads.
func TestThePreviewMarksWhatIsRead(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ content, read, want string }{
		{`["Tom was happy.", "Tom was sad."]`, "", "| was| happy|⟦.⟧|"},
		{`["Tom was happy.", "Tom was sad."]`, "-2", "| was|⟦ happy⟧|.|"},
		{`["Tom was happy.", "Tom was sad."]`, "mean:-2:", "| was|⟦ happy⟧|⟦.⟧|"},
		{`{"question": "Is it?\n (A) Yes\n (B) No", "answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(B)"}`, "", "|⟦A⟧|)|"},
	} {
		path := write(t, filepath.Join(dir, "pairs.jsonl"), test.content)
		args := []string{"pairs", "--model", "demo", "--pairs", path, "--preview", "1"}
		if test.read != "" {
			args = append(args, "--read-token", test.read)
		}
		if out := must(t, args...); !strings.Contains(out, test.want) || strings.ContainsRune(out, '\x1b') {
			t.Errorf("%s, read %q: the preview is\n%s, want %s", test.content, test.read, out, test.want)
		}
	}
}

func TestPairsThatCannotBeBuiltAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "pairs.jsonl"), `["a b", "a c"]`)
	silent := filepath.Join(dir, "silent") // a model without a chat template
	if err := os.CopyFS(silent, demo.Files()); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(silent, "tokenizer_config.json"), "{}")
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing to do", []string{"--pairs", file}, exitUsage, "give --out"},
		{"two sources", []string{"--pairs", file, "--ab", file, "--out", "x"}, exitUsage, "give one of"},
		{"no tokenizer", []string{"--pairs", file, "--preview", "1"}, exitUsage, "need a --model"},
		{"a split without a file", []string{"--pairs", file, "--model", "demo", "--preview", "1", "--split", "60/20/20"}, exitUsage, "--out is missing"},
		{"shares that are not whole", []string{"--pairs", file, "--out", "x", "--split", "60/20/30"}, exitUsage, "not to 100"},
		{"its own source", []string{"--pairs", file, "--out", file, "--force"}, exitUsage, "is what the command reads"},
		{"no suffixes", []string{"--template", "{persona}", "--out", "x"}, exitUsage, "--suffixes is missing"},
		{"no chat template", []string{"--model", silent, "--persona", "../../pairs/testdata/persona.json", "--out", filepath.Join(dir, "x")}, exitFailure, "no chat template"},
	} {
		code, _, diagnostics := steerWith(t.Context(), "", append([]string{"pairs"}, test.args...)...)
		if code != test.code || !strings.Contains(diagnostics, test.want) {
			t.Errorf("%s: exit code %d: %s", test.name, code, diagnostics)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != `["a b", "a c"]` {
		t.Errorf("the source is %q now (%v)", data, err)
	}
}
