package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"

	"github.com/steervec/steer/lm"
)

// request is the body of a request for a text, of a chat or of a completion.
type request struct {
	Model    string    `json:"model"`
	Messages []message `json:"messages"`
	Prompt   prompts   `json:"prompt"`

	MaxTokens           *int               `json:"max_tokens"`
	MaxCompletionTokens *int               `json:"max_completion_tokens"`
	Temperature         *float64           `json:"temperature"`
	TopP                float64            `json:"top_p"`
	TopK                int                `json:"top_k"`
	MinP                float64            `json:"min_p"`
	RepetitionPenalty   float64            `json:"repetition_penalty"`
	PresencePenalty     float64            `json:"presence_penalty"`
	FrequencyPenalty    float64            `json:"frequency_penalty"`
	LogitBias           map[string]float64 `json:"logit_bias"`
	N                   *int               `json:"n"`
	Seed                *int64             `json:"seed"`
	Stop                stops              `json:"stop"`
	IgnoreEOS           bool               `json:"ignore_eos"`
	Logprobs            json.RawMessage    `json:"logprobs"` // of a chat true or false, of a completion how many
	TopLogprobs         *int               `json:"top_logprobs"`
	Echo                bool               `json:"echo"`
	Stream              bool               `json:"stream"`
	StreamOptions       streamOptions      `json:"stream_options"`

	Steering        json.RawMessage   `json:"steering"`
	SteeringChoices []json.RawMessage `json:"steering_choices"`
	Projections     []json.RawMessage `json:"projections"`
	CacheSalt       string            `json:"cache_salt"`
	ReturnTokenIDs  bool              `json:"return_token_ids"`

	chat    bool
	given   map[string]bool // the keys of the body
	ignored []string        // of them, those that change nothing
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// message is one turn of a conversation.
type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is text, or parts that are text.
type content string

func (c *content) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*c = content(text)
		return nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return fmt.Errorf("a message's content is a text or a list of parts")
	}
	for _, part := range parts {
		if part.Type != "text" {
			return fmt.Errorf("a part of type %q is no text, and the model reads nothing else", part.Type)
		}
		*c += content(part.Text)
	}
	return nil
}

// prompts is a text, a list of texts, the ids of a prompt or a list of such.
type prompts []prompt

type prompt struct {
	text string
	ids  []int // nil: the text
}

func (p *prompts) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*p = prompts{{text: text}}
		return nil
	}
	var texts []string
	if json.Unmarshal(data, &texts) == nil {
		for _, text := range texts {
			*p = append(*p, prompt{text: text})
		}
		return nil
	}
	var ids []int
	if json.Unmarshal(data, &ids) == nil {
		*p = prompts{{ids: ids}}
		return nil
	}
	var lists [][]int
	if json.Unmarshal(data, &lists) != nil {
		return fmt.Errorf("a prompt is a text, a list of texts, a list of token ids, or a list of lists of token ids")
	}
	for _, ids := range lists {
		*p = append(*p, prompt{ids: append([]int{}, ids...)})
	}
	return nil
}

// stops is a stop string or a list of them.
type stops []string

func (s *stops) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*s = stops{text}
		return nil
	}
	var texts []string
	if json.Unmarshal(data, &texts) != nil {
		return fmt.Errorf("stop is a text or a list of texts")
	}
	*s = texts
	return nil
}

// unsupported are fields that would change the text and are not implemented, with
// the values that do not.
var unsupported = map[string][]string{
	"tools": {"[]"}, "tool_choice": {`"none"`, `"auto"`}, "functions": {"[]"}, "function_call": {`"none"`, `"auto"`},
	"response_format": {`{"type":"text"}`}, "modalities": {`["text"]`}, "audio": nil, "prediction": nil, "web_search_options": nil, "reasoning_effort": nil, "verbosity": nil,
	"best_of": {"1"}, "suffix": {`""`}, "use_beam_search": {"false"}, "length_penalty": {"1", "1.0"}, "min_tokens": {"0"}, "stop_token_ids": {"[]"}, "bad_words": {"[]"},
	"allowed_token_ids": nil, "prompt_logprobs": nil, "truncate_prompt_tokens": nil, "logits_processors": {"[]"}, "include_stop_str_in_output": {"false"},
	"skip_special_tokens": {"true"}, "add_special_tokens": {"true"}, "chat_template": nil, "chat_template_kwargs": {"{}"}, "add_generation_prompt": {"true"}, "continue_final_message": {"false"},
	"documents": {"[]"}, "guided_json": nil, "guided_regex": nil, "guided_choice": nil, "guided_grammar": nil, "structured_outputs": nil, "grammar": {`""`}, "json_schema": nil,
	"typical_p": {"1", "1.0"}, "tfs_z": {"1", "1.0"}, "top_a": {"0"}, "mirostat": {"0"}, "mirostat_mode": {"0"}, "dry_multiplier": {"0"}, "xtc_probability": {"0"}, "lora": {"[]"}, "control_vectors": {"[]"},
}

