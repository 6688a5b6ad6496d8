package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/internal/output"
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
all pairs, in the pairs' order. What steer eval --measured wrote becomes what steer eval
--json tells. Folders of steer sweep --shard become the folder of a sweep: of its grid,
or where --out has the grid already, of all. A shard that is missing, that is there
twice, or that is of other data, weights or options is an error.`,
		Example: `  steer train --model demo --pairs pairs.jsonl --shard 1/2 --statistics part1
  steer train --model demo --pairs pairs.jsonl --shard 2/2 --statistics part2
  steer merge part1 part2 --out happy.safetensors
  steer sweep --model demo --pairs pairs.jsonl --eval held-out.jsonl --layers 2-4 --multipliers -0.6,0,0.6 --shard 1/2 --out grid1
  steer sweep --model demo --pairs pairs.jsonl --eval held-out.jsonl --layers 2-4 --multipliers -0.6,0,0.6 --shard 2/2 --out grid2
  steer merge grid1 grid2 --out merged-sweep
  steer sweep --after merged-sweep --shard 1/1 --out rest1
  steer merge rest1 --out merged-sweep`,
		Args: someArguments("the files or folders of the parts"),
		RunE: func(c *cobra.Command, parts []string) error {
			if err := require(c, "out"); err != nil {
				return err
			}
			kind := kindOfFile(parts[0])
			if kind == sweepFolder {
				return mergeSweep(c, out.path, parts, asJSON)
			}
			release, err := out.reserve(c, parts...)
			if err != nil {
				return err
			}
			defer release()
			if kind == measuredFile {
				return mergeEvaluation(c, out.path, parts, asJSON)
			}
			made := merged{Parts: len(parts), Out: out.path}
			switch kind {
			case statisticsFile:
				err = made.statistics(parts)
			case activationsFile:
				err = made.activations(parts)
			default:
				err = fmt.Errorf("%s holds neither statistics, activations or measurements that steer wrote nor a sweep", parts[0])
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

// evaluationStart is how the JSON of an evaluation begins.
const evaluationStart = "{\n  \"data\": {"

// mergeEvaluation sums up the parts of an evaluation.
func mergeEvaluation(c *cobra.Command, path string, parts []string, asJSON bool) error {
	whole, rows, err := eval.MergeParts(parts...)
	if err != nil {
		return err
	}
	made := evaluation{Data: whole.Data, Text: whole.Text, Work: whole.Work, Rows: rows}
	if err := json.Unmarshal(whole.Told, &made.result); err != nil {
		return fmt.Errorf("%s: %w", parts[0], err)
	}
	file, err := output.Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := printJSON(file, made); err != nil {
		return err
	}
	if err := file.Commit(); err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), made)
	}
	return made.print(c.OutOrStdout())
}

// mergeSweep puts the folders of a sweep's shards together, and shows what was found
// once all is there.
func mergeSweep(c *cobra.Command, dir string, parts []string, asJSON bool) error {
	done, err := eval.MergeSweep(dir, parts, append([]string{"steer", "merge"}, append(flagsOf(c), parts...)...))
	if err != nil {
		return err
	}
	if done.Result != nil || asJSON {
		return showSweep(c, dir, done, newNotes(c), asJSON)
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), `the grid is in %[1]s, from %[2]d parts: %[3]d rows. What is left needs the model, on one machine or in shards:
steer sweep --manifest %[4]s --out %[1]s --resume
steer sweep --after %[1]s --shard 1/%[2]d --out PART, …, and steer merge PART... --out %[1]s
`, dir, len(parts), done.Rows, filepath.Join(dir, eval.ManifestFile))
	return err
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
