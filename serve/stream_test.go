package serve

import (
	"net/http/httptest"
	"testing"
)

// A sign of life is a comment that ends with one newline: some clients take the blank
// line after another for an event.
func TestAStreamsSignOfLifeHasNoBlankLine(t *testing.T) {
	for name, test := range map[string]struct {
		end  *problem
		want string
	}{
		"a whole stream":  {nil, "data: 1\n\n: ping\ndata: 2\n\ndata: [DONE]\n\n"},
		"one that breaks": {failed("broken"), "data: 1\n\n: ping\ndata: 2\n\ndata: {\"error\":{\"message\":\"broken\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n"},
	} {
		w := httptest.NewRecorder()
		s := newStream(w)
		for _, step := range []func() error{func() error { return s.send(1) }, s.ping, func() error { return s.send(2) }} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		s.end(test.end)
		if got := w.Body.String(); got != test.want || w.Header().Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
