package cli

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/doctor"
	"github.com/steervec/steer/lm"
)

func doctorCommand() *cobra.Command {
	var origin originFlags
	var model modelFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor FILE [--model REF]",
		Short: "Examine a vector file: who wrote it, where it acts, what is wrong with it",
		Long: `Examine a vector file of any tool: what it is and who probably wrote it; where each of
its directions acts here, in llama.cpp and in its producer, as blocks counted from 0 at
whose output it is added; which known trap it is in; layers that are not finite, zero or
the same as another.

With --model it is held against a model: whether it fits, whether the weights are those
that it was trained on, and how long the model's own activations are there.`,
		Example: `  steer train --model demo --pairs pairs.jsonl --layers 3 --out happy.safetensors
  steer doctor happy.safetensors
  steer doctor happy.safetensors --model demo`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("it takes one file, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] == "-" {
				return usage("- is refused: a vector is not read from standard input")
			}
			var against *lm.Model
			if c.Flags().Changed("model") {
				var err error
				if against, err = model.open(c); err != nil {
					return err
				}
			}
			report, err := doctor.Examine(c.Context(), args[0], origin.options(c), against)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), report)
			}
			return printReport(c, report)
		},
	}
	origin.add(c)
	model.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

func printReport(c *cobra.Command, r *doctor.Report) error {
	text := &listing{}
	text.line("vector file", r.File)
	text.line("format", r.Format)
	switch {
	case r.Producer == "":
		for _, candidate := range r.Candidates {
			text.line("perhaps written by", candidate)
		}
	case r.Certain:
		text.line("written by", r.Producer+", as the file tells")
	default:
		text.line("written by", r.Producer+", as you say")
	}
	text.line("numbering", r.Numbering)
	text.line("layer type", r.LayerType)
	text.line("operator", r.Operator)
	text.line("shape of a layer", fmt.Sprintf("%d of %d elements", r.Rows, r.Width))
	text.line("trained on", r.TrainedOn)
	text.line("family", r.Family)
	text.line("held against", r.Model)
	text.line("weights", r.Weights)
	text.line("llama.cpp", r.LlamaCpp)
	text.heading("added at the output of block:")
	text.row("number in the file", "here", "llama.cpp", cmp.Or(r.Elsewhere, "elsewhere"), "norm", "activations")
	for _, l := range r.Layers {
		norm, activations := fmt.Sprintf("%.4f", l.Norm), "-"
		if l.ActivationNorm > 0 {
			activations = fmt.Sprintf("%.4f", l.ActivationNorm)
		}
		text.row(strconv.Itoa(l.Number), orDash(l.Layer), orDash(l.LlamaCpp), orDash(l.Elsewhere), norm, activations)
	}
	if len(r.Traps)+len(r.Problems) > 0 {
		text.heading("to be known:")
	}
	for _, trap := range r.Traps {
		text.line("trap", trap)
	}
	for _, problem := range r.Problems {
		text.line("problem", problem)
	}
	return text.write(c.OutOrStdout())
}

func orDash(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}
