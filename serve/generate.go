package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/steervec/steer/lm"
)

// job is a request on its way: its texts, prompt by prompt and in each choice by
// choice.
type job struct {
	request *request
	server  *Server
	id      string
	created int64
	model   string // as the request names it
	opts    lm.GenerateOptions
	prompts [][]int  // tokens
	texts   []string // of the prompts, for echo
	choices []*choice
	how     []*steering // of each choice
	reads   []projection
	changed chan struct{}
	hidden  int // tokens at the end that nobody asked for
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request)     { s.write(w, r, true) }
func (s *Server) complete(w http.ResponseWriter, r *http.Request) { s.write(w, r, false) }

// write answers a request for texts.
func (s *Server) write(w http.ResponseWriter, r *http.Request, chat bool) {
	if s.loop.full() { // not worth reading
		overloaded("too many texts wait already").write(w)
		return
	}
	body, p := s.readBody(w, r)
	if p != nil {
		p.write(w)
		return
	}
	request, p := parseRequest(body, chat)
	if request != nil && len(request.ignored) > 0 {
		w.Header().Set("X-Steer-Ignored", strings.Join(printableKeys(request.ignored), ", "))
	}
	if p != nil {
		p.write(w)
		return
	}
	// Whoever leaves, by whatever way, takes the texts out of the batch.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	j, p := s.begin(ctx, request, r.Header.Get("X-Steering"), seenOf(r).salt)
	if p != nil {
		p.write(w)
		return
	}
	known := seenOf(r)
	if j.request.Stream {
		j.stream(ctx, w)
	} else {
		j.answer(ctx, w)
	}
	usage := j.usage()
	known.note = append(known.note, slog.String("model", j.model), slog.Int("texts", len(j.choices)), slog.Int("prompt_tokens", usage.Prompt), slog.Int("completion_tokens", usage.Completion))
}

// begin checks a request and queues its texts.
func (s *Server) begin(ctx context.Context, r *request, header, keySalt string) (*job, *problem) {
	name, preset, p := s.modelOf(r.Model)
	if p != nil {
		return nil, p
	}
	each, together, p := s.steeringOf(r, preset, header)
	if p != nil {
		return nil, p
	}
	j := &job{request: r, server: s, id: r.prefix() + rand.Text(), created: time.Now().Unix(), model: name, changed: make(chan struct{}, 1)}
	if j.opts, p = r.options(); p != nil {
		return nil, p
	}
	if j.reads, p = s.parseProjections(r.Projections); p != nil {
		return nil, p
	}
	arrived, places := time.Now(), r.sequences()
	if places > s.loop.waiting {
		return nil, invalid("n", "%d texts are more than may ever wait here, %d", places, s.loop.waiting)
	}
	if !s.loop.enter(places) {
		return nil, overloaded("too many texts wait already")
	}
	// From here on every way out gives the places back, or has the texts in the queue.
	if p := j.tokenize(ctx); p != nil {
		s.loop.leave(places)
		return nil, p
	}
	salt := r.CacheSalt
	if keySalt != "" {
		salt = keySalt + "/" + salt
	}
	for _, tokens := range j.prompts {
		for i, st := range each {
			if p := st.check(len(tokens)); p != nil {
				s.loop.leave(places)
				return nil, p
			}
			in := lm.Input{Tokens: tokens, Steering: st.lm(), Salt: salt}
			if !together {
				in.Seed = uint64(i)
			}
			j.how = append(j.how, st)
			j.choices = append(j.choices, &choice{ctx: ctx, in: in, opts: j.opts, changed: j.changed, arrived: arrived})
		}
	}
	for i := range j.choices {
		j.choices[i].opts.MaxTokens = j.room(j.choices[i].in.Tokens)
	}
	s.loop.submit(j.choices)
	return j, nil
}

// modelOf reads the name of a model, with a preset behind it or not.
func (s *Server) modelOf(name string) (full, preset string, p *problem) {
	if name == "" || name == s.opts.Name {
		return s.opts.Name, "", nil
	}
	if preset, ok := strings.CutPrefix(name, s.opts.Name+"@"); ok {
		if _, known := s.presets[preset]; known {
			return name, preset, nil
		}
	}
	return "", "", noModel()
}

