package serve_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/serve"
)

func TestACompletionHasOpenAIsShape(t *testing.T) {
	s := start(t, nil)
	got := s.post("/v1/completions", `{"model":"demo","prompt":"`+story+`","max_tokens":12,"temperature":0}`)
	model, _ := demo()
	want, err := model.Generate(t.Context(), []lm.Input{{Text: story}}, lm.GenerateOptions{MaxTokens: 12})
	if err != nil {
		t.Fatal(err)
	}
	c := got.Choices[0]
	if got.Object != "text_completion" || got.Model != "demo" || len(got.Choices) != 1 || c.Text != want[0].Text || *c.Finish != "length" || c.Logprobs != nil {
		t.Errorf("%+v, want the text %q", got, want[0].Text)
	}
	if u := got.Usage; u.Prompt != len(want[0].Prompt) || u.Completion != 12 || u.Total != u.Prompt+12 || u.Details.Cached != 0 {
		t.Errorf("usage %+v", u)
	}
	if again := s.post("/v1/completions", `{"prompt":"`+story+`","max_tokens":1}`); again.Usage.Details.Cached != again.Usage.Prompt-1 {
		t.Errorf("the second time: %+v", again.Usage)
	}
}

func TestAChatHasOpenAIsShape(t *testing.T) {
	s := start(t, nil)
	got := s.post("/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":[{"type":"text","text":"Anna had a red kite."},{"type":"text","text":" One day, Anna met Leo at the bridge."}]}],
		"max_completion_tokens":5,"temperature":0,"logprobs":true,"top_logprobs":2,"n":2}`)
	plain := s.post("/v1/completions", `{"prompt":"`+story+`","max_tokens":5,"temperature":0,"logprobs":2}`)
	if got.Object != "chat.completion" || len(got.Choices) != 2 || got.Choices[1].Index != 1 || got.Usage.Completion != 10 {
		t.Errorf("%+v", got)
	}
	for _, c := range got.Choices {
		if c.Message.Role != "assistant" || c.Message.Content != plain.Choices[0].Text {
			t.Errorf("a message %+v beside the completion %q", c.Message, plain.Choices[0].Text)
		}
		if len(c.Logprobs.Content) != 5 {
			t.Fatalf("%d log-probabilities", len(c.Logprobs.Content))
		}
		for k, l := range c.Logprobs.Content {
			if l.Logprob != *plain.Choices[0].Logprobs.TokenLogprobs[k] || len(l.Top) != 2 || l.Top[0].Token != l.Token || len(l.Bytes) != len(l.Token) {
				t.Errorf("token %d: %+v", k, l)
			}
		}
	}
}

// A stream has one time of creation, the role in the first delta alone, the same
// text as an answer in one piece, an empty last delta, the usage and the end.
func TestAStreamHasOpenAIsShape(t *testing.T) {
	s := start(t, nil)
	for _, kind := range []struct{ path, body, object string }{
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":"` + story + `"}],"max_tokens":20,"seed":3,"n":2,"logprobs":true%s}`, "chat.completion.chunk"},
		{"/v1/completions", `{"prompt":"` + story + `","max_tokens":20,"seed":3,"n":2,"echo":true,"logprobs":1%s}`, "text_completion"},
	} {
		whole := s.post(kind.path, fmt.Sprintf(kind.body, ""))
		r := s.do("POST", kind.path, fmt.Sprintf(kind.body, `,"stream":true,"stream_options":{"include_usage":true}`))
		if r.header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: content type %q", kind.path, r.header.Get("Content-Type"))
		}
		data := events(t, r.body)
		if data[len(data)-1] != "[DONE]" {
			t.Fatalf("%s: the last event is %s", kind.path, data[len(data)-1])
		}
		texts, tokens, roles, ends := make([]string, 2), make([]int, 2), make([]int, 2), make([]int, 2)
		var first text
		for i, event := range data[:len(data)-1] {
			var chunk text
			var raw map[string]any
			if err := json.Unmarshal([]byte(event), &chunk); err != nil {
				t.Fatal(err)
			}
			json.Unmarshal([]byte(event), &raw)
			usage, has := raw["usage"]
			if last := i == len(data)-2; !has || (usage == nil) == last || (len(chunk.Choices) == 0) != last {
				t.Errorf("%s: event %d: %s", kind.path, i, event)
			}
			if i == 0 {
				first = chunk
			}
			if chunk.ID != first.ID || chunk.Created != first.Created || chunk.Object != kind.object {
				t.Errorf("%s: event %d is of another answer: %s", kind.path, i, event)
			}
			for _, c := range chunk.Choices {
				if role, ok := c.Delta["role"]; ok {
					if roles[c.Index]++; role != "assistant" || texts[c.Index] != "" {
						t.Errorf("%s: event %d has a role: %s", kind.path, i, event)
					}
				}
				texts[c.Index] += c.Text + c.Delta["content"]
				if l := c.Logprobs; l != nil {
					tokens[c.Index] += len(l.Tokens) + len(l.Content)
				}
				if c.Finish != nil {
					if ends[c.Index]++; len(c.Delta) > 0 || c.Text != "" || c.Steer == nil {
						t.Errorf("%s: the last chunk of a choice is %s", kind.path, event)
					}
				}
			}
		}
		for i, c := range whole.Choices {
			n := 20
			if kind.object == "text_completion" {
				n += whole.Usage.Prompt
			} else if roles[i] != 1 {
				t.Errorf("choice %d has %d roles", i, roles[i])
			}
			if want := c.Text + c.Message.Content; texts[i] != want || ends[i] != 1 || tokens[i] != n {
				t.Errorf("%s: choice %d streams %q, %d tokens, %d ends; in one piece %q", kind.path, i, texts[i], tokens[i], ends[i], want)
			}
		}
	}
}

