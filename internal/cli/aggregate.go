package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
)

func aggregateCommand() *cobra.Command {
	var in string
	var out outFlags
	var recipe steer.Aggregator
	var asJSON bool
	c := &cobra.Command{
		Use:     "aggregate --activations A.safetensors --out V.safetensors",
		Short:   "Turn extracted activations into a steering vector",
		Long:    "Turn activations that steer extract wrote into a steering vector, with their provenance.",
		Example: "  steer aggregate --activations activations.safetensors --aggregator mean --out happy.safetensors",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "activations", "out"); err != nil {
				return err
			}
			if in == "-" {
				return usage("--activations - is refused: a safetensors file is not read from standard input")
			}
			release, err := out.reserve(c, in)
			if err != nil {
				return err
			}
			defer release()
			activations, err := steer.LoadActivations(in)
			if err != nil {
				return err
			}
			vector, err := steer.Aggregate(activations, recipe)
			if err != nil {
				return err
			}
			if err := vector.Save(out.path); err != nil {
				return err
			}
			layers := slices.Sorted(maps.Keys(vector.Layers))
			samples := len(activations.Positive[layers[0]])
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					Pairs  int    `json:"pairs"`
					Layers []int  `json:"layers"`
					Out    string `json:"out"`
				}{samples, layers, out.path})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "vector of layers %s written to %s: from %d samples\n", layerList(layers), out.path, samples)
			return err
		},
	}
	flagsUnder(c, "Input", func(flags *pflag.FlagSet) {
		flags.StringVar(&in, "activations", "", "`FILE` that steer extract wrote")
		aggregator(flags, &recipe)
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		out.add(flags)
		jsonFlag(flags, &asJSON)
	})
	return c
}
