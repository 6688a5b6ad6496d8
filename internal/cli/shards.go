package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// plannedSplit is what the shards of a split would be given and compute.
type plannedSplit struct {
	Of int `json:"of"`
	lm.Usage
	Shards []lm.Usage `json:"shards"`
}

func shardsCommand() *cobra.Command {
	var ref, path string
	var text textFlags
	var asJSON bool
	of := []int{1, 2, 4, 8, 16, 32, 64}
	c := &cobra.Command{
		Use:   "shards --model REF --pairs FILE",
		Short: "Show how many tokens each shard of a file of pairs would compute",
		Long: `Show how many tokens the shards of a file of pairs would be given and compute,
before anything runs: what is shared within a shard is computed once, what is shared
across a cut by both. The model's tokenizer is enough, its weights are not read.
--json tells it of each shard.`,
		Example: "  steer shards --model demo --pairs pairs.jsonl --of 1,2,4",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "pairs"); err != nil {
				return err
			}
			if err := text.readSystem(c); err != nil {
				return err
			}
			file, err := pairs.Open(path)
			if err != nil {
				return err
			}
			t, err := openTokenizer(c, ref)
			if err != nil {
				return err
			}
			if text.chat {
				if file.Samples, _, err = steer.RenderChat(c.Context(), t, file.Samples, steer.Chat{SystemPositive: text.system, SystemNegative: text.system}); err != nil {
					return placedIn(path, file.Lines, err)
				}
			}
			plans, err := steer.PlanShards(t, file.Samples, of...)
			if err != nil {
				return placedIn(path, file.Lines, err)
			}
			var splits []plannedSplit
			for k, shards := range plans {
				s := plannedSplit{Of: of[k], Shards: shards}
				for _, u := range shards {
					s.Usage = s.Add(u)
				}
				splits = append(splits, s)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), splits)
			}
			var lines strings.Builder
			fmt.Fprintf(&lines, "%8s %14s %14s %10s %16s\n", "shards", "tokens given", "computed", "of given", "most in a shard")
			for _, s := range splits {
				most := 0
				for _, u := range s.Shards {
					most = max(most, u.Computed)
				}
				fmt.Fprintf(&lines, "%8d %14d %14d %8.1f %% %16d\n", s.Of, s.Given, s.Computed, 100*float64(s.Computed)/float64(max(s.Given, 1)), most)
			}
			_, err = fmt.Fprint(c.OutOrStdout(), lines.String())
			return err
		},
	}
	flagsUnder(c, "Data", func(flags *pflag.FlagSet) {
		addRef(flags, &ref)
		flags.StringVar(&path, "pairs", "", "`FILE` of contrastive pairs")
		text.add(flags)
		flags.Var(&parsed[[]int]{&of, "1,2,4,8,16,32,64", "LIST", parseCounts}, "of", "numbers of shards")
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

func parseCounts(text string) (counts []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number of shards", part)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// placedIn says of an error of one of the samples on which line of a file it stands.
func placedIn(path string, lines []int, err error) error {
	if wrong := (*steer.SampleError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("%s: line %d: the %s prompt: %w", path, lines[wrong.Sample], wrong.Side, wrong.Err)
	}
	return err
}
