package serve

import (
	"context"
	"net/http"
	"unicode/utf8"

	"github.com/steervec/steer/lm"
)

// completion is the whole of an answer, or a chunk of a stream, of both kinds.
type completion struct {
	ID          string   `json:"id"`
	Object      string   `json:"object"`
	Created     int64    `json:"created"`
	Model       string   `json:"model"`
	Fingerprint string   `json:"system_fingerprint"`
	Choices     []answer `json:"choices"`
	Usage       any      `json:"usage,omitempty"` // *usage; of chunks null until the last, where it is asked for
}

// answer is one choice, or what is new of it: a message or a delta of a chat, a text
// of a completion.
type answer struct {
	Index    int        `json:"index"`
	Message  *turn      `json:"message,omitempty"`
	Delta    *turn      `json:"delta,omitempty"`
	Text     *string    `json:"text,omitempty"`
	IDs      []int      `json:"token_ids,omitempty"` // where they are asked for, or there is no tokenizer
	Logprobs any        `json:"logprobs"`            // *chatLogprobs or *textLogprobs; nil: null
	Finish   *string    `json:"finish_reason"`
	Steer    *steerInfo `json:"steer,omitempty"`
}

// turn is a message of the assistant, or a part of one.
type turn struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// steerInfo says how a choice was steered.
type steerInfo struct {
	Seed        uint64        `json:"seed"`
	Edits       []appliedEdit `json:"edits"`
	Projections []projected   `json:"projections,omitempty"`
	Tokens      *tokenLists   `json:"tokens,omitempty"` // that the projections are of
}

// tokenLists are the texts of tokens.
type tokenLists struct {
	Prompt   []string `json:"prompt"`
	Response []string `json:"response"`
}

// chatLogprobs are the log-probabilities of a chat's tokens.
type chatLogprobs struct {
	Content []chatLogprob `json:"content"`
}

type chatLogprob struct {
	chatToken
	Top []chatToken `json:"top_logprobs"`
}

type chatToken struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// textLogprobs are those of a completion. The first token of a prompt has none.
type textLogprobs struct {
	Tokens   []string             `json:"tokens"`
	Logprobs []*float64           `json:"token_logprobs"`
	Top      []map[string]float64 `json:"top_logprobs"`
	Offsets  []int                `json:"text_offset"` // in characters
}

func (s *Server) chatLogprobs(list []lm.Logprob) *chatLogprobs {
	token := func(id int, logprob float64) chatToken {
		text := s.texts.of(id)
		bytes := make([]int, len(text))
		for i := range text {
			bytes[i] = int(text[i])
		}
		return chatToken{text, logprob, bytes}
	}
	out := &chatLogprobs{Content: []chatLogprob{}}
	for _, l := range list {
		one := chatLogprob{token(l.Token, l.Logprob), []chatToken{}}
		for _, a := range l.Top {
			one.Top = append(one.Top, token(a.Token, a.Logprob))
		}
		out.Content = append(out.Content, one)
	}
	return out
}

// textLogprobs lists log-probabilities of tokens whose text begins at an offset, and
// returns where it ends. The alternatives are keyed by their text; where two have the
// same, the likelier counts.
func (j *job) textLogprobs(list []lm.Logprob, prompt bool, offset int) (*textLogprobs, int) {
	texts := &j.server.texts
	out := &textLogprobs{Tokens: []string{}, Logprobs: []*float64{}, Top: []map[string]float64{}, Offsets: []int{}}
	for i, l := range list {
		text := texts.of(l.Token)
		out.Tokens, out.Offsets = append(out.Tokens, text), append(out.Offsets, offset)
		if !texts.special(l.Token) || !prompt && j.request.IgnoreEOS { // else the text leaves it out
			offset += utf8.RuneCountInString(text)
		}
		if prompt && i == 0 {
			out.Logprobs, out.Top = append(out.Logprobs, nil), append(out.Top, nil)
			continue
		}
		top := map[string]float64{text: l.Logprob}
		for _, a := range l.Top {
			key := texts.of(a.Token)
			if known, there := top[key]; !there || a.Logprob > known {
				top[key] = a.Logprob
			}
		}
		out.Logprobs, out.Top = append(out.Logprobs, &l.Logprob), append(out.Top, top)
	}
	return out, offset
}