// The forms that a prompt may have.
func TestPromptsInEveryForm(t *testing.T) {
	s := start(t, nil)
	model, _ := demo()
	ids, err := model.Tokenize(story)
	if err != nil {
		t.Fatal(err)
	}
	list, _ := json.Marshal(ids)
	want := s.post("/v1/completions", `{"prompt":"`+story+`","max_tokens":6,"temperature":0}`).Choices[0].Text
	for form, n := range map[string]int{
		`["` + story + `"]`:                           1,
		`["` + story + `","` + story + `"]`:           2,
		string(list):                                  1,
		`[` + string(list) + `,` + string(list) + `]`: 2,
	} {
		got := s.post("/v1/completions", `{"prompt":`+form+`,"max_tokens":6,"temperature":0,"n":2}`)
		if len(got.Choices) != 2*n || got.Usage.Prompt != n*len(ids) {
			t.Errorf("%s: %d choices, %d tokens of prompts", form, len(got.Choices), got.Usage.Prompt)
		}
		for i, c := range got.Choices {
			if c.Index != i || c.Text != want {
				t.Errorf("%s: choice %d is number %d, %q", form, i, c.Index, c.Text)
			}
		}
	}
}

func TestEchoGivesThePromptAndItsLogprobs(t *testing.T) {
	s := start(t, nil)
	body := `{"prompt":"Tom was very","max_tokens":%d,"temperature":0,"echo":true,"logprobs":1}`
	got := s.post("/v1/completions", fmt.Sprintf(body, 2)).Choices[0]
	l := got.Logprobs
	if !strings.HasPrefix(got.Text, "Tom was very ") || len(l.Tokens) != 7 || l.TokenLogprobs[0] != nil || l.TopLogprobs[0] != nil {
		t.Fatalf("%+v %+v", got, l)
	}
	for i := 1; i < len(l.Tokens); i++ {
		if at := l.Offsets[i]; !strings.HasPrefix(got.Text[at:], l.Tokens[i]) || l.TopLogprobs[i][l.Tokens[i]] != *l.TokenLogprobs[i] {
			t.Errorf("token %d is %q at %d of %q: %v", i, l.Tokens[i], at, got.Text, l.TopLogprobs[i])
		}
	}
	alone := s.post("/v1/completions", fmt.Sprintf(body, 0))
	if c := alone.Choices[0]; c.Text != "Tom was very" || len(c.Logprobs.Tokens) != 5 || alone.Usage.Completion != 0 {
		t.Errorf("the prompt alone: %+v, %+v", c, alone.Usage)
	}
	if c := s.post("/v1/completions", `{"prompt":"Tom was very","max_tokens":2,"temperature":0,"logprobs":0}`).Choices[0]; len(c.Logprobs.TopLogprobs[0]) != 1 || c.Logprobs.Offsets[0] != 0 {
		t.Errorf("without alternatives: %+v", c.Logprobs)
	}
	if c := s.post("/v1/completions", `{"prompt":"Tom was very","max_tokens":2,"temperature":0,"echo":true}`).Choices[0]; c.Text != got.Text || c.Logprobs != nil {
		t.Errorf("echo without log-probabilities: %+v", c)
	}
}

