package main

import (
	"encoding/json"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// printJSON writes one value as indented JSON.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// bar shows the progress of long work on a terminal, and nothing elsewhere.
type bar struct {
	w    io.Writer
	text string
	bar  *progressbar.ProgressBar
}

func newBar(w io.Writer, text string) *bar {
	if file, ok := w.(*os.File); !ok || !term.IsTerminal(int(file.Fd())) {
		w = nil
	}
	return &bar{w: w, text: text}
}

func (b *bar) describe(text string) {
	if b.text == text {
		return
	}
	b.finish()
	b.text = text
}

func (b *bar) set(done, total int64) {
	if b.w == nil {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(b.text),
			progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))
	}
	// A picture that cannot be drawn is no reason to stop.
	_ = b.bar.Set64(done)
}

func (b *bar) finish() {
	if b.bar != nil {
		_ = b.bar.Clear()
		b.bar = nil
	}
}
