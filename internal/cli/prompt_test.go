package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/demo"
)

// lines runs a command line and decodes the lines of JSON that it prints.
func lines[T any](t *testing.T, in string, args ...string) (values []T) {
	t.Helper()
	code, out, diagnostics := steerWith(t.Context(), in, args...)
	if code != exitOK {
		t.Fatalf("steer %q: exit code %d: %s", args, code, diagnostics)
	}
	for line := range strings.Lines(out) {
		var value T
		if err := json.Unmarshal([]byte(line), &value); err != nil {
			t.Fatalf("steer %q: %v in %s", args, err, line)
		}
		values = append(values, value)
	}
	return values
}

const somePrompts = "Tom was a farmer. One day\r\n\nOnce there was a fox\nMia was very\n"

func TestEveryPromptOfAFileIsContinuedAsItIsAlone(t *testing.T) {
	vector := trained(t, "3")
	generate := []string{"generate", "--model", "demo", "--max-tokens", "12", "--temperature", "0.8", "--seed", "5", "--vector", vector + ":0.5,tokens=response"}
	got := lines[generated](t, somePrompts, append(generate, "--prompts", "-")...)
	texts := map[string]string{"1": "Tom was a farmer. One day", "3": "Once there was a fox", "4": "Mia was very"}
	if len(got) != len(texts) {
		t.Fatalf("%d results, want %d", len(got), len(texts))
	}
	for _, g := range got {
		alone := answer[generated](t, append(generate, "--prompt", texts[string(g.ID)])...)
		if !slices.Equal(g.IDs, alone.IDs) || !slices.Equal(g.PromptIDs, alone.PromptIDs) || g.Text != alone.Text || g.Finish != alone.Finish {
			t.Errorf("prompt %s: %q, alone %q", g.ID, g.Text, alone.Text)
		}
	}
}

func TestEveryPromptOfAFileIsScored(t *testing.T) {
	prompts := write(t, filepath.Join(t.TempDir(), "p.jsonl"), `{"id": "own", "prompt": "Tom was very", "continuations": [" happy", " sad"]}
{"prompt_ids": [0, 86], "id": 7}
{"prompt": "Mia"}
`)
	got := lines[scores](t, "", "score", "--model", "demo", "--prompts", prompts, "--continuation", " was")
	if len(got) != 3 || string(got[0].ID) != `"own"` || string(got[1].ID) != "7" || string(got[2].ID) != "3" {
		t.Fatalf("%+v", got)
	}
	for i, want := range [][]string{{" happy", " sad"}, {" was"}, {" was"}} {
		if len(got[i].Continuations) != len(want) {
			t.Fatalf("prompt %s has %d continuations", got[i].ID, len(got[i].Continuations))
		}
		for k, c := range got[i].Continuations {
			if c.Continuation != want[k] || !(c.Logprob < 0) {
				t.Errorf("prompt %s: %+v, want %q", got[i].ID, c, want[k])
			}
		}
	}
	alone := answer[scores](t, "score", "--model", "demo", "--prompt", "Tom was very", "--continuation", " sad")
	if got[0].Continuations[1].Logprob != alone.Continuations[0].Logprob {
		t.Errorf("together %v, alone %v", got[0].Continuations[1].Logprob, alone.Continuations[0].Logprob)
	}
}

// Each prompt's rows of a recording are those that it has alone.
func TestARecordingHoldsEveryPromptOfAFile(t *testing.T) {
	dir := t.TempDir()
	together, alone := filepath.Join(dir, "r"), filepath.Join(dir, "one")
	prompts := write(t, filepath.Join(dir, "p.txt"), somePrompts)
	record := []string{"record", "--model", "demo", "--layers", "1,4", "--logits"}
	got := answer[recorded](t, append(record, "--prompts", prompts, "--out", together)...)
	must(t, append(record, "--prompt", "Once there was a fox", "--out", alone)...)
	file, err := safetensors.Open(together)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var kept []recordedPrompt
	if err := json.Unmarshal([]byte(file.Metadata()[promptsKey]), &kept); err != nil {
		t.Fatal(err)
	}
	if len(kept) != 3 || string(kept[1].ID) != "3" || len(got.Prompts) != 3 || kept[2].To != got.Prompts[2].To {
		t.Fatalf("the file has %+v, told is %+v", kept, got.Prompts)
	}
	for _, name := range []string{"decoder_block.1", "decoder_block.4", "logits"} {
		all, one := tensor(t, together, name), tensor(t, alone, name)
		width := len(one) / (kept[1].To - kept[1].From)
		if !slices.Equal(all[kept[1].From*width:kept[1].To*width], one) {
			t.Errorf("%s: the rows of the second prompt differ from those that it has alone", name)
		}
	}
}

