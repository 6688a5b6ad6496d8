package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/steervec/steer"
)

func extractCommand() *cobra.Command {
	var f selectionFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "extract --model REF --pairs FILE --out A.safetensors",
		Short: "Write the activations of contrastive pairs",
		Long: `Write the activations that a model shows at the read token of each pair:
tensors positive.<layer> and negative.<layer>, [samples, width], in the pairs' order.`,
		Example: "  steer extract --model ./llama --pairs pairs.csv --layers 4 --out activations.safetensors",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			model, samples, opts, err := f.prepare(c.Context(), c)
			if err != nil {
				return err
			}
			w := work{Prompts: 2 * len(samples), Out: f.out}
			progress := newBar(c.ErrOrStderr(), "extracting")
			defer progress.finish()
			opts.Progress = func(done, total int) { progress.set(int64(done), int64(total)) }
			opts.Usage = &w.Usage
			start := time.Now()
			activations, err := steer.Extract(c.Context(), model, samples, opts)
			progress.finish()
			if err != nil {
				return err
			}
			if err := activations.Save(f.out); err != nil {
				return err
			}
			w.Seconds = time.Since(start).Seconds()
			return w.print(c, asJSON, "activations")
		},
	}
	f.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print machine-readable output")
	return c
}

func aggregateCommand() *cobra.Command {
	var in, out, aggregator string
	c := &cobra.Command{
		Use:     "aggregate --activations A.safetensors --out V.safetensors",
		Short:   "Turn written activations into a steering vector",
		Example: "  steer aggregate --activations activations.safetensors --aggregator pca --out happy.safetensors",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "activations", "out"); err != nil {
				return err
			}
			recipe, err := aggregatorOf(aggregator)
			if err != nil {
				return err
			}
			if err := checkOutput(out); err != nil {
				return err
			}
			activations, err := steer.LoadActivations(in)
			if err != nil {
				return err
			}
			vector, err := steer.Aggregate(activations, recipe)
			if err != nil {
				return err
			}
			if err := vector.Save(out); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "vector written to %s: layers %s\n", out, layerList(slices.Sorted(maps.Keys(vector.Layers))))
			return err
		},
	}
	c.Flags().StringVar(&in, "activations", "", "`FILE` that steer extract wrote")
	c.Flags().StringVar(&aggregator, "aggregator", "mean", "how differences become a direction: mean, pca or logistic")
	c.Flags().StringVar(&out, "out", "", "safetensors `FILE` to write")
	return c
}

// layerList writes layers as 0-3,7.
func layerList(layers []int) string {
	text := ""
	for i := 0; i < len(layers); {
		j := i
		for j+1 < len(layers) && layers[j+1] == layers[j]+1 {
			j++
		}
		if text != "" {
			text += ","
		}
		text += strconv.Itoa(layers[i])
		if j > i {
			text += "-" + strconv.Itoa(layers[j])
		}
		i = j + 1
	}
	return text
}