// What chooses tokens does what its name says.
func TestFieldsThatChooseTokens(t *testing.T) {
	s := start(t, nil)
	write := func(fields string) string {
		return s.post("/v1/completions", `{"prompt":"`+story+`","max_tokens":30,"seed":5,`+fields+`}`).Choices[0].Text
	}
	greedy := write(`"temperature":0`)
	if write(`"temperature":3,"top_k":1`) != greedy || write(`"temperature":3,"top_p":0.000001`) != greedy || write(`"temperature":3,"min_p":1`) != greedy {
		t.Error("one candidate is not the likeliest")
	}
	free := write(`"temperature":1.5`)
	if free == greedy || free != write(`"temperature":1.5`) {
		t.Error("a seed does not give its text")
	}
	other := s.post("/v1/completions", `{"prompt":"`+story+`","max_tokens":30,"seed":6,"temperature":1.5}`).Choices[0].Text
	if other == free {
		t.Error("two seeds give one text")
	}
	stopped := write(`"temperature":0,"stop":["angry","nowhere"]`)
	if before, _, found := strings.Cut(greedy, "angry"); !found || stopped != before {
		t.Errorf("stopped at %q of %q", stopped, greedy)
	}
	for _, fields := range []string{`"repetition_penalty":50`, `"frequency_penalty":50`, `"presence_penalty":50`} {
		text := write(`"temperature":0,` + fields)
		words := strings.Fields(text)
		slices.Sort(words)
		if repeated := len(words) - len(slices.Compact(words)); repeated > 2 {
			t.Errorf("%s: %q repeats itself", fields, text)
		}
	}
	if text := write(`"temperature":0,"logit_bias":{"48":100}`); text != strings.Repeat(".", 30) {
		t.Errorf("a bias towards the full stop: %q", text)
	}
}

