package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

func trainCommand() *cobra.Command {
	var f selectionFlags
	var recipe steer.Aggregator
	var resume, asJSON bool
	c := &cobra.Command{
		Use:   "train --model REF --pairs FILE --out V.safetensors",
		Short: "Train a steering vector from contrastive pairs",
		Long: `Train a steering vector from contrastive pairs of prompts.

Every distinct prefix of the prompts is computed once. While it runs, its state
is kept in a file beside the output, V.safetensors.state; after an interrupt or
a kill, --resume continues from there and writes the same vector to the bit.`,
		Example: "  steer train --model Qwen/Qwen2.5-0.5B --pairs pairs.jsonl --layers 8,9,-1 --out happy.safetensors",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			model, samples, opts, err := f.prepare(c)
			if err != nil {
				return err
			}
			state := f.out + ".state"
			if _, err := os.Stat(state); err == nil && !resume {
				fmt.Fprintf(c.ErrOrStderr(), "note: beginning anew; %s is the state of a stopped run, which --resume would continue\n", state)
			}
			w := work{Prompts: 2 * len(samples), Out: f.out}
			progress := newBar(c.ErrOrStderr(), "training")
			defer progress.finish()
			start := time.Now()
			statistics, err := steer.Collect(c.Context(), model, samples, steer.TrainOptions{
				Site: opts.Site, Layers: opts.Layers, Read: opts.Read, RunTokens: opts.RunTokens,
				Progress:   func(done, total int) { progress.set(int64(done), int64(total)) },
				Aggregator: recipe, State: state, Resume: resume,
			})
			if errors.Is(err, context.Canceled) {
				if _, missing := os.Stat(state); missing == nil {
					return resumable{err, state}
				}
			}
			if err != nil {
				return err
			}
			vector, err := statistics.Vector()
			if err != nil {
				return err
			}
			w.Usage = statistics.Usage
			if err := vector.Save(f.out); err != nil {
				return err
			}
			if err := os.Remove(state); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			progress.finish()
			w.Seconds = time.Since(start).Seconds()
			w.Layers = slices.Sorted(maps.Keys(vector.Layers))
			return w.print(c, asJSON, "vector")
		},
	}
	f.add(c)
	flagsUnder(c, "Training", func(flags *pflag.FlagSet) {
		aggregator(flags, &recipe)
		flags.BoolVar(&resume, "resume", false, "continue the run that was stopped, if there was one")
	})
	f.addOutput(c, &asJSON)
	return c
}

// selectionFlags say which activations of which pairs are read.
type selectionFlags struct {
	model     modelFlags
	pairs     string
	out       string
	layers    []int
	layerType lm.Site
	read      steer.Reading // nil: what the kind of file says, or the last token
	maxTokens int
}

func (f *selectionFlags) add(c *cobra.Command) {
	f.model.add(c)
	flagsUnder(c, "What is read", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.pairs, "pairs", "", "`FILE` of contrastive pairs: JSON Lines, JSON, CSV or CAA's")
		integers(flags, &f.layers, "layers", "layers to read, from 0 or negative from the last, such as 1,2,-1; all when not given")
		site(flags, &f.layerType, "where in the layers")
		flags.Var(&parsed[steer.Reading]{&f.read, "", "READING", steer.ParseReading}, "read-token",
			`what is read of a prompt where a pair does not say: a position, negative from the prompt's end, or mean, mean:2:-1, mean:response, mean:"text"; the last token when not given`)
		number(flags, &f.maxTokens, "max-tokens", 1, math.MaxInt32, "compute at most N tokens together: bounds memory, never changes results; 1024 when not given")
	})
}

func (f *selectionFlags) addOutput(c *cobra.Command, asJSON *bool) {
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.out, "out", "", "safetensors `FILE` to write; it appears when it is complete")
		jsonFlag(flags, asJSON)
	})
}

// prepare checks the flags, reads the pairs and opens the model.
func (f *selectionFlags) prepare(c *cobra.Command) (*lm.Model, []steer.Sample, steer.ExtractOptions, error) {
	opts := steer.ExtractOptions{Layers: f.layers, Site: f.layerType, RunTokens: f.maxTokens}
	fail := func(err error) (*lm.Model, []steer.Sample, steer.ExtractOptions, error) { return nil, nil, opts, err }
	if err := require(c, "model", "pairs", "out"); err != nil {
		return fail(err)
	}
	if err := checkOutput(f.out); err != nil {
		return fail(err)
	}
	file, err := pairs.Open(f.pairs)
	if err != nil {
		return fail(err)
	}
	opts.Read = f.read
	if opts.Read == nil && file.Read != nil {
		opts.Read = file.Read
		fmt.Fprintf(c.ErrOrStderr(), "note: %s; --read-token chooses another\n", file.Note)
	}
	model, err := f.model.open(c.Context(), c.ErrOrStderr())
	if err != nil {
		return fail(err)
	}
	return model, file.Samples, opts, nil
}

// work reports what a training or an extraction did.
type work struct {
	Prompts int `json:"prompts"`
	lm.Usage
	Seconds float64 `json:"seconds"`
	Layers  []int   `json:"layers"`
	Out     string  `json:"out"`
}

func (w work) print(c *cobra.Command, asJSON bool, made string) error {
	if asJSON {
		return printJSON(c.OutOrStdout(), w)
	}
	saved := 0.0
	if w.Given > 0 {
		saved = 100 * float64(w.Given-w.Computed) / float64(w.Given)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s of layers %s written to %s: %d prompts with %d tokens; %d of them computed, %.0f %% saved, in %.1f s\n",
		made, layerList(w.Layers), w.Out, w.Prompts, w.Given, w.Computed, saved, w.Seconds)
	return err
}
