package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

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

// checkOutput refuses to find out only after hours of work that a file cannot
// be written. What is there already must be a file, which the new one replaces.
func checkOutput(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return usage("--out %s is not a file", path)
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".steer-*")
	if err != nil {
		if reason := (*fs.PathError)(nil); errors.As(err, &reason) {
			err = reason.Err
		}
		return fmt.Errorf("--out %s cannot be written: %w", path, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// bar shows the progress of long work on a terminal, and nothing elsewhere.
type bar struct {
	w     io.Writer // nil: not a terminal
	text  string
	bytes bool                     // what is counted
	bar   *progressbar.ProgressBar // nil until there is progress
}

func newBar(w io.Writer, text string) *bar {
	if file, ok := w.(*os.File); !ok || !term.IsTerminal(int(file.Fd())) {
		w = nil
	}
	return &bar{w: w, text: text}
}

func (b *bar) set(done, total int64) {
	if b.w == nil {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(b.text),
			progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionUseANSICodes(true),
			progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionShowBytes(b.bytes), progressbar.OptionSetPredictTime(true))
	}
	// A picture that cannot be drawn is no reason to stop.
	_ = b.bar.Set64(done)
}

// finish takes the bar off the screen.
func (b *bar) finish() {
	if b.bar != nil {
		_ = b.bar.Clear()
		b.bar = nil
	}
}
