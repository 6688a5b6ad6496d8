package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

func recordCommand() *cobra.Command {
	var model modelFlags
	var prompt promptFlags
	var steering steeringFlags
	var out, layers, layerType string
	var logits bool
	c := &cobra.Command{
		Use:   "record --model REF --prompt TEXT --out R.safetensors",
		Short: "Write a prompt's activations at every token",
		Long: `Write what a model shows while it reads a prompt: tensors <layer-type>.<layer>,
[tokens, width], and with --logits the tensor logits, [tokens, vocabulary].`,
		Example: `  steer record --model gpt2 --prompt "The end" --layers 3 --layer-type mlp --out record.safetensors`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "out"); err != nil {
				return err
			}
			text, err := prompt.read(c)
			if err != nil {
				return err
			}
			opts := steer.RecordOptions{Logits: logits}
			if opts.Layers, err = parseLayers("layers", layers); err != nil {
				return err
			}
			if opts.LayerType, err = parseSite(layerType); err != nil {
				return err
			}
			edits, err := steering.edits(c)
			if err != nil {
				return err
			}
			if err := checkOutput(out); err != nil {
				return err
			}
			m, err := model.open(c.Context(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			tokens, err := prompt.tokens(m, text)
			if err != nil {
				return err
			}
			r, err := steer.Record(c.Context(), m.With(edits...), tokens, opts)
			if err != nil {
				return err
			}
			if err := r.Save(out); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d layers of %d tokens written to %s\n", len(r.Layers), len(tokens), out)
			return err
		},
	}
	model.add(c)
	prompt.add(c)
	c.Flags().StringVar(&out, "out", "", "safetensors `FILE` to write")
	c.Flags().StringVar(&layers, "layers", "", "layers to record, such as `1,2,-1`; default all")
	c.Flags().StringVar(&layerType, "layer-type", string(lm.DecoderBlock), "`SITE` to record")
	c.Flags().BoolVar(&logits, "logits", false, "record the logits too")
	steering.add(c)
	return c
}
