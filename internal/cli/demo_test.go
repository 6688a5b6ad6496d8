package cli

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestTheDemoShowsWhatSteeringDoes(t *testing.T) {
	told := answer[demonstrated](t, "demo")
	if told.ComputedTokens >= told.GivenTokens*2/3 {
		t.Errorf("%d of %d tokens are computed", told.ComputedTokens, told.GivenTokens)
	}
	if n := len(told.Continuations); n != 3 {
		t.Fatalf("%d continuations, want 3", n)
	}
	for i, c := range told.Continuations {
		if len(strings.Fields(c.Text)) < 5 {
			t.Errorf("at %v it writes %q", c.Strength, c.Text)
		}
		if i > 0 && c.Text == told.Continuations[i-1].Text {
			t.Errorf("two strengths write the same: %q", c.Text)
		}
	}
	for i, p := range told.Curve[1:] {
		if p.Preference <= told.Curve[i].Preference {
			t.Errorf("the curve falls from %v at %v to %v at %v", told.Curve[i].Preference, told.Curve[i].Strength, p.Preference, p.Strength)
		}
	}
	printed := must(t, "demo", "--positive", "calm", "--negative", "angry")
	for _, want := range []string{"tokens given", "calm (+", "angry (-", "not steered", "┤", "steer train --model"} {
		if !strings.Contains(printed, want) {
			t.Errorf("the demo does not print %q:\n%s", want, printed)
		}
	}
	if strings.Contains(printed, "\x1b") {
		t.Error("there are colors although the output is no terminal")
	}
}

func TestTheDemoModelWorksInEveryCommand(t *testing.T) {
	dir := t.TempDir()
	pairs, vector, recording := filepath.Join("..", "..", "testdata", "mood.jsonl"), filepath.Join(dir, "v.safetensors"), filepath.Join(dir, "r.safetensors")
	for _, args := range [][]string{
		{"train", "--model", "demo", "--pairs", pairs, "--layers", "2,3", "--out", vector},
		{"extract", "--model", "demo", "--pairs", pairs, "--layers", "2", "--out", filepath.Join(dir, "a.safetensors")},
		{"record", "--model", "demo", "--prompt", "Tom was happy.", "--out", recording},
		{"generate", "--model", "demo", "--prompt", "Once there was a fox", "--vector", vector + ":1", "--max-tokens", "5"},
		{"score", "--model", "demo", "--prompt", "Tom was very", "--continuation", " happy."},
		{"tokenize", "--model", "demo", "--text", "Tom was happy."},
		{"inspect", "demo"},
	} {
		must(t, args...)
	}
}
