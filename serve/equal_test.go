package serve_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/serve"
)

// steeredBody is a request and what it is to write, as the library writes it alone.
type steeredBody struct {
	body, want string
	tokens     int
}

// steeredDifferently are requests for one prompt, each steered in its own way.
func steeredDifferently(t *testing.T, n int) (all []steeredBody) {
	t.Helper()
	model, vector := demo()
	scopes := []string{"", "response", "prompt", "3:", "-1"}
	for i := range n {
		multiplier, tokens := float64(i-n/2)/8, scopes[i%len(scopes)]
		how := steer.Intervention{Multiplier: &multiplier, Tokens: tokens}
		edit, err := how.Edit(model, vector)
		if err != nil {
			t.Fatal(err)
		}
		steered, err := model.With(edit)
		if err != nil {
			t.Fatal(err)
		}
		out, err := steered.Generate(t.Context(), []lm.Input{{Text: story}}, lm.GenerateOptions{MaxTokens: 24, Temperature: 1, Seed: uint64(i % 3), Logprobs: true})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, steeredBody{
			fmt.Sprintf(`{"prompt":%q,"max_tokens":24,"seed":%d,"steering":{"edits":[{"vector":"mood","multiplier":%v,"tokens":%q}]}}`, story, i%3, multiplier, tokens),
			out[0].Text, len(out[0].Logprobs),
		})
	}
	return all
}

// Requests that come together, each steered differently, write what they write
// alone: whatever is in the cache, however prompts are cut, and whatever had to go.
func TestConcurrentRequestsWriteWhatTheyWriteAlone(t *testing.T) {
	all := steeredDifferently(t, 16)
	for name, change := range map[string]func(*serve.Options){
		"cold and warm":   nil,
		"chunked":         func(o *serve.Options) { o.RunTokens = 3 },
		"evicted":         func(o *serve.Options) { o.Cache = 320 },
		"one at a time":   func(o *serve.Options) { o.Running = 1 },
		"a few at a time": func(o *serve.Options) { o.Running, o.RunTokens = 3, 7 },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, change)
			for round := range 3 {
				var wait sync.WaitGroup
				for i, r := range all {
					wait.Go(func() {
						body := r.body
						if (i+round)%2 == 0 {
							body = strings.Replace(body, "{", `{"stream":true,`, 1)
						}
						answer := s.do("POST", "/v1/completions", body)
						if got := written(t, answer.body); got != r.want {
							t.Errorf("round %d: %s\nwrote %q, alone %q", round, body, got, r.want)
						}
					})
				}
				wait.Wait()
			}
			if err := s.server.CheckIdle(); err != nil {
				t.Error(err)
			}
		})
	}
}

// written returns the text of the first choice of a completion, streamed or not.
func written(t *testing.T, body []byte) (out string) {
	if strings.HasPrefix(string(body), "data: ") {
		for _, event := range events(t, body) {
			var chunk text
			if event != "[DONE]" && json.Unmarshal([]byte(event), &chunk) == nil && len(chunk.Choices) > 0 {
				out += chunk.Choices[0].Text
			}
		}
		return out
	}
	var whole text
	if err := json.Unmarshal(body, &whole); err != nil || len(whole.Choices) == 0 {
		t.Errorf("the answer is %s", body)
		return ""
	}
	return whole.Choices[0].Text
}

// Nothing of one steering is left for the next, though all draw on one cache.
func TestSteeringsThatAlternateDoNotLeak(t *testing.T) {
	s := start(t, nil)
	first := map[float64]string{}
	for round := range 3 {
		for _, multiplier := range []float64{0, 0.7, -0.7, 0} {
			got := s.post("/v1/completions", fmt.Sprintf(`{"prompt":%q,"max_tokens":30,"temperature":0,"steering":{"edits":[{"vector":"mood","multiplier":%v}]}}`, story, multiplier))
			if want, again := first[multiplier]; again && got.Choices[0].Text != want {
				t.Errorf("round %d, multiplier %v: %q, at first %q", round, multiplier, got.Choices[0].Text, want)
			}
			first[multiplier] = got.Choices[0].Text
		}
	}
	plain := s.post("/v1/completions", fmt.Sprintf(`{"prompt":%q,"max_tokens":30,"temperature":0}`, story)).Choices[0].Text
	if first[0] != plain || first[0.7] == plain || first[-0.7] == plain || first[0.7] == first[-0.7] {
		t.Errorf("unsteered %q, steered %v", plain, first)
	}
}