// Every mistake has a status, a type and the path of what is wrong.
func TestMistakesNameTheirPlace(t *testing.T) {
	s := start(t, nil)
	body := func(fields string) string { return `{"prompt":"a","max_tokens":1,` + fields + `}` }
	edits := func(edit string) string { return body(`"steering":{"edits":[` + edit + `]}`) }
	for _, test := range []struct {
		body, param, message string
		status               int
	}{
		{`{`, "", "not JSON", 400},
		{`[]`, "", "not an object", 400},
		{`{"max_tokens":1}`, "prompt", "no prompt", 400},
		{`{"prompt":[]}`, "prompt", "no prompt", 400},
		{`{"prompt":[[]]}`, "prompt[0]", "empty", 400},
		{`{"prompt":[[1,2],[3,99999]]}`, "prompt[1][1]", "outside the vocabulary", 400},
		{`{"prompt":[[1,-2]]}`, "prompt[0][1]", "outside the vocabulary", 400},
		{`{"prompt":{"a":1}}`, "prompt", "a prompt is", 400},
		{`{"prompt":"a","messages":[]}`, "messages", "not a field", 400},
		{`{"prompt":"a","model":"gpt-4"}`, "model", "no such model", 404},
		{`{"prompt":"a","model":"demo@nobody"}`, "model", "no such model", 404},
		{body(`"temperature":"hot"`), "temperature", "a number", 400},
		{body(`"temperature":-1`), "temperature", "-1", 400},
		{body(`"top_p":1.5`), "top_p", "1.5", 400},
		{body(`"n":0`), "n", "0", 400},
		{body(`"n":100000`), "n", "100000", 400},
		{body(`"n":1.5`), "n", "whole number", 400},
		{`{"prompt":"a","max_tokens":-3}`, "max_tokens", "-3", 400},
		{`{"prompt":"a","max_tokens":600}`, "max_tokens", "512", 400},
		{`{"prompt":"a","max_tokens":0}`, "max_tokens", "echo", 400},
		{body(`"logprobs":50`), "logprobs", "50", 400},
		{body(`"logprobs":true`), "logprobs", "whole number", 400},
		{body(`"top_logprobs":1`), "top_logprobs", "not a field", 400},
		{body(`"stop":["a",""]`), "stop[1]", "bytes", 400},
		{body(`"logit_bias":{"x":1}`), "logit_bias.x", "token", 400},
		{body(`"logit_bias":{"99999":1}`), "", "outside the vocabulary", 400},
		{body(`"tools":[{"type":"function"}]`), "tools", "not implemented", 400},
		{body(`"response_format":{"type":"json_object"}`), "response_format", "not implemented", 400},
		{body(`"steer":1`), "steer", "not known", 400},
		{body(`"steering_choice":[null]`), "steering_choice", "not known", 400},
		{body(`"steering":3`), "steering", "not an object", 400},
		{body(`"steering":{}`), "steering", "neither", 400},
		{body(`"steering":{"edit":[]}`), "steering.edit", "not known", 400},
		{body(`"steering":{"preset":"nobody"}`), "steering.preset", "no preset", 400},
		{body(`"steering":{"preset":"grumpy","edits":[]}`), "steering", "a preset and edits", 400},
		{edits(`{}`), "steering.edits[0]", "no vector", 400},
		{edits(`{"vector":"/etc/passwd"}`), "steering.edits[0].vector", "no vector", 400},
		{edits(`{"vector":"mood","when":{"vector":"/etc/passwd","layer":3,"above":1}}`), "steering.edits[0].when", "no vector", 400},
		{edits(`{"vector":"mood","when":{"layer":3}}`), "steering.edits[0].when", "no threshold", 400},
		{edits(`{"vector":"mood","when":{"layer":3,"above":1,"read":"token"}}`), "steering.edits[0]", "not known yet", 400},
		{edits(`{"vector":"mood","between":{"begin":"a","end":""}}`), "steering.edits[0].between", "begins or ends with nothing", 400},
		{edits(`{"vector":"mood","decay":{"half_life":-1}}`), "steering.edits[0].decay", "half-life", 400},
		{edits(`{"vector":"mood","multipler":1}`), "steering.edits[0].multipler", "not known", 400},
		{edits(`{"vector":"mood","multiplier":"1"}`), "steering.edits[0].multiplier", "a number", 400},
		{edits(`{"vector":"mood","multiplier":1e39}`), "steering.edits[0]", "not finite", 400},
		{edits(`{"vector":"mood","strength":1}`), "steering.edits[0].strength", "no calibration", 400},
		{edits(`{"vector":"mood","operator":"push"}`), "steering.edits[0].operator", "push", 400},
		{edits(`{"vector":"mood","tokens":"7:x"}`), "steering.edits[0].tokens", "7:x", 400},
		{edits(`{"vector":"mood","tokens":"7"}`), "steering.edits[0].tokens", "outside", 400},
		{edits(`{"vector":"mood"},{"vector":"mood","layers":[3,"x"]}`), "steering.edits[1].layers[1]", "whole number", 400},
		{edits(`{"vector":"mood","layers":[3,77]}`), "steering.edits[0].layers[1]", "out of range", 400},
		{edits(`{"vector":"mood","layers":[2]}`), "steering.edits[0].layers[0]", "no layer 2", 400},
		{edits(`{"vector":"mood","layers":"2:9"}`), "steering.edits[0].layers", "9", 400},
		{edits(`{"vector":"mood","layers":[]}`), "steering.edits[0].layers", "empty", 400},
		{edits(`{"vector":"mood","inline":{"layers":{"3":"AAAA"}}}`), "steering.edits[0]", "give one", 400},
		{edits(`{"inline":{"layers":{"3":"AAAA"}}}`), "steering.edits[0].inline.layers.3", "float32", 400},
		{edits(`{"inline":{"layers":{"3":"AACAPw=="}}}`), "steering.edits[0]", "has 1 elements", 400},
		{edits(`{"inline":{"layers":{"x":"AACAPw=="}}}`), "steering.edits[0].inline.layers.x", "layer", 400},
		{edits(`{"inline":{"url":"http://example.org"}}`), "steering.edits[0].inline.url", "not known", 400},
		{edits(strings.Repeat(`{"vector":"mood"},`, 16) + `{"vector":"mood"}`), "steering.edits", "17", 400},
		{body(`"n":2,"steering_choices":[null]`), "steering_choices", "1 for 2", 400},
		{body(`"steering":null,"steering_choices":[null]`), "steering", "more than once", 400},
		{body(`"model":"demo@grumpy","steering":null`), "steering", "more than once", 400},
		{body(`"n":2,"steering_choices":[null,{"edits":[{"vector":"gone"}]}]`), "steering_choices[1].edits[0].vector", "no vector", 400},
		{body(`"projections":[{"vector":"gone"}]`), "projections[0].vector", "no vector", 400},
		{body(`"projections":[{"vector":"mood","layer":4}]`), "projections[0].layer", "no layer 4", 400},
		{body(`"projections":[{"vector":"mood","of":"both"}]`), "projections[0].of", "steered or unsteered", 400},
	} {
		r := s.do("POST", "/v1/completions", test.body)
		m := mistakeOf(t, r.body)
		param := ""
		if m.Error.Param != nil {
			param = *m.Error.Param
		}
		if r.status != test.status || param != test.param || !strings.Contains(m.Error.Message, test.message) {
			t.Errorf("%s:\n%d %s %q, want %d %s and %q", test.body, r.status, param, m.Error.Message, test.status, test.param, test.message)
		}
	}
	chat := func(fields string) string { return `{"max_tokens":1,` + fields + `}` }
	for body, param := range map[string]string{
		chat(`"prompt":"a"`):  "prompt",
		chat(`"messages":[]`): "messages",
		chat(`"messages":[{"role":"user","content":"a"},{"role":"user"}]`):                                    "messages[1].content",
		chat(`"messages":[{"content":"a"}]`):                                                                  "messages[0].role",
		chat(`"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///x"}}]}]`): "messages[0].content",
		chat(`"messages":[{"role":"assistant","content":"a","tool_calls":[{"id":"1"}]}]`):                     "messages[0].tool_calls",
		chat(`"messages":[{"role":"tool","content":"a"}]`):                                                    "messages",
		chat(`"messages":[{"role":"user","content":"a"}],"top_logprobs":2`):                                   "top_logprobs",
		chat(`"messages":[{"role":"user","content":"a"}],"chat_template":"{{ 1 }}"`):                          "chat_template",
		chat(`"messages":[{"role":"user","content":"a"}],"max_tokens":1,"max_completion_tokens":2`):           "max_completion_tokens",
	} {
		r := s.do("POST", "/v1/chat/completions", body)
		if m := mistakeOf(t, r.body); r.status != http.StatusBadRequest || m.Error.Param == nil || *m.Error.Param != param {
			t.Errorf("%s: %d %s, want %s", body, r.status, r.body, param)
		}
	}
}