func TestMistakesInAFileOfPromptsNameTheirLine(t *testing.T) {
	for name, test := range map[string]struct {
		command, text, want string
	}{
		"nothing":                    {"generate", "\n \n", "standard input: there are no prompts in it"},
		"an array":                   {"generate", `["a", "b"]`, "JSON array"},
		"a field that is not known":  {"generate", `{"prompt": "a"}` + "\n" + `{"promt": "a"}`, `line 2: field "promt" is not known`},
		"a field of another type":    {"generate", `{"prompt": 3}`, `line 1: field "prompt" cannot be a JSON number`},
		"no JSON":                    {"generate", `{"prompt": `, "line 1: it is not a prompt in JSON"},
		"two objects":                {"generate", `{"prompt": "a"} {"prompt": "b"}`, "line 1: there is more after the object"},
		"two prompts":                {"generate", `{"prompt": "a", "prompt_ids": [1]}`, "line 1: give one of"},
		"no prompt":                  {"generate", `{"id": 1}`, "line 1: give one of"},
		"an empty prompt":            {"generate", `{"prompt_ids": []}`, "line 1: the prompt is empty"},
		"an id that is none":         {"generate", `{"id": {}, "prompt": "a"}`, "line 1: the id is {}"},
		"an id twice":                {"generate", `{"id": "x", "prompt": "a"}` + "\n\n" + `{"id": "x", "prompt": "b"}`, `line 3: the id "x" is that of line 1`},
		"no role":                    {"generate", `{"messages": [{"content": "a"}]}`, "line 1: a message has no role"},
		"bytes that are no text":     {"generate", "a\n\xff\n", "line 2: the text is not valid UTF-8"},
		"continuations to generate":  {"generate", `{"prompt": "a", "continuations": ["b"]}`, "line 1: continuations are for steer score"},
		"a token that is none":       {"generate", "{\"prompt\": \"a\"}\n\n{\"prompt_ids\": [99999]}", "line 3: token 99999"},
		"nothing to score":           {"score", "a", "line 1: there are no continuations"},
		"an empty continuation":      {"score", `{"prompt": "a", "continuations": [""]}`, "line 1: a continuation is empty"},
		"a token that is not scored": {"score", "{\"prompt\": \"a\", \"continuations\": [\"b\", \"c\"]}\n{\"prompt_ids\": [99999], \"continuations\": [\"b\"]}", "line 2: token 99999"},
		"a role that is refused":     {"score", `{"messages": [{"role": "narrator", "content": "a"}], "continuations": ["b"]}`, "line 1: render the conversation"},
	} {
		code, out, diagnostics := steerWith(t.Context(), test.text, test.command, "--model", "demo", "--prompts", "-")
		if code == exitOK || out != "" || !strings.Contains(diagnostics, test.want) || strings.Count(diagnostics, "\n") != 1 || strings.Contains(diagnostics, "input") && !strings.Contains(diagnostics, "standard input") {
			t.Errorf("%s: exit code %d, %q: %s; want %q", name, code, out, diagnostics, test.want)
		}
	}
}

