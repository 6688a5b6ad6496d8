package main

import (
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
		Long: `Write the activations that a model shows at the read token of each prompt:
tensors positive.<layer> and negative.<layer>, [samples, width], in the pairs' order.`,
		Example: "  steer extract --model ./llama --pairs pairs.csv --layers 4 --out activations.safetensors",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			model, samples, opts, err := f.prepare(c)
			if err != nil {
				return err
			}
			w := work{Prompts: 2 * len(samples), Out: f.out}
			progress := newBar(c.ErrOrStderr(), "extracting")
			defer progress.finish()
			opts.Progress = func(done, total int) { progress.set(int64(done), int64(total)) }
			start := time.Now()
			activations, err := steer.Extract(c.Context(), model, samples, opts)
			if err != nil {
				return err
			}
			if err := activations.Save(f.out); err != nil {
				return err
			}
			progress.finish()
			w.Usage = activations.Usage
			w.Seconds = time.Since(start).Seconds()
			w.Layers = slices.Sorted(maps.Keys(activations.Positive))
			return w.print(c, asJSON, "activations")
		},
	}
	f.add(c)
	f.addOutput(c, &asJSON)
	return c
}

// layerList writes ascending layers as 0-3,7.
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
