package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// selectionFlags say which activations of which pairs are read.
type selectionFlags struct {
	model     modelFlags
	pairs     string
	out       string
	layers    string
	layerType string
	readToken int
	maxTokens int
}

func (f *selectionFlags) add(c *cobra.Command) {
	f.model.add(c)
	flags := c.Flags()
	flags.StringVar(&f.pairs, "pairs", "", "`FILE` of contrastive pairs: JSON Lines, JSON, CSV or CAA's")
	flags.StringVar(&f.out, "out", "", "safetensors `FILE` to write")
	flags.StringVar(&f.layers, "layers", "", "layers to read, such as `1,2,-1`; default all")
	flags.StringVar(&f.layerType, "layer-type", string(lm.DecoderBlock), "`SITE` to read: decoder_block, self_attn, mlp, input_layernorm, post_attention_layernorm, residual_mid or attn_heads")
	flags.IntVar(&f.readToken, "read-token", -1, "position to read, negative from the prompt's end")
	flags.IntVar(&f.maxTokens, "max-tokens", 0, "compute at most `N` tokens together; bounds memory, never changes results (default 1024)")
}

// prepare checks the flags, reads the pairs and opens the model.
func (f *selectionFlags) prepare(ctx context.Context, c *cobra.Command) (*lm.Model, []steer.Sample, steer.ExtractOptions, error) {
	var opts steer.ExtractOptions
	fail := func(err error) (*lm.Model, []steer.Sample, steer.ExtractOptions, error) { return nil, nil, opts, err }
	if err := require(c, "model", "pairs", "out"); err != nil {
		return fail(err)
	}
	var err error
	if opts.Layers, err = parseLayers("layers", f.layers); err != nil {
		return fail(err)
	}
	if opts.LayerType, err = parseSite(f.layerType); err != nil {
		return fail(err)
	}
	if f.maxTokens < 0 {
		return fail(usage("--max-tokens is %d, less than 0", f.maxTokens))
	}
	opts.ReadToken, opts.MaxTokens = &f.readToken, f.maxTokens
	if err := checkOutput(f.out); err != nil {
		return fail(err)
	}
	samples, err := steer.OpenPairs(f.pairs)
	if err != nil {
		return fail(err)
	}
	model, err := f.model.open(ctx, c.ErrOrStderr())
	if err != nil {
		return fail(err)
	}
	return model, samples, opts, nil
}

// aggregatorOf names the recipes of the command line.
func aggregatorOf(name string) (steer.Aggregator, error) {
	switch name {
	case "mean":
		return steer.Mean(), nil
	case "pca":
		return steer.PCA(), nil
	case "logistic":
		return steer.Logistic(steer.LogisticOptions{}), nil
	}
	return nil, usage("--aggregator %q: it is mean, pca or logistic", name)
}

// work reports what a training or an extraction did.
type work struct {
	Prompts int `json:"prompts"`
	lm.Usage
	Seconds float64 `json:"seconds"`
	Out     string  `json:"out"`
}

func (w work) print(c *cobra.Command, asJSON bool, made string) error {
	if asJSON {
		return printJSON(c.OutOrStdout(), w)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s written to %s: %d prompts of %d tokens, %d of them computed, in %.1f s\n",
		made, w.Out, w.Prompts, w.Given, w.Computed, w.Seconds)
	return err
}

func trainCommand() *cobra.Command {
	var f selectionFlags
	var aggregator string
	var resume, asJSON bool
	c := &cobra.Command{
		Use:   "train --model REF --pairs FILE --out V.safetensors",
		Short: "Train a steering vector from contrastive pairs",
		Long: `Train a steering vector from contrastive pairs of prompts.

Every distinct prefix of the prompts is computed once. While it runs, its state
is kept in a file beside the output, OUT.state; after a kill, --resume continues
from there and writes the same vector to the bit.`,
		Example: "  steer train --model Qwen/Qwen2.5-0.5B --pairs pairs.jsonl --layers 8,9,10 --out happy.safetensors",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			recipe, err := aggregatorOf(aggregator)
			if err != nil {
				return err
			}
			model, samples, opts, err := f.prepare(c.Context(), c)
			if err != nil {
				return err
			}
			w := work{Prompts: 2 * len(samples), Out: f.out}
			progress := newBar(c.ErrOrStderr(), "training")
			defer progress.finish()
			opts.Progress = func(done, total int) { progress.set(int64(done), int64(total)) }
			opts.Usage = &w.Usage
			start, state := time.Now(), f.out+".state"
			vector, err := steer.Train(c.Context(), model, samples, steer.TrainOptions{
				ExtractOptions: opts, Aggregator: recipe, State: state, Resume: resume,
			})
			progress.finish()
			if err != nil {
				return err
			}
			if err := vector.Save(f.out); err != nil {
				return err
			}
			if err := os.Remove(state); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			w.Seconds = time.Since(start).Seconds()
			return w.print(c, asJSON, "vector")
		},
	}
	f.add(c)
	c.Flags().StringVar(&aggregator, "aggregator", "mean", "how differences become a direction: mean, pca or logistic")
	c.Flags().BoolVar(&resume, "resume", false, "continue a run that was stopped")
	c.Flags().BoolVar(&asJSON, "json", false, "print machine-readable output")
	return c
}