// The choices of a request share what is steered alike: with a scope that begins
// after the prompt, the prompt is computed once for all.
func TestChoicesShareThePrompt(t *testing.T) {
	for _, test := range []struct {
		scope    string
		computed func(prompt, choices, tokens int) int
	}{
		{"response", func(prompt, choices, tokens int) int { return prompt + choices*(tokens-1) }},
		{"", func(prompt, choices, tokens int) int { return choices * (prompt + tokens - 1) }},
	} {
		s := start(t, nil)
		steering := func(multiplier float64) string {
			return fmt.Sprintf(`{"edits":[{"vector":"mood","multiplier":%v,"tokens":%q}]}`, multiplier, test.scope)
		}
		got := s.post("/v1/completions", fmt.Sprintf(`{"prompt":%q,"max_tokens":10,"n":4,"seed":1,"ignore_eos":true,"steering_choices":[null,%s,%s,%s]}`, story, steering(0.5), steering(-0.5), steering(0.7)))
		computed := s.metric(t, "steer_computed_tokens_total")
		if want := test.computed(got.Usage.Prompt, 4, 10); int(computed) != want {
			t.Errorf("scope %q: %v tokens are computed, want %d", test.scope, computed, want)
		}
	}
}

// metric returns the value of a metric, or the sum of those with labels.
func (s *started) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	found := false
	for line := range strings.Lines(string(s.do("GET", "/metrics", "").body)) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == '{' || rest[0] == ' ') {
			var value float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &value); err != nil {
				t.Fatal(err)
			}
			sum, found = sum+value, true
		}
	}
	if !found {
		t.Errorf("there is no metric %s", name)
	}
	return sum
}