func TestFlagsAreGivenOnceAndStandardInputIsReadOnce(t *testing.T) {
	generate := []string{"generate", "--model", "demo", "--prompt", "a"}
	for _, test := range []struct {
		args []string
		want string
	}{
		{append(generate, "--prompt", "b"), "--prompt is given twice"},
		{append(generate, "--json", "--json"), "--json is given twice"},
		{append(generate, "--max-tokens", "2", "--max-tokens", "2"), "--max-tokens is given twice"},
		{append(generate, "--operator", "add", "--operator", "add"), "--operator is given twice"},
		{append(generate, "--max-tokens", "2147483648"), `--max-tokens "2147483648": it is not from 1 to 2147483647`},
		{append(generate, "--top-k", "-1"), `--top-k "-1": it is not from 0 to 2147483647`},
		{append(generate, "--seed", "-1"), `--seed "-1": it is not a whole number from 0 to 18446744073709551615`},
		{append(generate, "--temperature", "1e999"), "it is not from 0 to 1000000"},
		{append(generate, "--system", "b"), "--chat is not given"},
		{append(generate, "--vector", "-"), "a vector is not read from standard input"},
		{[]string{"generate", "--model", "-", "--prompt", "a"}, "a model is not read from standard input"},
		{[]string{"tokenize", "--model", "-", "--text", "a"}, "a model is not read from standard input"},
		{[]string{"generate", "--model", "demo", "--chat", "--prompt", "-", "--system", "-"}, "both are to come from standard input"},
		{[]string{"score", "--model", "demo", "--prompt", "-", "--continuation", "-"}, "both are to come from standard input"},
		{[]string{"train", "--model", "demo", "--chat", "--pairs", "-", "--system", "-", "--out", filepath.Join(t.TempDir(), "v")}, "both are to come from standard input"},
		{[]string{"inspect", "-"}, "not read from standard input"},
		{[]string{"aggregate", "--activations", "-", "--out", "v"}, "not read from standard input"},
	} {
		code, out, diagnostics := steerWith(t.Context(), "text", test.args...)
		if code != exitUsage || out != "" || !strings.Contains(diagnostics, test.want) {
			t.Errorf("steer %q: exit code %d, %q: %s; want %q", test.args, code, out, diagnostics, test.want)
		}
	}
	// What can be repeated can be.
	must(t, append(generate, "--stop", "x", "--stop", "y", "--max-tokens", "2")...)
}

func TestPairsAndContinuationsMayComeFromStandardInput(t *testing.T) {
	pairs, err := os.ReadFile(moodPairs)
	if err != nil {
		t.Fatal(err)
	}
	want := trained(t, "3")
	got := filepath.Join(t.TempDir(), "v")
	if code, _, diagnostics := steerWith(t.Context(), string(pairs), "train", "--model", "demo", "--pairs", "-", "--layers", "3", "--out", got); code != exitOK {
		t.Fatal(diagnostics)
	}
	if !slices.Equal(loadVector(t, got).Layers[3], loadVector(t, want).Layers[3]) {
		t.Error("pairs from standard input give another vector")
	}
	code, out, diagnostics := steerWith(t.Context(), " happy\n", "score", "--model", "demo", "--prompt", "Tom was", "--continuation", "-")
	if code != exitOK || !strings.Contains(out, `" happy"`) {
		t.Errorf("exit code %d: %s%s", code, out, diagnostics)
	}
}

func TestErrorsNameTheLineOfThePair(t *testing.T) {
	for text, want := range map[string]string{
		"\n[\"Tom was a\", \"Tom was b\"]\n\n{\"positive_ids\": [1], \"negative_ids\": [2]}":       "line 4",
		"\n\n{\"positive_ids\": [1, 2, 3, 4], \"negative_ids\": [1, 2, 3, 4444]}":                  "standard input: line 3: the negative prompt: token 4444",
		"[\"Tom was a\", \"Tom was b\"]\n\n[\"Tom was a\", \"a\"]":                                 "standard input: line 3: the negative prompt: read token -4 is outside its",
		"{\"positive\": \"Tom was a\", \"negative\": \"Tom was b\", \"read_positive\": \"mean:\"}": "line 1",
	} {
		code, _, diagnostics := steerWith(t.Context(), text, "train", "--model", "demo", "--pairs", "-", "--read-token", "-4", "--out", filepath.Join(t.TempDir(), "v"))
		if code != exitFailure || !strings.Contains(diagnostics, want) || strings.Contains(diagnostics, "sample") {
			t.Errorf("%q: exit code %d: %s; want %q", text, code, diagnostics, want)
		}
	}
}

// talking is the demonstration model with a chat template.
func talking(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, demo.Files()); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tokenizer_config.json"),
		`{"chat_template": "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}{% if add_generation_prompt %} [assistant]{% endif %}"}`)
	return dir
}