// completion returns an answer without choices.
func (j *job) completion(chunk bool) completion {
	object := "text_completion"
	switch {
	case j.request.chat && chunk:
		object = "chat.completion.chunk"
	case j.request.chat:
		object = "chat.completion"
	}
	return completion{ID: j.id, Object: object, Created: j.created, Model: j.model, Fingerprint: j.server.model.Fingerprint(), Choices: []answer{}}
}

// answer waits for all texts and answers with them.
func (j *job) answer(ctx context.Context, w http.ResponseWriter) {
	for i := 0; i < len(j.choices); {
		c := j.choices[i]
		if _, done := c.state(); done {
			if p := problemOf(c); p != nil {
				p.write(w)
				return
			}
			i++
			continue
		}
		if !j.wait(ctx) {
			return // nobody is there to be told
		}
	}
	projections, p := j.project(ctx)
	if p != nil {
		p.write(w)
		return
	}
	out := j.completion(false)
	for i, c := range j.choices {
		g, _ := c.state()
		a := answer{Index: i}
		reason := finishReason(g.Finish)
		a.Finish = &reason
		a.Steer = j.steerInfo(i, g, projections)
		if j.request.chat {
			a.Message = &turn{Role: "assistant", Content: &g.Text}
			if j.opts.Logprobs {
				a.Logprobs = j.server.chatLogprobs(g.Logprobs[:len(g.IDs)])
			}
		} else {
			part := newPart(j, i)
			text, logprobs := part.next(g)
			a.Text = &text
			if logprobs != nil {
				a.Logprobs = logprobs
			}
		}
		if j.wantsIDs() {
			a.IDs = g.IDs
		}
		out.Choices = append(out.Choices, a)
	}
	usage := j.usage()
	out.Usage = &usage
	writeJSON(w, http.StatusOK, out)
}

// steerInfo says how a choice was steered.
func (j *job) steerInfo(i int, g lm.Generation, projections []choiceProjections) *steerInfo {
	info := &steerInfo{Seed: j.opts.Seed, Edits: j.how[i].applied(g)}
	if projections != nil {
		info.Projections = projections[i]
		info.Tokens = &tokenLists{Prompt: j.server.texts.list(g.Prompt), Response: j.server.texts.list(g.IDs)}
	}
	return info
}

// part is how much of a choice's text has been given to the client.
type part struct {
	job    *job
	prompt string // to be echoed; given with the first part
	begun  bool
	bytes  int // of the text
	tokens int // of the log-probabilities
	ids    int // tokens, where they are wanted
	offset int // in characters, of the tokens
}

func newPart(j *job, i int) *part {
	p := &part{job: j}
	if j.request.Echo {
		p.prompt = j.texts[i/j.request.choices()]
	}
	if !j.opts.Echo {
		p.offset = utf8.RuneCountInString(p.prompt)
	}
	return p
}

// next returns what is new of a completion.
func (p *part) next(g lm.Generation) (text string, logprobs *textLogprobs) {
	hidden := p.job.hidden
	if hidden == 0 {
		text = g.Text[p.bytes:]
		p.bytes = len(g.Text)
	}
	if p.job.opts.Logprobs {
		written := g.Logprobs[min(p.tokens, len(g.Logprobs)):max(p.tokens, len(g.Logprobs)-hidden)]
		p.tokens += len(written)
		if !p.begun && p.job.opts.Echo {
			logprobs, p.offset = p.job.textLogprobs(g.PromptLogprobs, true, p.offset)
		}
		if logprobs == nil || len(written) > 0 {
			var more *textLogprobs
			more, p.offset = p.job.textLogprobs(written, false, p.offset)
			logprobs = logprobs.with(more)
		}
	}
	if !p.begun {
		text = p.prompt + text
		p.begun = true
	}
	return text, logprobs
}

// nextIDs returns the new tokens, where they are wanted.
func (p *part) nextIDs(g lm.Generation) []int {
	if !p.job.wantsIDs() {
		return nil
	}
	ids := g.IDs[p.ids:]
	p.ids = len(g.IDs)
	return ids
}

// wantsIDs reports whether answers have the ids of tokens.
func (j *job) wantsIDs() bool {
	return (j.request.ReturnTokenIDs || j.server.tokens == nil) && j.hidden == 0
}

func (l *textLogprobs) with(more *textLogprobs) *textLogprobs {
	if l == nil {
		return more
	}
	return &textLogprobs{append(l.Tokens, more.Tokens...), append(l.Logprobs, more.Logprobs...), append(l.Top, more.Top...), append(l.Offsets, more.Offsets...)}
}
