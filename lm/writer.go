package lm

import (
	"strings"

	"github.com/steervec/steer/lm/tokenizer"
)

// writer makes text of the tokens of one sequence and gives it out as it becomes
// certain.
type writer struct {
	sequence int
	opts     *GenerateOptions
	stream   *tokenizer.Stream // nil: there is no tokenizer, or nothing more comes
	text     strings.Builder
	pending  string // text that may turn out to begin a stop string
}

// write takes the next token and reports whether a stop string ended the text.
func (w *writer) write(token int) (stopped bool) {
	text := ""
	if w.stream != nil {
		text = w.stream.Push(token)
	}
	if w.opts.Token != nil {
		w.opts.Token(w.sequence, token, text)
	}
	w.pending += text
	end := len(w.pending)
	for _, stop := range w.opts.Stop {
		if i := strings.Index(w.pending, stop); i >= 0 && i < end {
			end, stopped = i, true
		}
	}
	if stopped {
		w.emit(w.pending[:end])
		w.pending, w.stream = "", nil
		return true
	}
	end -= w.mayBeginStop()
	w.emit(w.pending[:end])
	w.pending = w.pending[end:]
	return false
}

// mayBeginStop returns the length of the end of what is pending that may turn out
// to begin a stop string.
func (w *writer) mayBeginStop() int {
	longest := 0
	for _, stop := range w.opts.Stop {
		for n := min(len(stop)-1, len(w.pending)); n > longest; n-- {
			if strings.HasSuffix(w.pending, stop[:n]) {
				longest = n
			}
		}
	}
	return longest
}

func (w *writer) emit(text string) {
	if text == "" {
		return
	}
	w.text.WriteString(text)
	if w.opts.Stream != nil {
		w.opts.Stream(w.sequence, text)
	}
}

// close gives out what was held back.
func (w *writer) close() {
	if w.stream == nil {
		return
	}
	w.emit(w.pending + w.stream.Flush())
	w.pending, w.stream = "", nil
}