// tokenize makes tokens of the prompts and checks that they fit.
func (j *job) tokenize(ctx context.Context) *problem {
	s := j.server
	if j.request.chat {
		messages := make([]lm.Message, len(j.request.Messages))
		for i, m := range j.request.Messages {
			messages[i] = lm.Message{Role: m.Role, Content: string(m.Content)}
		}
		tokens, err := s.model.Chat(ctx, messages, lm.ChatOptions{AddGenerationPrompt: messages[len(messages)-1].Role != "assistant", Template: s.opts.ChatTemplate})
		if err != nil {
			return invalid("messages", "%v", err)
		}
		j.prompts = [][]int{tokens}
	}
	for i, p := range j.request.Prompt {
		tokens, text := p.ids, p.text
		var err error
		if tokens == nil {
			tokens, err = s.model.Tokenize(text)
		} else {
			text = s.texts.decode(tokens, true)
		}
		switch {
		case err != nil:
			return invalid(at("prompt", i), "%v", err)
		case len(tokens) == 0:
			return invalid(at("prompt", i), "it is empty")
		}
		for k, t := range tokens {
			if t < 0 || t >= s.model.Decoder().Vocabulary {
				return invalid(at(at("prompt", i), k), "token %d is outside the vocabulary of %d", t, s.model.Decoder().Vocabulary)
			}
		}
		j.prompts, j.texts = append(j.prompts, tokens), append(j.texts, text)
	}
	for _, tokens := range j.prompts {
		most := s.context
		if need := len(tokens) + max(1, orZero(j.request.MaxTokens)); need > most {
			p := invalid("max_tokens", "the prompt has %d tokens, and %d are to be written; the model has room for %d together", len(tokens), orZero(j.request.MaxTokens), most)
			p.code = "context_length_exceeded"
			return p
		}
	}
	if j.request.MaxTokens != nil && *j.request.MaxTokens == 0 {
		if !j.request.Echo {
			return invalid("max_tokens", "it is 0: nothing would come of that without echo")
		}
		j.hidden = 1
	}
	return nil
}

// completionTokens is how many tokens a completion has where the request does not
// say, as OpenAI has it.
const completionTokens = 16

// room returns how many tokens may be written after a prompt.
func (j *job) room(prompt []int) int {
	left := j.server.context - len(prompt)
	switch {
	case j.request.MaxTokens != nil:
		return max(1, *j.request.MaxTokens)
	case j.request.chat:
		return min(left, j.server.opts.MaxTokens)
	}
	return min(left, completionTokens)
}

// wait waits until there is something new, and returns false where the client has
// gone.
func (j *job) wait(ctx context.Context) bool {
	select {
	case <-j.changed:
		return true
	case <-ctx.Done():
		return false
	}
}

// problemOf says why a choice that is done has no text; nil where it has.
func problemOf(c *choice) *problem {
	err := c.failure()
	wrong := (*inputError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return invalid("", "%v", wrong)
	case errors.Is(err, errEnding):
		return overloaded("%v", err)
	case c.in.Steering != nil && c.sequence != nil:
		return invalid("steering", "%v", err) // to come again would not help
	}
	return failed("%v", err)
}

// printableKeys are the keys of a body as a header can have them.
func printableKeys(keys []string) []string {
	const most = 32
	out := make([]string, 0, len(keys))
	for _, key := range keys[:min(len(keys), most)] {
		if nameForm.MatchString(key) {
			out = append(out, key)
		} else {
			out = append(out, "?")
		}
	}
	return out
}

// usage counts tokens as OpenAI does: those of a prompt once for all its choices.
type usage struct {
	Prompt     int          `json:"prompt_tokens"`
	Completion int          `json:"completion_tokens"`
	Total      int          `json:"total_tokens"`
	Details    usageDetails `json:"prompt_tokens_details"`
}

type usageDetails struct {
	Cached int `json:"cached_tokens"` // of the prompts, those that were found by the first choice
}

func (j *job) usage() usage {
	u := usage{}
	n := len(j.choices) / len(j.prompts)
	for i, tokens := range j.prompts {
		u.Prompt += len(tokens)
		cached := len(tokens)
		for _, c := range j.choices[i*n : (i+1)*n] {
			g, _ := c.state()
			u.Completion += writtenTokens(g) - j.hidden
			cached = min(cached, g.Cached)
		}
		u.Details.Cached += cached
	}
	u.Total = u.Prompt + u.Completion
	return u
}

// writtenTokens counts the end token too.
func writtenTokens(g lm.Generation) int {
	if g.Finish == lm.FinishEnd {
		return len(g.IDs) + 1
	}
	return len(g.IDs)
}
