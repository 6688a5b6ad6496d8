package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

func mergeCommand() *cobra.Command {
	var out outFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "merge PART... --out FILE",
		Short: "Put the parts together that several machines computed",
		Long: `Put the parts together that several machines computed.

Statistics that steer train --statistics wrote become a vector, which is the one that
a single run gives, to the bit. Activations of steer extract --shard become those of
all pairs, in the pairs' order. A shard that is missing, that is there twice, or that
is of other pairs, weights or options is an error.`,
		Example: `  steer train --model demo --pairs pairs.jsonl --shard 1/2 --statistics part1
  steer train --model demo --pairs pairs.jsonl --shard 2/2 --statistics part2
  steer merge part1 part2 --out happy.safetensors`,
		Args: someArguments("the files of the parts"),
		RunE: func(c *cobra.Command, parts []string) error {
			if err := require(c, "out"); err != nil {
				return err
			}
			release, err := out.reserve(c, parts...)
			if err != nil {
				return err
			}
			defer release()
			made := merged{Parts: len(parts), Out: out.path}
			switch kind := kindOfFile(parts[0]); kind {
			case statisticsFile:
				err = made.statistics(parts)
			case activationsFile:
				err = made.activations(parts)
			default:
				err = fmt.Errorf("%s holds neither statistics nor activations that steer wrote", parts[0])
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), made)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s of layers %s written to %s: from %d parts with %d samples\n",
				made.Made, layerList(made.Layers), made.Out, made.Parts, made.Samples)
			return err
		},
	}
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		out.add(flags)
		jsonFlag(flags, &asJSON)
	})
	return c
}

// merged says what was put together.
type merged struct {
	Made     string `json:"made"` // vector or activations
	Parts    int    `json:"parts"`
	Samples  int    `json:"samples"`
	Layers   []int  `json:"layers"`
	Out      string `json:"out"`
	lm.Usage        // of statistics
}

// statistics makes a vector of parts of statistics.
func (m *merged) statistics(parts []string) error {
	var whole *steer.Statistics
	for _, path := range parts {
		part, err := steer.LoadStatistics(path)
		if err != nil {
			return err
		}
		if whole == nil {
			whole = part
		} else if err := whole.Merge(part); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	vector, err := whole.Vector()
	if err != nil {
		return err
	}
	m.Made, m.Samples, m.Layers, m.Usage = "vector", whole.Samples(), whole.Layers(), whole.Usage
	return vector.Save(m.Out)
}

// activations puts the activations of shards in the samples' order.
func (m *merged) activations(parts []string) error {
	var loaded []*steer.Activations
	for _, path := range parts {
		part, err := steer.LoadActivations(path)
		if err != nil {
			return err
		}
		loaded = append(loaded, part)
	}
	whole, err := steer.MergeActivations(loaded...)
	if err != nil {
		return err
	}
	m.Made, m.Layers = "activations", slices.Sorted(maps.Keys(whole.Positive))
	m.Samples = len(whole.Positive[m.Layers[0]])
	return whole.Save(m.Out)
}