// Each choice can have its own steering, with the same random numbers; the answer
// tells what acted, where, and what the texts are like.
func TestChoicesAreSteeredEachInItsWay(t *testing.T) {
	s := start(t, nil)
	request := fmt.Sprintf(`{"prompt":%q,"max_tokens":12,"seed":7,"n":4,"steering_choices":[null,{"edits":[{"vector":"mood","multiplier":0.7,"operator":"add","layers":[3],"tokens":"response"}]},{"preset":"grumpy"},false],
		"projections":[{"vector":"mood","layer":3,"of":"unsteered"},{"vector":"mood","of":"steered"}]}`, story)
	got := s.post("/v1/completions", request)
	if got.Choices[0].Text != got.Choices[3].Text {
		t.Errorf("two unsteered choices that draw alike: %q and %q", got.Choices[0].Text, got.Choices[3].Text)
	}
	prompt, one := got.Usage.Prompt, got.Choices[1].Steer
	if e := one.Edits[0]; e.Prompt != 0 || e.Response != 11 || e.Vector != "mood" || e.Multiplier != 0.7 || e.Operator != "add" || e.Layers[0] != 3 || e.Tokens != "response" || !strings.HasPrefix(e.Hash, "sha256:") {
		t.Errorf("%+v", e)
	}
	if e := got.Choices[2].Steer.Edits[0]; e.Prompt != prompt || e.Response != 11 || e.Multiplier != -0.7 || e.Tokens != "all" {
		t.Errorf("%+v", e)
	}
	if len(got.Choices[0].Steer.Edits) != 0 || one.Seed != 7 {
		t.Errorf("%+v", got.Choices[0].Steer)
	}
	model, vector := demo()
	for i, c := range got.Choices {
		if len(c.Steer.Projections) != 2 || len(c.Steer.Tokens.Prompt) != prompt || len(c.Steer.Tokens.Response) != 12 {
			t.Fatalf("choice %d has %+v", i, c.Steer)
		}
		for _, p := range c.Steer.Projections {
			watched := model
			if p.Of == "steered" {
				multiplier := map[int]float64{0: 0, 1: 0.7, 2: -0.7, 3: 0}[i]
				how := steer.Intervention{Multiplier: &multiplier}
				if i == 1 {
					how.Tokens = "response"
				}
				edit, err := how.Edit(model, vector)
				if err != nil {
					t.Fatal(err)
				}
				if watched, err = model.With(edit); err != nil {
					t.Fatal(err)
				}
			}
			ids, err := model.Tokenize(story)
			if err != nil {
				t.Fatal(err)
			}
			more, err := model.TokenizeContinuation(c.Text)
			if err != nil {
				t.Fatal(err)
			}
			in := lm.Input{Tokens: append(ids, more...), Prompt: len(ids)}
			_, err = watched.Forward(t.Context(), []lm.Input{in}, lm.ForwardOptions{
				Taps: []lm.Address{{Layer: 3, Site: lm.DecoderBlock}},
				Activation: func(_, position int, _ lm.Address, activation []float32) {
					var along float64
					for k, x := range vector.Layers[3] {
						along += float64(activation[k]) * float64(x) / vector.Norms()[3]
					}
					values := append(append([]float32{}, p.Prompt...), p.Response...)
					if difference := along - float64(values[position]); difference > 1e-3 || difference < -1e-3 {
						t.Errorf("choice %d, %s, position %d: %v, want %v", i, p.Of, position, values[position], along)
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// A stream tells the same, with the last chunk of each choice.
	told := 0
	for _, event := range events(t, s.do("POST", "/v1/completions", strings.Replace(request, "{", `{"stream":true,`, 1)).body) {
		var chunk text
		if event == "[DONE]" {
			continue
		}
		if err := json.Unmarshal([]byte(event), &chunk); err != nil {
			t.Fatal(err)
		}
		for _, c := range chunk.Choices {
			if c.Steer != nil {
				told++
				if whole := got.Choices[c.Index].Steer; fmt.Sprint(*c.Steer) != fmt.Sprint(*whole) {
					t.Errorf("choice %d streams %+v, in one piece %+v", c.Index, c.Steer, whole)
				}
			}
		}
	}
	if told != 4 {
		t.Errorf("%d choices are told of", told)
	}
}

// However steering is asked for, it is the same.
func TestSteeringByBodyHeaderNameAndDefault(t *testing.T) {
	body := func(fields string) string {
		return fmt.Sprintf(`{"prompt":%q,"max_tokens":20,"temperature":0%s}`, story, fields)
	}
	plain := start(t, nil)
	byDefault := start(t, func(o *serve.Options) { o.Default = "grumpy" })
	unsteered := plain.post("/v1/completions", body("")).Choices[0].Text
	grumpy := plain.post("/v1/completions", body(`,"steering":{"preset":"grumpy"}`)).Choices[0].Text
	if grumpy == unsteered {
		t.Fatal("the preset does nothing")
	}
	for name, got := range map[string]string{
		"the header":             plain.post("/v1/completions", body(""), "X-Steering", "grumpy").Choices[0].Text,
		"the model's name":       plain.post("/v1/completions", body(`,"model":"demo@grumpy"`)).Choices[0].Text,
		"edits":                  plain.post("/v1/completions", body(`,"steering":{"edits":[{"vector":"mood","multiplier":-0.7}]}`)).Choices[0].Text,
		"a condition that holds": plain.post("/v1/completions", body(`,"steering":{"edits":[{"vector":"mood","multiplier":-0.7,"when":{"vector":"mood","layer":3,"measure":"projection","above":-1e9}}]}`)).Choices[0].Text,
		"an inline vector":       plain.post("/v1/completions", body(`,"steering":{"edits":[{"inline":{"layers":{"3":"`+inline(-0.7)+`"}}}]}`)).Choices[0].Text,
		"the server's preset":    byDefault.post("/v1/completions", body("")).Choices[0].Text,
	} {
		if got != grumpy {
			t.Errorf("by %s: %q, want %q", name, got, grumpy)
		}
	}
	for name, got := range map[string]string{
		"a condition that does not": byDefault.post("/v1/completions", body(`,"steering":{"edits":[{"vector":"mood","multiplier":-0.7,"when":{"vector":"mood","layer":3,"above":2}}]}`)).Choices[0].Text,
		"null":                      byDefault.post("/v1/completions", body(`,"steering":null`)).Choices[0].Text,
		"false":                     byDefault.post("/v1/completions", body(`,"steering":false`)).Choices[0].Text,
		"the name of nothing":       byDefault.post("/v1/completions", body(`,"model":"demo@none"`)).Choices[0].Text,
		"a choice that is nil":      byDefault.post("/v1/completions", body(`,"steering_choices":[null]`)).Choices[0].Text,
	} {
		if got != unsteered {
			t.Errorf("by %s: %q, want %q", name, got, unsteered)
		}
	}
}

// A condition in a request names vectors of the server. The answer tells where it
// held: a request that asks of the prompt acts on all of it, or on nothing.
func TestConditionsAreToldOf(t *testing.T) {
	s := start(t, nil)
	write := func(when string) choice {
		return s.post("/v1/completions", fmt.Sprintf(`{"prompt":%q,"max_tokens":12,"temperature":0,"ignore_eos":true,"steering":{"edits":[{"vector":"mood","multiplier":0.7,"when":%s}]}}`, story, when)).Choices[0]
	}
	always := write(`{"always":true}`)
	never := write(`{"vector":"mood","layer":3,"measure":"projection","above":1e9}`)
	held := write(`{"vector":"mood","layer":3,"measure":"projection","above":-1e9}`)
	each := write(`{"vector":"mood","layer":3,"site":"self_attn","measure":"projection","read":"token","above":0}`)
	prompt := always.Steer.Edits[0].Prompt
	for name, c := range map[string]struct {
		got   choice
		all   bool
		alike choice
	}{"held": {held, true, always}, "never": {never, false, s.post("/v1/completions", fmt.Sprintf(`{"prompt":%q,"max_tokens":12,"temperature":0,"ignore_eos":true}`, story)).Choices[0]}} {
		e := c.got.Steer.Edits[0]
		if (e.Prompt == prompt) != c.all || (e.Response == 11) != c.all || !c.all && e.Prompt+e.Response != 0 || c.got.Text != c.alike.Text {
			t.Errorf("%s: %+v wrote %q, want %q", name, e, c.got.Text, c.alike.Text)
		}
	}
	if e := each.Steer.Edits[0]; e.Prompt == 0 || e.Prompt == prompt || e.Response > 11 {
		t.Errorf("of each token: %+v", e)
	}
	r := s.do("POST", "/v1/completions", `{"prompt":"a","steering":{"edits":[{"vector":"mood","when":{"vector":"gone","above":1}}]}}`)
	if m := mistakeOf(t, r.body); r.status != 400 || *m.Error.Param != "steering.edits[0].when" {
		t.Errorf("a vector that is not there: %s", r.body)
	}
}