// requestKeys are the fields that a request may have.
var requestKeys = func() map[string]bool {
	keys := map[string]bool{}
	for field := range reflect.TypeFor[request]().Fields() {
		if key := field.Tag.Get("json"); key != "" {
			keys[key] = true
		}
	}
	return keys
}()

// parseRequest reads a body. What is not known and cannot change the text is
// ignored, and named to the client.
func parseRequest(body []byte, chat bool) (*request, *problem) {
	var keys map[string]json.RawMessage
	if json.Unmarshal(body, &keys) != nil || keys == nil {
		return nil, invalid("", "the body is not an object")
	}
	r := &request{chat: chat, given: map[string]bool{}}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		value := keys[key]
		neutral, changes := unsupported[key]
		switch {
		case requestKeys[key]:
			if isNull(value) && key != "steering" { // which says something by it
				continue
			}
			r.given[key] = true
			if p := r.set(key, value); p != nil {
				return nil, p
			}
		case changes && !isNull(value) && !slices.Contains(neutral, compact(value)):
			return nil, invalid(key, "it is not implemented, and the text would be another with it")
		case strings.HasPrefix(key, "steer") || strings.HasPrefix(key, "project"):
			return nil, invalid(key, "this key is not known; there are steering, steering_choices and projections")
		default:
			r.ignored = append(r.ignored, key)
		}
	}
	return r, r.check()
}

// compact returns a JSON value without white space.
func compact(value json.RawMessage) string {
	var out bytes.Buffer
	if json.Compact(&out, value) != nil {
		return string(value)
	}
	return out.String()
}

// set reads the value of one field.
func (r *request) set(key string, value json.RawMessage) *problem {
	switch key {
	case "messages":
		return r.setMessages(value)
	case "steering":
		r.Steering = value
		return nil
	case "stream_options":
		if err := json.Unmarshal(value, &r.StreamOptions); err != nil {
			return invalid(key, "%s", jsonMistake(err))
		}
		return nil
	}
	one, err := json.Marshal(map[string]json.RawMessage{key: value})
	if err == nil {
		err = json.Unmarshal(one, r)
	}
	if err != nil {
		return invalid(key, "%s", jsonMistake(err))
	}
	return nil
}

func (r *request) setMessages(value json.RawMessage) *problem {
	var messages []map[string]json.RawMessage
	if json.Unmarshal(value, &messages) != nil {
		return invalid("messages", "it is not a list of messages")
	}
	for i, m := range messages {
		where := at("messages", i)
		for _, key := range slices.Sorted(maps.Keys(m)) {
			switch raw := m[key]; key {
			case "role", "content", "name", "refusal", "annotations": // what an answer of ours may come back with
			default:
				if !isNull(raw) && compact(raw) != "[]" {
					return invalid(join(where, key), "it is not implemented, and the text would be another with it")
				}
			}
		}
		var one message
		if raw, ok := m["role"]; !ok || json.Unmarshal(raw, &one.Role) != nil || one.Role == "" {
			return invalid(join(where, "role"), "a message has a role, such as user")
		}
		if isNull(m["content"]) {
			return invalid(join(where, "content"), "a message has a content")
		}
		if err := json.Unmarshal(m["content"], &one.Content); err != nil {
			return invalid(join(where, "content"), "%v", err)
		}
		r.Messages = append(r.Messages, one)
	}
	return nil
}

