package serve

import (
	"encoding/json"
	"net/http"
	"time"
)

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	silence *time.Timer // fires when nothing was sent for a while
	begun   bool
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, control: http.NewResponseController(w), silence: time.NewTimer(keepAliveTime)}
}

// send writes a value as an event.
func (s *stream) send(value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.write("data: " + string(data) + "\n\n")
}

// ping writes a comment, which clients pass over. It ends with one newline: older
// clients take a blank line for the end of an event.
func (s *stream) ping() error { return s.write(": ping\n") }

func (s *stream) write(text string) error {
	if !s.begun {
		header := s.w.Header()
		header.Set("Content-Type", "text/event-stream")
		header.Set("Cache-Control", "no-cache")
		header.Set("X-Accel-Buffering", "no")
		s.begun = true
	}
	s.silence.Reset(keepAliveTime)
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}

// end ends the events, with what went wrong where something did. Where nothing was
// sent yet, the answer is an error like any other.
func (s *stream) end(p *problem) {
	s.silence.Stop()
	switch {
	case p == nil:
		_ = s.write("data: [DONE]\n\n")
	case !s.begun:
		p.write(s.w)
	default:
		_ = s.send(envelope{p})
	}
}
