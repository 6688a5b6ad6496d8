package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/aggregators"
)

func trainCommand() *cobra.Command {
	var f selectionFlags
	var choice selectFlags
	var recipe steer.Aggregator
	var resume, asJSON bool
	var statistics string
	c := &cobra.Command{
		Use:   "train --model REF --pairs FILE --out V.safetensors",
		Short: "Train a steering vector from contrastive pairs",
		Long: `Train a steering vector from contrastive pairs of prompts.

Every distinct prefix of the prompts is computed once. While it runs, its state
is kept in a file beside the output, V.safetensors.state; after an interrupt or
a kill, --resume continues from there and writes the same vector to the bit.

The vector has a direction for every layer, or for those of --layers. Steering with
one layer from the middle usually works best; the layers can also be chosen when the
vector is used. --select chooses layer and position by trying them.

docs/methods.md says what each aggregator computes, and from whom it is.`,
		Example: `  steer train --model demo --pairs pairs.jsonl --layers 3 --out happy.safetensors
  steer train --model demo --pairs pairs.jsonl --out all-layers.safetensors
  steer train --model demo --pairs pairs.jsonl --shard 1/2 --statistics part1
  steer generate --model demo --prompt "Anna had a red kite. One day, Anna met Leo at the bridge." --vector all-layers.safetensors:0.7,layers=3`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := choice.check(c); err != nil {
				return err
			}
			if c.Flags().Changed("statistics") {
				if f.out.path != "" {
					return usage("give one of --out and --statistics")
				}
				f.out.path, f.out.name = statistics, "statistics"
			} else if f.shard != (steer.Shard{}) {
				return usage("--shard %s is a part, of which there is no vector yet: give --statistics in place of --out, and put the parts together with steer merge", f.shard)
			}
			if f.neutral != "" {
				if !c.Flags().Changed("aggregator") {
					recipe = aggregators.MeanCentred()
				}
				if _, ok := recipe.(aggregators.Unpaired); !ok {
					return usage("--neutral gives no pairs, which --aggregator %s needs", recipe.Name())
				}
			}
			p, err := f.prepare(c)
			if err != nil {
				return err
			}
			defer p.release()
			if choice.way != "" {
				return choice.run(c, &f, p, recipe, asJSON)
			}
			state := f.out.path + ".state"
			switch _, err := os.Stat(state); {
			case err == nil && !resume:
				p.told.add("beginning anew; %s is the state of a stopped run, which --resume would continue", state)
			case errors.Is(err, fs.ErrNotExist) && resume:
				p.told.add("beginning anew; there is no %s, the state of a stopped run", state)
			}
			progress := newBar(c.ErrOrStderr(), "training")
			defer progress.finish()
			start := time.Now()
			collected, err := steer.Collect(c.Context(), p.model, p.samples, steer.TrainOptions{
				Site: p.opts.Site, Layers: p.opts.Layers, Read: p.opts.Read, Shard: p.opts.Shard, RunTokens: p.opts.RunTokens,
				Progress:   func(done, total int) { progress.set(int64(done), int64(total)) },
				Aggregator: recipe, State: state, Resume: resume,
			})
			if errors.Is(err, context.Canceled) {
				if _, missing := os.Stat(state); missing == nil {
					return resumable{err, state}
				}
			}
			if err != nil {
				return p.placed(err)
			}
			collected.Rendering = p.rendering
			layers, heads := collected.Layers(), map[int][]float64(nil)
			if f.out.name == "statistics" {
				err = collected.Save(f.out.path)
			} else {
				var vector *steer.Vector
				if vector, err = collected.Vector(); err == nil {
					layers = slices.Sorted(maps.Keys(vector.Layers))
					err = vector.Save(f.out.path)
				}
				if _, ok := recipe.(aggregators.ByHeads); ok && err == nil {
					heads, err = collected.HeadAccuracies()
				}
			}
			if err != nil {
				return err
			}
			if err := os.Remove(state); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			progress.finish()
			w := p.work(cmp.Or(f.out.name, "vector"), layers, start)
			w.Heads = heads
			w.Pairs, w.Prompts, w.Usage, w.Aggregator = collected.Samples(), collected.Prompts(), collected.Usage, recipe.Name()
			return w.print(c, asJSON)
		},
	}
	f.add(c)
	flagsUnder(c, "Training", func(flags *pflag.FlagSet) {
		aggregator(flags, &recipe)
		flags.StringVar(&f.neutral, "neutral", "", "a `FILE` of texts, a prompt a line or JSON Lines, that stand against the positive prompts in place of the negative ones; --aggregator is then mean-centred when not given")
		flags.StringVar(&statistics, "statistics", "", "`FILE` for what the vector is made of, in place of the vector: steer merge makes it, also of several")
		flags.BoolVar(&resume, "resume", false, "continue the run that was stopped, if there was one")
	})
	flagsUnder(c, "Selection", choice.add)
	f.addOutput(c, &asJSON)
	return c
}

// resumable is the error of an interrupted run that left its state in a file.
type resumable struct {
	error
	state string
}

func (r resumable) Unwrap() error { return r.error }

func whatIsKept(err error) string {
	if r := (resumable{}); errors.As(err, &r) {
		return fmt.Sprintf("; %s keeps what was done: run the same command with --resume to go on", r.state)
	}
	return ""
}