// check refuses what makes no sense, or is more than one request may have.
func (r *request) check() *problem {
	foreign := map[bool][]string{true: {"prompt", "echo"}, false: {"messages", "top_logprobs"}}
	for _, key := range foreign[r.chat] {
		if r.given[key] {
			return invalid(key, "it is not a field of this kind of request")
		}
	}
	if r.chat && len(r.Messages) == 0 {
		return invalid("messages", "there are no messages")
	}
	if !r.chat && len(r.Prompt) == 0 {
		return invalid("prompt", "there is no prompt")
	}
	if r.given["max_tokens"] && r.given["max_completion_tokens"] && *r.MaxTokens != *r.MaxCompletionTokens {
		return invalid("max_completion_tokens", "max_tokens is another number; give one of them")
	}
	if r.MaxTokens == nil {
		r.MaxTokens = r.MaxCompletionTokens
	}
	for _, bound := range []struct {
		key       string
		n         int
		low, high int
	}{
		{"messages", len(r.Messages), 0, maxMessages}, {"prompt", len(r.Prompt), 0, maxPrompts}, {"n", r.choices(), 1, maxChoices},
		{"stop", len(r.Stop), 0, maxStops}, {"logit_bias", len(r.LogitBias), 0, maxBiases}, {"projections", len(r.Projections), 0, maxProjections},
	} {
		if bound.n < bound.low || bound.n > bound.high {
			return invalid(bound.key, "there are %d, and %d to %d can be", bound.n, bound.low, bound.high)
		}
	}
	for _, bound := range []struct {
		key       string
		x         float64
		low, high float64
	}{
		{"temperature", orZero(r.Temperature), 0, 100}, {"top_p", r.TopP, 0, 1}, {"top_k", float64(r.TopK), -1, 1e9}, {"min_p", r.MinP, 0, 1},
		{"repetition_penalty", r.RepetitionPenalty, 0, 100}, {"presence_penalty", r.PresencePenalty, -100, 100}, {"frequency_penalty", r.FrequencyPenalty, -100, 100},
		{"max_tokens", float64(orZero(r.MaxTokens)), 0, 1e9}, {"max_completion_tokens", float64(orZero(r.MaxCompletionTokens)), 0, 1e9},
	} {
		if !(bound.low <= bound.x && bound.x <= bound.high) {
			return invalid(bound.key, "it is %v, not from %v to %v", bound.x, bound.low, bound.high)
		}
	}
	if n := r.sequences(); n > maxSequences {
		return invalid("n", "%d prompts times %d choices are more than %d texts", len(r.Prompt), r.choices(), maxSequences)
	}
	for i, stop := range r.Stop {
		if stop == "" || len(stop) > maxStopBytes {
			return invalid(at("stop", i), "a stop string has 1 to %d bytes", maxStopBytes)
		}
	}
	return nil
}

func orZero[N any](n *N) (value N) {
	if n != nil {
		value = *n
	}
	return value
}

// has reports whether the body has a key.
func (r *request) has(key string) bool { return r.given[key] }

// choices returns how many texts a prompt is to get.
func (r *request) choices() int {
	if r.N == nil {
		return 1
	}
	return *r.N
}

// prefix is what the answer's id begins with.
func (r *request) prefix() string {
	if r.chat {
		return "chatcmpl-"
	}
	return "cmpl-"
}

// sequences returns how many texts the request asks for.
func (r *request) sequences() int { return max(1, len(r.Prompt)) * r.choices() }

// options returns how tokens are chosen, but for their number.
func (r *request) options() (lm.GenerateOptions, *problem) {
	opts := lm.GenerateOptions{
		Temperature: 1, TopK: r.TopK, TopP: r.TopP, MinP: r.MinP, RepetitionPenalty: r.RepetitionPenalty,
		PresencePenalty: r.PresencePenalty, FrequencyPenalty: r.FrequencyPenalty, Stop: r.Stop, IgnoreEnd: r.IgnoreEOS,
	}
	if r.Temperature != nil {
		opts.Temperature = *r.Temperature
	}
	if opts.TopK == -1 { // vLLM's word for all
		opts.TopK = 0
	}
	opts.Seed = rand.Uint64N(1 << 53) // a number that JSON's readers can hold
	if r.Seed != nil {
		opts.Seed = uint64(*r.Seed)
	}
	for _, text := range slices.Sorted(maps.Keys(r.LogitBias)) {
		var token int
		if _, err := fmt.Sscanf(text+"\n", "%d\n", &token); err != nil {
			return opts, invalid(join("logit_bias", text), "it is not a token's id")
		}
		if opts.LogitBias == nil {
			opts.LogitBias = map[int]float64{}
		}
		opts.LogitBias[token] = r.LogitBias[text]
	}
	return opts, r.setLogprobs(&opts)
}

// setLogprobs reads which log-probabilities are wanted: of a chat logprobs is true or
// false and top_logprobs how many, of a completion logprobs is how many.
func (r *request) setLogprobs(opts *lm.GenerateOptions) *problem {
	if r.chat {
		if r.given["logprobs"] && json.Unmarshal(r.Logprobs, &opts.Logprobs) != nil {
			return invalid("logprobs", "of a chat it is true or false")
		}
		if r.TopLogprobs != nil {
			opts.TopLogprobs = *r.TopLogprobs
			if !opts.Logprobs {
				return invalid("top_logprobs", "logprobs is not true")
			}
		}
	} else if r.given["logprobs"] {
		if json.Unmarshal(r.Logprobs, &opts.TopLogprobs) != nil {
			return invalid("logprobs", "of a completion it is a whole number")
		}
		opts.Logprobs, opts.Echo = true, r.Echo
	}
	if n := opts.TopLogprobs; n < 0 || n > maxAlternative {
		key := "logprobs"
		if r.chat {
			key = "top_logprobs"
		}
		return invalid(key, "it is %d, not from 0 to %d", n, maxAlternative)
	}
	return nil
}
