package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
)

func recordCommand() *cobra.Command {
	var model modelFlags
	var prompt promptFlags
	var steering steeringFlags
	var opts steer.RecordOptions
	var out string
	var asJSON bool
	c := &cobra.Command{
		Use:   "record --model REF --prompt TEXT --out R.safetensors",
		Short: "Write a prompt's activations at every token",
		Long: `Write what a model, steered or not, shows while it reads a prompt: tensors
<layer-type>.<layer>, [tokens, width], and with --logits the tensor logits,
[tokens, vocabulary].`,
		Example: `  steer record --model gpt2 --prompt "The end" --layers 3 --layer-type mlp --out record.safetensors`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "out"); err != nil {
				return err
			}
			if err := prompt.read(c); err != nil {
				return err
			}
			steers, err := steering.load(c)
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
			tokens, err := prompt.tokens(m)
			if err != nil {
				return err
			}
			if m, err = steers.apply(m); err != nil {
				return err
			}
			r, err := steer.Record(c.Context(), m, tokens, opts)
			if err != nil {
				return err
			}
			if err := r.Save(out); err != nil {
				return err
			}
			layers := slices.Sorted(maps.Keys(r.Layers))
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					PromptIDs []int  `json:"prompt_ids"`
					Layers    []int  `json:"layers"`
					Out       string `json:"out"`
				}{tokens, layers, out})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s of layers %s written to %s: %d tokens\n", r.Site, layerList(layers), out, len(tokens))
			return err
		},
	}
	model.add(c)
	prompt.add(c)
	flagsUnder(c, "What is recorded", func(flags *pflag.FlagSet) {
		integers(flags, &opts.Layers, "layers", "layers to record, from 0 or negative from the last, such as 1,2,-1; all when not given")
		site(flags, &opts.Site, "where in the layers")
		flags.BoolVar(&opts.Logits, "logits", false, "record the logits too")
	})
	steering.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		flags.StringVar(&out, "out", "", "safetensors `FILE` to write; it appears when it is complete")
		jsonFlag(flags, &asJSON)
	})
	return c
}
