package main

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
)

func inspectCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect FILE|REF",
		Short: "Show what is in a vector file or a model",
		Long: `Show what is in a vector file: layers, norms, where it comes from; or in a model:
family, sizes, and the sites where it can be read and steered.`,
		Example: "  steer inspect happy.safetensors\n  steer inspect ./llama --json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("it takes one vector file or one model, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			info, err := os.Stat(args[0])
			switch {
			case err == nil && !info.IsDir() && !strings.EqualFold(filepath.Ext(args[0]), ".gguf"):
				return inspectVector(c.OutOrStdout(), args[0], asJSON)
			case err != nil && strings.HasSuffix(args[0], ".safetensors"):
				return fmt.Errorf("open %s: %w", args[0], fs.ErrNotExist)
			}
			m, err := (&modelFlags{ref: args[0]}).open(c)
			if err != nil {
				return err
			}
			return inspectModel(c.OutOrStdout(), m, asJSON)
		},
	}
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

type shownLayer struct {
	Layer int     `json:"layer"`
	Width int     `json:"width"`
	Norm  float64 `json:"norm"`
}

func inspectVector(w io.Writer, path string, asJSON bool) error {
	v, err := steer.LoadVector(path)
	if err != nil {
		return err
	}
	norms := v.Norms()
	var layers []shownLayer
	for _, n := range slices.Sorted(maps.Keys(v.Layers)) {
		layers = append(layers, shownLayer{n, len(v.Layers[n]), norms[n]})
	}
	p := v.Provenance
	if asJSON {
		return printJSON(w, struct {
			Kind         string       `json:"kind"`
			LayerType    lm.Site      `json:"layer_type"`
			Layers       []shownLayer `json:"layers"`
			Model        string       `json:"model"`
			WeightsHash  string       `json:"weights_hash"`
			PairsHash    string       `json:"pairs_hash"`
			Aggregator   string       `json:"aggregator"`
			ReadToken    string       `json:"read_token"`
			ChatTemplate string       `json:"chat_template"`
			Version      string       `json:"version"`
		}{"vector", v.Site, layers, p.Model, p.WeightsHash, p.PairsHash, p.Aggregator, p.Read, p.ChatTemplate, p.Version})
	}
	text := &listing{}
	text.line("steering vector", path)
	text.line("layer type", v.Site)
	text.line("model", p.Model)
	text.line("weights", p.WeightsHash)
	text.line("pairs", p.PairsHash)
	text.line("aggregator", p.Aggregator)
	text.line("read token", p.Read)
	text.line("chat template", p.ChatTemplate)
	text.line("made by steer", p.Version)
	for _, l := range layers {
		text.line(fmt.Sprintf("layer %d", l.Layer), fmt.Sprintf("norm %.4f, %d elements", l.Norm, l.Width))
	}
	return text.write(w)
}

type shownSite struct {
	Site   lm.Site `json:"site"`
	Module string  `json:"module,omitempty"` // {num} stands for the layer; "": no module has it as its output
	Layers int     `json:"layers"`           // how many show it
}

func inspectModel(w io.Writer, m *lm.Model, asJSON bool) error {
	d := m.Decoder()
	var sites []shownSite
	for _, s := range arch.Sites() {
		shown := shownSite{Site: s, Module: d.Modules[s]}
		for layer := range m.Layers() {
			if m.CheckSite(layer, s) == nil {
				shown.Layers++
			}
		}
		if shown.Layers > 0 {
			sites = append(sites, shown)
		}
	}
	if asJSON {
		return printJSON(w, struct {
			Kind        string      `json:"kind"`
			Model       string      `json:"model"`
			Revision    string      `json:"revision"`
			WeightsHash string      `json:"weights_hash"`
			Family      string      `json:"family"`
			Layers      int         `json:"layers"`
			Hidden      int         `json:"hidden"`
			Vocabulary  int         `json:"vocabulary"`
			Parameters  int         `json:"parameters"`
			DType       string      `json:"dtype"`
			Computes    string      `json:"computes"`
			Sites       []shownSite `json:"sites"`
		}{"model", m.ID(), m.Revision(), m.Fingerprint(), d.Family, m.Layers(), d.Hidden, d.Vocabulary, m.Description().Parameters, m.Stored(), m.Description().DType, sites})
	}
	text := &listing{}
	text.line("model", m.ID())
	text.line("revision", m.Revision())
	text.line("weights", m.Fingerprint())
	text.line("family", d.Family)
	text.line("layers", m.Layers())
	text.line("hidden size", d.Hidden)
	text.line("vocabulary", d.Vocabulary)
	text.line("parameters", m.Description().Parameters)
	text.line("dtype", fmt.Sprintf("%s, computes in %s", m.Stored(), m.Description().DType))
	text.heading("sites, and the modules whose output they are:")
	for _, s := range sites {
		module := s.Module
		if module == "" {
			module = "(inside the block)"
		}
		text.line(string(s.Site), module)
	}
	return text.write(w)
}

// listing is text in two columns.
type listing struct{ text strings.Builder }

// line adds a name and its value, where it has one.
func (l *listing) line(name string, value any) {
	if value := fmt.Sprint(value); value != "" {
		fmt.Fprintf(&l.text, "%s\t%s\n", name, value)
	}
}

func (l *listing) heading(text string) { fmt.Fprintf(&l.text, "\n%s\n", text) }

func (l *listing) write(w io.Writer) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(columns, l.text.String()); err != nil {
		return err
	}
	return columns.Flush()
}
