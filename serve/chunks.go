package serve

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/steervec/steer/lm"
)

// stream answers with what is written as it comes.
func (j *job) stream(ctx context.Context, w http.ResponseWriter) {
	out := newStream(w)
	parts := make([]*part, len(j.choices))
	for i := range parts {
		parts[i] = newPart(j, i)
	}
	finished := make([]bool, len(j.choices))
	for left := len(j.choices); left > 0; {
		for i, c := range j.choices {
			g, done := c.state()
			if finished[i] || !done && len(g.IDs) == 0 {
				continue
			}
			if done {
				if p := problemOf(c); p != nil {
					out.end(p)
					return
				}
			}
			if err := j.sendNew(out, parts[i], i, g); err != nil {
				return
			}
			if done {
				finished[i] = true
				left--
				// What is read of the texts is read of all together, when they are there.
				if len(j.reads) == 0 {
					if err := j.sendLast(out, i, g, nil); err != nil {
						return
					}
				}
			}
		}
		if left == 0 {
			break
		}
		select {
		case <-j.changed:
		case <-out.silence.C:
			if out.ping() != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
	if len(j.reads) > 0 {
		projections, p := j.project(ctx)
		if p != nil {
			out.end(p)
			return
		}
		for i := range j.choices {
			g, _ := j.choices[i].state()
			if err := j.sendLast(out, i, g, projections); err != nil {
				return
			}
		}
	}
	if j.request.StreamOptions.IncludeUsage {
		last := j.completion(true)
		usage := j.usage()
		last.Usage = &usage
		if out.send(last) != nil {
			return
		}
	}
	out.end(nil)
}

// sendNew sends what is new of a choice.
func (j *job) sendNew(out *stream, p *part, i int, g lm.Generation) error {
	if !j.request.chat {
		text, logprobs := p.next(g)
		a := answer{Index: i, Text: &text, IDs: p.nextIDs(g)}
		if text == "" && len(a.IDs) == 0 && (logprobs == nil || len(logprobs.Tokens) == 0) {
			return nil
		}
		if logprobs != nil {
			a.Logprobs = logprobs
		}
		return out.send(j.chunk(a))
	}
	if !p.begun {
		p.begun = true
		nothing := ""
		if err := out.send(j.chunk(answer{Index: i, Delta: &turn{Role: "assistant", Content: &nothing}})); err != nil {
			return err
		}
	}
	text := g.Text[p.bytes:]
	a := answer{Index: i, Delta: &turn{Content: &text}, IDs: p.nextIDs(g)}
	if j.opts.Logprobs && len(g.IDs) > p.tokens {
		a.Logprobs = j.server.chatLogprobs(g.Logprobs[p.tokens:len(g.IDs)])
	}
	p.bytes, p.tokens = len(g.Text), len(g.IDs)
	if text == "" && a.Logprobs == nil && len(a.IDs) == 0 {
		return nil
	}
	return out.send(j.chunk(a))
}

// sendLast sends how a choice ended, with an empty delta.
func (j *job) sendLast(out *stream, i int, g lm.Generation, projections []choiceProjections) error {
	reason := finishReason(g.Finish)
	a := answer{Index: i, Finish: &reason, Steer: j.steerInfo(i, g, projections)}
	if j.request.chat {
		a.Delta = &turn{}
	} else {
		a.Text = new(string)
	}
	return out.send(j.chunk(a))
}

// chunk returns a chunk with one choice.
func (j *job) chunk(a answer) completion {
	out := j.completion(true)
	out.Choices = append(out.Choices, a)
	if j.request.StreamOptions.IncludeUsage {
		out.Usage = json.RawMessage("null")
	}
	return out
}
