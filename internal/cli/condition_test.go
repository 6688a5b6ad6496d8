package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm/demo/stories"
)

// What --when says decides whether text is steered; what a file says of itself holds
// where nothing else is said.
func TestConditionsOfTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	mood := filepath.Join(dir, "mood.safetensors")
	must(t, "train", "--model", "demo", "--pairs", "../../testdata/mood.jsonl", "--layers", "3", "--out", mood)
	files := map[string]string{}
	for _, kind := range []string{"happy", "sad"} {
		text := ""
		for _, p := range stories.Pairs(5, 40, kind, "angry") {
			text += p.Beginning + " " + p.Positive.String() + "\n"
		}
		files[kind] = write(t, filepath.Join(dir, kind), text)
	}
	happy, conditional := filepath.Join(dir, "happy.safetensors"), filepath.Join(dir, "conditional.safetensors")
	train := []string{"train-condition", "--model", "demo", "--positive", files["happy"], "--negative", files["sad"], "--measure", "cosine", "--json"}
	var trained trainedCondition
	if err := json.Unmarshal([]byte(must(t, append(train, "--out", happy)...)), &trained); err != nil {
		t.Fatal(err)
	}
	if h := trained.HeldOut; h.Positive != 20 || h.Negative != 20 || h.F1 < 0.9 || trained.Out != happy || trained.Above == nil {
		t.Fatalf("trained %+v", trained)
	}
	must(t, append(train, "--for", mood, "--out", conditional)...)
	if v, err := steer.LoadVector(conditional); err != nil || v.Condition == nil || *v.Condition.Layer != trained.Layer {
		t.Fatalf("%+v, %v", v, err)
	}

	const happyText, sadText = "Tom was very happy. Everyone clapped and smiled and sang.", "Tom was very sad. Nobody came, and he cried and cried."
	generate := func(prompt string, args ...string) (text string, vectors []applied) {
		t.Helper()
		code, out, diagnostics := steerWith(t.Context(), "", append([]string{"generate", "--model", "demo", "--prompt", prompt, "--max-tokens", "12", "--json"}, args...)...)
		if code != exitOK {
			t.Fatal(diagnostics)
		}
		var g generated
		if err := json.Unmarshal([]byte(out), &g); err != nil {
			t.Fatal(err)
		}
		return g.Text, g.Vectors
	}
	for _, prompt := range []string{happyText, sadText} {
		plain, _ := generate(prompt)
		steered, _ := generate(prompt, "--vector", mood+":-1")
		if plain == steered {
			t.Fatalf("%q: the vector does nothing", prompt)
		}
		for name, test := range map[string]struct {
			args  []string
			holds bool
		}{
			"the file's condition":     {[]string{"--vector", mood + ":-1", "--when", happy}, prompt == happyText},
			"both":                     {[]string{"--vector", mood + ":-1", "--when", happy, "--when", mood + "<2"}, prompt == happyText},
			"its contrary":             {[]string{"--vector", mood + ":-1", "--when", `{"not":{"vector":"` + happy + `"}}`}, prompt == sadText},
			"always true":              {[]string{"--vector", mood + ":-1", "--when", mood + ":3<2"}, true},
			"never true":               {[]string{"--vector", mood + ":-1", "--when", mood + ":3>2"}, false},
			"the vector's own":         {[]string{"--vector", conditional + ":-1"}, prompt == happyText},
			"the vector's own, lifted": {[]string{"--vector", conditional + ":-1", "--when", "always"}, true},
			"outside of nothing":       {[]string{"--vector", mood + ":-1", "--outside", "(,)"}, true},
			"inside of nothing":        {[]string{"--vector", mood + ":-1", "--inside", "(,)"}, false},
			"fading at once":           {[]string{"--vector", mood + ":-1", "--half-life", "0.001", "--tokens", "response:1:"}, false},
		} {
			want := plain
			if test.holds {
				want = steered
			}
			got, vectors := generate(prompt, test.args...)
			if got != want {
				t.Errorf("%q, %s: wrote %q, want %q", prompt, name, got, want)
			}
			if told := strings.Contains(strings.Join(test.args, " "), "--when"); told != (vectors[0].When != nil) {
				t.Errorf("%s: the result tells of %+v", name, vectors[0])
			}
		}
	}
}
