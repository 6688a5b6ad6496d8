package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/steervec/steer/lm"
)

// printJSON writes one value as indented JSON.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printResult writes one of several results as a line, and a single one indented.
func printResult(w io.Writer, value any, several bool) error {
	if !several {
		return printJSON(w, value)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// notes are what the user should know about a result that is not wrong. They go
// to standard error as they come, and are part of what JSON tells.
type notes struct {
	w    io.Writer
	told []string
}

func newNotes(c *cobra.Command) *notes { return &notes{w: c.ErrOrStderr(), told: []string{}} }

// add tells something, once.
func (n *notes) add(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(n.told, text) {
		return
	}
	n.told = append(n.told, text)
	fmt.Fprintf(n.w, "note: %s\n", text)
}

// result is what every JSON result of a model has.
type result struct {
	Model       string    `json:"model"`
	Revision    string    `json:"revision,omitempty"`
	WeightsHash string    `json:"weights_hash"`
	DType       string    `json:"dtype"` // of the products
	Vectors     []applied `json:"vectors"`
	Notes       []string  `json:"notes"`
}

func resultOf(m *lm.Model, vectors []applied, told *notes) result {
	return result{m.ID(), m.Revision(), m.Fingerprint(), m.Description().DType, vectors, told.told}
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
