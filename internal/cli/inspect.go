package cli

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/tokenizer"
)

func inspectCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect FILE|REF...",
		Short: "Show what is in a file of vectors, activations, pairs, or in a model",
		Long: `Show what is in a file: of a vector the layers, lengths and where it comes from; of
activations, statistics (the state of a training run) and recordings the layers and
sizes; of pairs how many there are. Or what is in a model: family, sizes, and the
sites where it can be read and steered; of a GGUF file its metadata too. Headers
are read, not weights.

Of several vectors the cosines of the angles between them are shown, by layer. Where
one has several directions at a layer, it is the smallest angle between the spaces.`,
		Example: "  steer inspect happy.safetensors\n  steer inspect happy.safetensors other.safetensors\n  steer inspect pairs.jsonl\n  steer inspect demo --json",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usage("name a file or a model")
			case slices.Contains(args, "-"):
				return usage("- is refused: what is inspected is not read from standard input")
			case slices.Contains(args, ""):
				return usage("the name is empty")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return inspectVectors(c.OutOrStdout(), args, asJSON)
			}
			name := args[0]
			info, err := os.Stat(name)
			if err == nil && !info.IsDir() && (!hasExtension(name, ".gguf") || isVector(name)) {
				return inspectFile(c.OutOrStdout(), name, asJSON)
			}
			if err != nil && slices.ContainsFunc([]string{".safetensors", ".state", ".jsonl", ".json", ".csv", ".gguf"}, func(e string) bool { return hasExtension(name, e) }) && !strings.Contains(name, ":") {
				return fmt.Errorf("open %s: %w", name, withoutPath(err))
			}
			checkpoint, err := openCheckpoint(c, name)
			if err != nil {
				return err
			}
			defer checkpoint.Close()
			return inspectModel(c.OutOrStdout(), checkpoint, asJSON)
		},
	}
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

func hasExtension(name, extension string) bool {
	return strings.HasSuffix(strings.ToLower(name), extension)
}

// openCheckpoint opens a model's files, of which only headers are read.
func openCheckpoint(c *cobra.Command, ref string) (*checkpoint.Checkpoint, error) {
	if ref == demo.Name {
		return checkpoint.OpenFS(demo.Files(), demo.Name, checkpoint.Options{})
	}
	downloads, finish := showDownloads(c.ErrOrStderr())
	defer finish()
	return checkpoint.Open(c.Context(), ref, downloads)
}

type shownModel struct {
	Kind         string         `json:"kind"`
	Model        string         `json:"model"`
	Revision     string         `json:"revision"`
	WeightsHash  string         `json:"weights_hash"`
	Family       string         `json:"family"`
	Wrapper      string         `json:"wrapper,omitempty"` // the multimodal model whose text model this is
	Layers       int            `json:"layers"`
	Hidden       int            `json:"hidden"`
	Vocabulary   int            `json:"vocabulary"`
	Positions    int            `json:"positions"` // 0: without limit
	Parameters   int            `json:"parameters"`
	DType        string         `json:"dtype"` // as stored
	Files        []shownFile    `json:"files"`
	ChatTemplate bool           `json:"chat_template"`
	Sites        []shownSite    `json:"sites"`
	GGUF         map[string]any `json:"gguf,omitempty"` // metadata; long lists only as their length
}

type shownFile struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256,omitempty"` // as the Hub gives it
}

type shownSite struct {
	Site   lm.Site `json:"site"`
	Module string  `json:"module,omitempty"` // {num} stands for the layer; "": no module has it as its output
	Layers int     `json:"layers"`           // how many have it
}

func inspectModel(w io.Writer, c *checkpoint.Checkpoint, asJSON bool) error {
	d, err := arch.Parse(c.Config())
	if err != nil {
		return fmt.Errorf("open model %s: %w", c.ID(), err)
	}
	m := shownModel{Kind: "model", Model: c.ID(), Revision: c.Revision(), WeightsHash: c.Fingerprint(), Family: d.Family, Wrapper: d.Wrapper, Layers: len(d.Blocks), Hidden: d.Hidden,
		Vocabulary: d.Vocabulary, Positions: d.MaxPositions, Parameters: c.Parameters(), DType: c.Stored()}
	for _, f := range c.WeightFiles() {
		m.Files = append(m.Files, shownFile{f.Name, f.Size, f.SHA256})
	}
	if t, err := tokenizer.Load(c.FS()); err == nil {
		m.ChatTemplate = t.HasChatTemplate()
	}
	for _, s := range arch.Sites() {
		shown := shownSite{Site: s, Module: strings.Join(d.ModuleTemplates(s), ", ")}
		for layer := range d.Blocks {
			if d.HasSite(layer, s) {
				shown.Layers++
			}
		}
		if shown.Layers > 0 {
			m.Sites = append(m.Sites, shown)
		}
	}
	file := c.GGUF()
	if file != nil {
		m.GGUF = map[string]any{}
		for _, key := range file.Keys() {
			m.GGUF[key] = metadataValue(file, key)
		}
	}
	if asJSON {
		return printJSON(w, m)
	}
	text := &listing{}
	text.line("model", m.Model)
	text.line("revision", m.Revision)
	text.line("weights", m.WeightsHash)
	text.line("family", m.Family)
	if m.Wrapper != "" {
		text.line("text model of", m.Wrapper+", whose other tensors are not read")
	}
	text.line("layers", m.Layers)
	text.line("hidden size", m.Hidden)
	text.line("vocabulary", m.Vocabulary)
	if m.Positions > 0 {
		text.line("positions", m.Positions)
	}
	text.line("parameters", m.Parameters)
	text.line("dtype", m.DType)
	text.line("chat template", map[bool]string{true: "yes", false: "no"}[m.ChatTemplate])
	text.heading("sites, and the modules whose output they are:")
	for _, s := range m.Sites {
		module := s.Module
		if module == "" {
			module = "(inside the block)"
		}
		if s.Layers < m.Layers {
			module += fmt.Sprintf(" (of %d layers)", s.Layers)
		}
		text.line(string(s.Site), module)
	}
	if file != nil {
		text.heading("metadata:")
		for _, key := range file.Keys() {
			text.line(key, oneLineOf(fmt.Sprint(m.GGUF[key]), 100))
		}
	}
	return text.write(w)
}

// metadataValue returns a value of a GGUF file's metadata; of a long list, what
// it is.
func metadataValue(file *gguf.File, key string) any {
	value := file.Value(key)
	const long = 16
	if list := reflect.ValueOf(value); list.Kind() == reflect.Slice && list.Len() > long {
		return fmt.Sprintf("a list of %d", list.Len())
	}
	return value
}

// oneLineOf shortens a text and writes it on one line.
func oneLineOf(text string, most int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}

// listing is a table of names and values.
type listing struct{ text strings.Builder }

// line adds a value that is known.
func (l *listing) line(name string, value any) {
	if text := fmt.Sprint(value); text != "" {
		fmt.Fprintf(&l.text, "%s\t%s\n", printable(name), printable(text))
	}
}

// printable replaces what a terminal would act on.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// row adds a line of more columns.
func (l *listing) row(cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			l.text.WriteByte('\t')
		}
		l.text.WriteString(printable(cell))
	}
	l.text.WriteByte('\n')
}

func (l *listing) heading(text string) { fmt.Fprintf(&l.text, "\n%s\n", text) }

func (l *listing) write(w io.Writer) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(columns, l.text.String()); err != nil {
		return err
	}
	return columns.Flush()
}
