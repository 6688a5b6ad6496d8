// Command picture draws what a command prints on a terminal, colors included,
// as an SVG file:
//
//	go run ./internal/picture docs/demo.svg go run ./cmd/steer demo
package main

import (
	"fmt"
	"html"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: picture FILE.svg COMMAND [ARGUMENT…]")
	}
	c := exec.Command(os.Args[2], os.Args[3:]...)
	c.Env = append(os.Environ(), "CLICOLOR_FORCE=1", "TERM=xterm-256color")
	c.Stderr = os.Stderr
	printed, err := c.Output()
	if err != nil {
		log.Fatalf("%s: %v", strings.Join(os.Args[2:], " "), err)
	}
	shown := strings.Join(os.Args[2:], " ")
	if err := os.WriteFile(os.Args[1], draw(shown, string(printed)), 0o666); err != nil {
		log.Fatal(err)
	}
	fmt.Println("wrote", filepath.Clean(os.Args[1]))
}

// Sizes in the picture's units.
const (
	fontSize   = 14
	charWidth  = 8.43 // of the common monospaced fonts at that size
	lineHeight = 19
	margin     = 18
	columns    = 112
)

// The colors that commands use, readable on the background.
var colors = map[string]string{"1;32": "#7ee787", "1;34": "#79c0ff", "32": "#7ee787", "34": "#79c0ff", "92": "#7ee787"}

const background, foreground, dim = "#0d1117", "#e6edf3", "#8b949e"

func draw(command, printed string) []byte {
	var lines []string
	for line := range strings.Lines(printed) {
		lines = append(lines, wrap(strings.TrimRight(line, "\n"))...)
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	width, height := columns*charWidth+2*margin, float64((len(lines)+2)*lineHeight+2*margin)
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f">`+"\n", width, height, width, height)
	fmt.Fprintf(&svg, `<rect width="100%%" height="100%%" rx="8" fill="%s"/>`+"\n", background)
	fmt.Fprintf(&svg, `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="%d" fill="%s" xml:space="preserve">`+"\n", fontSize, foreground)
	row := func(i int, content string) {
		fmt.Fprintf(&svg, `<text x="%d" y="%d">%s</text>`+"\n", margin, margin+fontSize+i*lineHeight, content)
	}
	row(0, fmt.Sprintf(`<tspan fill="%s">$ </tspan>%s`, dim, html.EscapeString(command)))
	for i, line := range lines {
		row(i+2, spans(line))
	}
	svg.WriteString("</g>\n</svg>\n")
	return []byte(svg.String())
}

var escape = regexp.MustCompile(`\x1b\[([0-9;]*)m`)

// spans turns a line with escapes into text with spans. Columns are kept by
// giving each span its place.
func spans(line string) string {
	var out strings.Builder
	color, column := "", 0
	put := func(text string) {
		if text == "" {
			return
		}
		fill := ""
		if color != "" {
			fill = fmt.Sprintf(` fill="%s" font-weight="bold"`, color)
		}
		fmt.Fprintf(&out, `<tspan x="%.2f"%s>%s</tspan>`, margin+float64(column)*charWidth, fill, html.EscapeString(text))
		column += utf8.RuneCountInString(text)
	}
	at := 0
	for _, m := range escape.FindAllStringSubmatchIndex(line, -1) {
		put(line[at:m[0]])
		color = colors[line[m[2]:m[3]]]
		at = m[1]
	}
	put(line[at:])
	return out.String()
}

// wrap breaks a line that is too wide for the terminal, at spaces.
func wrap(line string) []string {
	var lines []string
	for visible(line) > columns {
		cut, seen := 0, 0
		for i, r := range escape.ReplaceAllStringFunc(line, func(s string) string { return strings.Repeat("\x00", len(s)) }) {
			if r == 0 {
				continue
			}
			if seen++; seen > columns {
				break
			}
			if r == ' ' {
				cut = i
			}
		}
		if cut == 0 {
			break
		}
		lines, line = append(lines, line[:cut]), line[cut+1:]
	}
	return append(lines, line)
}

func visible(line string) int { return utf8.RuneCountInString(escape.ReplaceAllString(line, "")) }
