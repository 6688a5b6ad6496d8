package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/cpu/kernel"
	"github.com/steervec/steer/lm/engine"
)

// Engine is an engine that a program brings, beside the CPU's own.
type Engine struct {
	Name string
	// Flags defines the engine's own flags, for a command that opens a model.
	Flags func(flags *pflag.FlagSet)
	// Open returns what opens models, as the flags say. note is told what the user
	// should know. The engine opens GGUF files itself.
	Open func(note func(text string)) engine.Opener
	// Devices names what the engine computes on, or says why it is not there.
	Devices func() ([]string, error)
}

const cpuEngine = "cpu"

// engines are those of a program, and the one that the command line chose.
type engines struct {
	all    []Engine
	chosen string
}

type enginesKey struct{}

// withEngines lets commands find the program's engines.
func withEngines(ctx context.Context, e *engines) context.Context {
	return context.WithValue(ctx, enginesKey{}, e)
}

// enginesOf returns the engines of the program that a command belongs to.
func enginesOf(c *cobra.Command) *engines {
	e, _ := c.Context().Value(enginesKey{}).(*engines)
	return e
}

// add gives the commands that open a model the flags of the engines.
func (e *engines) add(root *cobra.Command) {
	if len(e.all) == 0 {
		return
	}
	names := []string{cpuEngine}
	for _, one := range e.all {
		names = append(names, one.Name)
	}
	for _, c := range root.Commands() {
		if c.Flags().Lookup("dtype") == nil {
			continue
		}
		flagsUnder(c, "Engine", func(flags *pflag.FlagSet) {
			choice(flags, &e.chosen, "engine", names, func(name string) string { return name }, "what computes the model")
			e.flags(flags)
		})
	}
}

func (e *engines) flags(flags *pflag.FlagSet) {
	for _, one := range e.all {
		if one.Flags != nil {
			one.Flags(flags)
		}
	}
}

// engineOption chooses the engine that the command line names; without one, or in a
// program that has the CPU's alone, nothing is chosen.
func engineOption(c *cobra.Command) ([]lm.OpenOption, error) {
	e := enginesOf(c)
	if e == nil || e.chosen == "" || e.chosen == cpuEngine {
		return nil, nil
	}
	if f := c.Flags().Lookup("quantize"); f != nil && f.Changed {
		return nil, usage("--quantize is for the engine %s; %s reads the blocks of GGUF files", cpuEngine, e.chosen)
	}
	i := slices.IndexFunc(e.all, func(one Engine) bool { return one.Name == e.chosen })
	return []lm.OpenOption{lm.OnFiles(e.all[i].Open(func(text string) { fmt.Fprintf(c.ErrOrStderr(), "note: %s\n", text) }))}, nil
}

type shownEngine struct {
	Engine  string   `json:"engine"`
	Devices []string `json:"devices"`
	Missing string   `json:"missing,omitempty"` // why it is not there
}

func (e *engines) command() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "engines",
		Short: "List what computes models here, and on which devices",
		Long: `List the engines of this program, and on which devices they compute. The engine cpu is
this program's own, and always there; its device is the best instruction set of the
machine for which it has kernels.`,
		Example: "  steer engines\n  steer engines --json",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			instructions, err := kernel.Instructions()
			if err != nil {
				return err
			}
			shown := []shownEngine{{Engine: cpuEngine, Devices: []string{instructions}}}
			for _, one := range e.all {
				s := shownEngine{Engine: one.Name, Devices: []string{}}
				devices, err := one.Devices()
				if s.Devices = append(s.Devices, devices...); err != nil {
					s.Missing = err.Error()
				}
				shown = append(shown, s)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), shown)
			}
			text := &listing{}
			for _, s := range shown {
				if s.Missing != "" {
					text.line(s.Engine, "not found: "+strings.ReplaceAll(s.Missing, "\n", "; "))
				}
				for i, device := range s.Devices {
					text.row([]string{s.Engine, ""}[min(i, 1)], device)
				}
			}
			return text.write(c.OutOrStdout())
		},
	}
	if len(e.all) > 0 {
		flagsUnder(c, "Engine", e.flags)
	}
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}
