// Package openai holds a server of steer to what OpenAI's own clients expect. It is a
// module of its own, so that nobody else has to load the client.
package openai

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
	"github.com/steervec/steer/serve"
)

const story = "Anna had a red kite. One day, Anna met Leo at the bridge."

// start serves the demonstration model with the vector mood and the preset grumpy,
// for the API key "key". The first request to a path that ends with /flaky is answered
// 503.
func start(t *testing.T) (url string) {
	t.Helper()
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	file, err := pairs.Open("../../testdata/mood.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	vector, err := steer.Train(t.Context(), model, file.Samples, steer.TrainOptions{Layers: []int{3}})
	if err != nil {
		t.Fatal(err)
	}
	server, err := serve.New(model, serve.Options{
		Vectors: map[string]*steer.Vector{"mood": vector}, Keys: []string{"key"},
		Presets: map[string]json.RawMessage{"grumpy": json.RawMessage(`{"edits":[{"vector":"mood","multiplier":-0.7}]}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path, flaky := strings.CutPrefix(r.URL.Path, "/flaky"); flaky {
			if requests.Add(1)%2 == 1 {
				w.Header().Set("Retry-After", "0.05")
				http.Error(w, `{"error":{"message":"too many texts wait already","type":"server_error","param":null,"code":"overloaded"}}`, http.StatusServiceUnavailable)
				return
			}
			r.URL.Path = path
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		h.Close()
		server.Close()
	})
	return h.URL
}

func client(url string) openai.Client {
	return openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("key"))
}

func chat(n int64) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: "demo", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(story)},
		MaxCompletionTokens: openai.Int(12), Temperature: openai.Float(0), N: openai.Int(n), Seed: openai.Int(7), Logprobs: openai.Bool(true), TopLogprobs: openai.Int(2),
	}
}

func TestChat(t *testing.T) {
	c := client(start(t))
	got, err := c.Chat.Completions.New(t.Context(), chat(3), option.WithJSONSet("steering_choices", []any{nil, map[string]any{"edits": []any{map[string]any{"vector": "mood", "multiplier": 0.7, "tokens": "response"}}}, map[string]any{"preset": "grumpy"}}))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]bool{}
	for i, choice := range got.Choices {
		texts[choice.Message.Content] = true
		if choice.Index != int64(i) || choice.FinishReason != "length" || len(choice.Logprobs.Content) != 12 || len(choice.Logprobs.Content[0].TopLogprobs) != 2 || choice.Message.Role != "assistant" {
			t.Errorf("choice %d is %+v", i, choice)
		}
	}
	if len(texts) != 3 || got.Usage.CompletionTokens != 36 || got.Usage.TotalTokens != got.Usage.PromptTokens+36 {
		t.Errorf("%d texts, usage %+v", len(texts), got.Usage)
	}
	again, err := c.Chat.Completions.New(t.Context(), chat(1))
	if err != nil || again.Usage.PromptTokensDetails.CachedTokens == 0 || again.Choices[0].Message.Content != got.Choices[0].Message.Content {
		t.Errorf("%v, %+v", err, again)
	}
}

func TestStream(t *testing.T) {
	c := client(start(t))
	params := chat(3)
	params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	stream := c.Chat.Completions.NewStreaming(t.Context(), params)
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		if !all.AddChunk(stream.Current()) {
			t.Fatalf("the client cannot add %s", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	whole, err := c.Chat.Completions.New(t.Context(), chat(3))
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Choices) != 3 || all.Usage.CompletionTokens != 36 {
		t.Fatalf("%d choices, usage %+v", len(all.Choices), all.Usage)
	}
	for i := range all.Choices {
		if a, b := all.Choices[i], whole.Choices[i]; a.Message.Content != b.Message.Content || a.FinishReason != b.FinishReason || len(a.Logprobs.Content) != 12 {
			t.Errorf("choice %d streams %+v, in one piece %+v", i, a, b)
		}
	}
}

func TestCompletions(t *testing.T) {
	c := client(start(t))
	got, err := c.Completions.New(t.Context(), openai.CompletionNewParams{
		Model: "demo@grumpy", Prompt: openai.CompletionNewParamsPromptUnion{OfArrayOfStrings: []string{story, "Tom was"}}, MaxTokens: openai.Int(4), Temperature: openai.Float(0), Echo: openai.Bool(true), Logprobs: openai.Int(1),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Choices) != 2 || !strings.HasPrefix(got.Choices[0].Text, story) || len(got.Choices[0].Logprobs.Tokens) != 21 || got.Model != "demo@grumpy" {
		t.Errorf("%+v", got)
	}
	stream := c.Completions.NewStreaming(t.Context(), openai.CompletionNewParams{
		Model: "demo@grumpy", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(story)}, MaxTokens: openai.Int(4), Temperature: openai.Float(0), Echo: openai.Bool(true),
	})
	text := ""
	for stream.Next() {
		text += stream.Current().Choices[0].Text
	}
	if stream.Err() != nil || text != got.Choices[0].Text {
		t.Errorf("%v: it streams %q, in one piece %q", stream.Err(), text, got.Choices[0].Text)
	}
}

func TestModelsAndErrors(t *testing.T) {
	url := start(t)
	c := client(url)
	page, err := c.Models.List(t.Context())
	if err != nil || len(page.Data) != 3 || page.Data[1].ID != "demo@grumpy" {
		t.Fatalf("%v %+v", err, page)
	}
	for name, test := range map[string]struct {
		client openai.Client
		model  string
		option option.RequestOption
		status int
		param  string
		code   string
	}{
		"another model": {c, "gpt-5", option.WithMaxRetries(0), 404, "model", "model_not_found"},
		"no key":        {openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("other"), option.WithMaxRetries(0)), "demo", option.WithMaxRetries(0), 401, "", "invalid_api_key"},
		"a slip":        {c, "demo", option.WithJSONSet("steering", map[string]any{"edits": []any{map[string]any{"vector": "mood", "layers": []int{77}}}}), 400, "steering.edits[0].layers[0]", ""},
	} {
		params := chat(1)
		params.Model = test.model
		_, err := test.client.Chat.Completions.New(t.Context(), params, test.option)
		wrong := (*openai.Error)(nil)
		if !errors.As(err, &wrong) || wrong.StatusCode != test.status || wrong.Param != test.param || wrong.Code != test.code || wrong.Message == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheClientComesAgainAfter503(t *testing.T) {
	c := openai.NewClient(option.WithBaseURL(start(t)+"/flaky/v1"), option.WithAPIKey("key"))
	if got, err := c.Chat.Completions.New(t.Context(), chat(1)); err != nil || got.Choices[0].Message.Content == "" {
		t.Errorf("%v %+v", err, got)
	}
	if _, err := c.Chat.Completions.New(context.Background(), chat(1), option.WithMaxRetries(0)); err == nil {
		t.Error("the server never answered 503")
	}
}

// The same with OpenAI's client for JavaScript, where node and npm are.
func TestJavaScript(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not there")
	}
	if _, err := os.Stat("node_modules/openai"); err != nil {
		install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
		if out, err := install.CombinedOutput(); err != nil {
			t.Skipf("the client cannot be had: %v\n%s", err, out)
		}
	}
	run := exec.CommandContext(t.Context(), "node", "client.mjs", start(t))
	if out, err := run.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