// What is ignored is named, what cannot matter is let pass.
func TestIgnoredFieldsAreNamed(t *testing.T) {
	s := start(t, nil)
	r := s.do("POST", "/v1/completions", `{"prompt":"a","max_tokens":1,"user":"u","store":false,"tools":[],"best_of":1,"suffix":null,"response_format":{"type": "text"},"x\ny":1}`)
	if got := r.header.Get("X-Steer-Ignored"); r.status != 200 || got != "best_of, response_format, store, suffix, tools, user, ?" {
		t.Errorf("%d %q %s", r.status, got, r.body)
	}
}

func TestModelsAndTokens(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.Default = "grumpy" })
	var list struct{ Data []struct{ ID, Object string } }
	if err := json.Unmarshal(s.do("GET", "/v1/models", "").body, &list); err != nil || len(list.Data) != 3 {
		t.Fatalf("%v %+v", err, list)
	}
	for i, id := range []string{"demo", "demo@grumpy", "demo@none"} {
		if list.Data[i].ID != id || list.Data[i].Object != "model" || s.do("GET", "/v1/models/"+id, "").status != 200 {
			t.Errorf("model %d is %+v", i, list.Data[i])
		}
	}
	if r := s.do("GET", "/v1/models/other", ""); r.status != 404 {
		t.Errorf("another model: %d", r.status)
	}
	for _, body := range []string{`{"prompt":"Tom was"}`, `{"prompt":"Tom was","add_special_tokens":false}`} {
		var got struct{ Tokens []int }
		if err := json.Unmarshal(s.do("POST", "/tokenize", body).body, &got); err != nil || len(got.Tokens) == 0 {
			t.Fatal(err)
		}
		model, _ := demo()
		ids, _ := model.Tokenize("Tom was")
		if strings.Contains(body, "false") {
			ids = ids[1:]
		}
		if !slices.Equal(got.Tokens, ids) {
			t.Errorf("%s: %v, want %v", body, got.Tokens, ids)
		}
		tokens, _ := json.Marshal(got.Tokens)
		var text struct{ Prompt string }
		if json.Unmarshal(s.do("POST", "/detokenize", `{"tokens":`+string(tokens)+`}`).body, &text); !strings.HasSuffix(text.Prompt, "Tom was") {
			t.Errorf("%s becomes %q", tokens, text.Prompt)
		}
	}
	var info map[string]any
	if err := json.Unmarshal(s.do("GET", "/tokenizer_info", "").body, &info); err != nil || info["eos_token"] != "</s>" || info["bos_token"] != "<s>" || info["pad_token"] != nil || !utf8.ValidString(info["chat_template"].(string)) {
		t.Errorf("%v %v", err, info)
	}
	if r := s.do("GET", "/", ""); r.status != 200 || !strings.Contains(string(r.body), "<html") || !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'self'") {
		t.Errorf("the page: %d %s", r.status, r.body)
	}
	if r := s.do("GET", "/nothing", ""); r.status != 404 || mistakeOf(t, r.body).Error.Type == "" {
		t.Errorf("a page that is not there: %d", r.status)
	}
}