func TestEveryCommandThatTakesTextMakesConversations(t *testing.T) {
	model, dir := talking(t), t.TempDir()
	const whole = "[system] Be kind.[user] Hello [assistant]"
	chat := []string{"--model", model, "--chat", "--system", "Be kind."}
	type tokens struct {
		Text string `json:"text"`
		IDs  []int  `json:"ids"`
	}
	var asText tokens
	if err := json.Unmarshal([]byte(must(t, append([]string{"tokenize", "--text", "Hello", "--json"}, chat...)...)), &asText); err != nil {
		t.Fatal(err)
	}
	if asText.Text != whole {
		t.Errorf("the conversation is %q", asText.Text)
	}
	with := func(command string, more ...string) []string {
		return append(append([]string{command}, chat...), more...)
	}
	if got := answer[generated](t, with("generate", "--prompt", "Hello", "--max-tokens", "2")...); !slices.Equal(got.PromptIDs, asText.IDs) {
		t.Errorf("generate: %v, want %v", got.PromptIDs, asText.IDs)
	}
	if got := answer[scores](t, with("score", "--prompt", "Hello", "--continuation", " a")...); !slices.Equal(got.PromptIDs, asText.IDs) {
		t.Errorf("score: %v, want %v", got.PromptIDs, asText.IDs)
	}
	if got := answer[recorded](t, with("record", "--prompt", "Hello", "--out", filepath.Join(dir, "r"))...); !slices.Equal(got.Prompts[0].PromptIDs, asText.IDs) {
		t.Errorf("record: %v, want %v", got.Prompts[0].PromptIDs, asText.IDs)
	}
	messages := write(t, filepath.Join(dir, "p.jsonl"), `{"messages": [{"role": "user", "content": "Hello"}]}
{"prompt": "Hello"}
{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": " I am"}]}
`)
	got := lines[generated](t, "", with("generate", "--prompts", messages, "--max-tokens", "2")...)
	if !slices.Equal(got[0].PromptIDs, asText.IDs) || !slices.Equal(got[1].PromptIDs, asText.IDs) || slices.Equal(got[2].PromptIDs, asText.IDs) {
		t.Errorf("generate from a file: %v, want %v", got, asText.IDs)
	}

	// Pairs are rendered as prompts are, and the vector knows the template.
	hello := write(t, filepath.Join(dir, "pairs.jsonl"), `["Hello", "Bye"]`)
	ids, err := json.Marshal(asText.IDs)
	if err != nil {
		t.Fatal(err)
	}
	must(t, with("extract", "--pairs", hello, "--layers", "2", "--read-token", "mean", "--out", filepath.Join(dir, "a"))...)
	given := write(t, filepath.Join(dir, "ids.jsonl"), `{"positive_ids": `+string(ids)+`, "negative_ids": [1]}`)
	must(t, "extract", "--model", model, "--pairs", given, "--layers", "2", "--read-token", "mean", "--out", filepath.Join(dir, "b"))
	if !slices.Equal(tensor(t, filepath.Join(dir, "a"), "positive.2"), tensor(t, filepath.Join(dir, "b"), "positive.2")) {
		t.Error("the pair's conversation is not the prompt's")
	}
	must(t, with("train", "--pairs", hello, "--layers", "2", "--read-token", "mean", "--out", filepath.Join(dir, "v"))...)
	if template := loadVector(t, filepath.Join(dir, "v")).Provenance.ChatTemplate; !strings.HasPrefix(template, "{% for m in messages %}") {
		t.Errorf("the vector's chat template is %q", template)
	}
}

// Of CAA's questions the assistant gives the answer, and its letter is read.
func TestAnswersToQuestionsAreTheAssistants(t *testing.T) {
	model, dir := talking(t), t.TempDir()
	caa := write(t, filepath.Join(dir, "caa.json"), `[{"question": "Is it?", "answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(B)"}]`)
	must(t, "extract", "--model", model, "--chat", "--pairs", caa, "--layers", "2", "--out", filepath.Join(dir, "a"))
	prompt := answer[generated](t, "generate", "--model", model, "--chat", "--prompt", "Is it?", "--max-tokens", "1").PromptIDs
	answered := answer[scores](t, "score", "--model", model, "--prompt", "a", "--continuation", "(A)", "--continuation", "(B)").Continuations
	sides := map[string][]int{}
	for i, side := range []string{"positive", "negative"} {
		sides[side+"_ids"] = slices.Clone(prompt)
		for _, token := range answered[i].Tokens {
			sides[side+"_ids"] = append(sides[side+"_ids"], token.ID)
		}
	}
	text, err := json.Marshal(sides)
	if err != nil {
		t.Fatal(err)
	}
	must(t, "extract", "--model", model, "--read-token", "-2", "--pairs", write(t, filepath.Join(dir, "ids.jsonl"), string(text)), "--layers", "2", "--out", filepath.Join(dir, "b"))
	for _, name := range []string{"positive.2", "negative.2"} {
		if !slices.Equal(tensor(t, filepath.Join(dir, "a"), name), tensor(t, filepath.Join(dir, "b"), name)) {
			t.Errorf("%s is not read at the letter of the assistant's answer", name)
		}
	}
}
