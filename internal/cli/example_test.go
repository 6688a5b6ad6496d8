package cli

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/demo/stories"
)

// exampleCommands are the commands whose examples are run, in an order in which each
// finds what it reads.
var exampleCommands = []string{
	"demo", "train", "train-condition", "shards", "merge", "extract", "aggregate", "record", "generate", "score", "eval", "sweep", "calibrate",
	"pairs", "project", "report", "bake",
	"tokenize", "convert", "combine", "quantize", "doctor", "inspect", "engines",
}

// Every command line that help, the README, the docs and the demonstration print
// is run on the demonstration model, in its order, and what it writes can be read.
func TestEveryExampleThatIsPrintedWorks(t *testing.T) {
	var lines []string
	for _, name := range exampleCommands {
		c, _, err := newRoot().Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(c.Example, "\n")...)
	}
	lines = append(lines, strings.Split(newRoot().Example, "\n")...)
	lines = append(lines, strings.Split(hubCommands, "\n")...)
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range append(documents, "../../README.md") {
		lines = append(lines, codeLines(t, document)...)
	}

	files := map[string]string{
		"prompts.txt":               "Once there was a little fox\nTom was a farmer. One day\n",
		"questions.jsonl":           manyQuestions(),
		"events.jsonl":              eventPairs(3, 16),
		"hub/tokenizer_config.json": `{"chat_template": "{% for m in messages %}{{ m.content }} {% endfor %}Tom"}`,
	}
	for name, path := range map[string]string{
		"pairs.jsonl": "../../testdata/mood.jsonl", "held-out.jsonl": "../../testdata/held-out.jsonl", "neutral.txt": "../../testdata/neutral.txt", "suffixes.txt": "../../pairs/testdata/suffixes.txt", "persona.json": "../../pairs/testdata/persona.json",
		"model.gguf": "../../lm/testdata/llamacpp/q4_0.gguf",
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	work := t.TempDir()
	t.Chdir(work)
	// A model that stands for one of the Hub, which has a chat template.
	if err := os.CopyFS("hub", demo.Files()); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, p := range stories.Pairs(77, 80, "happy", "sad") {
		kinds["happy"] += p.Beginning + " " + p.Positive.String() + "\n"
		kinds["sad"] += p.Beginning + " " + p.Negative.String() + "\n"
	}
	files["happy.txt"], files["sad.txt"] = kinds["happy"], kinds["sad"]
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hub := regexp.MustCompile(`--model [A-Z]\S+/\S+`)
	ran, done := map[string]int{}, map[string]bool{}
	for _, line := range lines {
		line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
		command, ok := strings.CutPrefix(line, "steer ")
		if !ok || done[command] || strings.HasPrefix(command, "bench") || strings.HasPrefix(command, "serve") { // which tests of their own run
			continue
		}
		done[command] = true
		if hub.MatchString(command) {
			command = hub.ReplaceAllString(command, "--model hub")
			command = strings.ReplaceAll(command, "--layers 12", "--layers 3") // the middle of both models
		}
		args := words(command)
		code, out, diagnostics := steerWith(t.Context(), "", args...)
		if code != exitOK || diagnostics != "" {
			t.Errorf("%s: exit code %d: %s", line, code, diagnostics)
			continue
		}
		ran[args[0]]++
		if args[0] != "generate" {
			continue
		}
		texts := []string{out}
		if slices.Contains(args, "--prompts") {
			texts = nil
			for result := range strings.Lines(out) {
				var g generated
				if err := json.Unmarshal([]byte(result), &g); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				texts = append(texts, g.Text)
			}
		}
		for _, text := range texts {
			if !readable(text) {
				t.Errorf("%s: it writes %q", line, text)
			}
		}
	}
	for _, name := range exampleCommands {
		if ran[name] == 0 {
			t.Errorf("no example of steer %s ran", name)
		}
	}
	if _, err := fs.Stat(os.DirFS(work), "mood.safetensors"); err != nil {
		t.Errorf("the README's vector was not made: %v", err)
	}
}

// manyQuestions are enough questions with two answers that each part of a split has
// some.
func manyQuestions() string {
	var lines strings.Builder
	for i := range 40 {
		fmt.Fprintf(&lines, `{"question": "Is %d even?\n (A) Yes\n (B) No", "answer_matching_behavior": "(%c)", "answer_not_matching_behavior": "(%c)"}`+"\n", i, 'A'+i%2, 'B'-i%2)
	}
	return lines.String()
}

// codeLines returns the lines of a document's blocks of commands.
func codeLines(t *testing.T, document string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		if language, fence := strings.CutPrefix(strings.TrimSpace(line), "```"); fence {
			inside = slices.Contains([]string{"sh", "bash", "console"}, language)
		} else if inside {
			lines = append(lines, line)
		}
	}
	return lines
}

// words parts a command line as a shell does, as far as the examples need it.
func words(line string) []string {
	var out []string
	for _, match := range regexp.MustCompile(`"([^"]*)"|\S+`).FindAllStringSubmatch(line, -1) {
		if strings.HasPrefix(match[0], `"`) {
			out = append(out, match[1])
		} else {
			out = append(out, match[0])
		}
	}
	return out
}

// readable reports whether a text is made of words that do not repeat themselves.
func readable(text string) bool {
	words := strings.Fields(text)
	distinct := map[string]bool{}
	for i, word := range words {
		distinct[word] = true
		if i >= 2 && word == words[i-1] && word == words[i-2] {
			return false
		}
	}
	return len(words) >= 4 && 3*len(distinct) >= len(words)
}

func TestWhatIsReadable(t *testing.T) {
	for text, want := range map[string]bool{
		"Everyone Everyone Everyone Everyone Everyone": false,
		"a b a b a b a b a b":                          false,
		"":                                             false,
		"Anna was very happy. Everyone clapped for her at the well.": true,
	} {
		if readable(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
