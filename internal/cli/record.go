package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// recorded is the result of a recording.
type recorded struct {
	LayerType lm.Site          `json:"layer_type"`
	Layers    []int            `json:"layers"`
	Prompts   []recordedPrompt `json:"prompts"`
	Out       string           `json:"out"`
	result
}

// recordedPrompt says which rows of the tensors are a prompt's.
type recordedPrompt struct {
	ID        json.RawMessage `json:"id,omitempty"`
	PromptIDs []int           `json:"prompt_ids"`
	From      int             `json:"from"`
	To        int             `json:"to"` // the first row after it
}

func recordCommand() *cobra.Command {
	var model modelFlags
	var prompt promptFlags
	var steering steeringFlags
	var layers *steer.Layers
	var site lm.Site
	var out outFlags
	var logits, asJSON bool
	c := &cobra.Command{
		Use:   "record --model REF --prompt TEXT --out R.safetensors",
		Short: "Write prompts' activations at every token",
		Long: `Write what a model, steered or not, shows while it reads a prompt: tensors
<layer-type>.<layer>, [tokens, width], and with --logits the tensor logits,
[tokens, vocabulary].

With --prompts the tokens of all prompts of a file stand one below the other. The
metadata prompts, JSON, says from which row to which, and which id and which
tokens, each has; metadata also name the model and the vectors.`,
		Example: `  steer record --model demo --prompt "The end" --layers 3 --layer-type mlp --out record.safetensors
  steer record --model demo --prompts prompts.txt --layers 1-3 --out records.safetensors`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "out"); err != nil {
				return err
			}
			if err := prompt.read(c); err != nil {
				return err
			}
			vectors, err := steering.load(c)
			if err != nil {
				return err
			}
			inputs := []string{model.ref, prompt.file}
			for _, v := range vectors {
				inputs = append(inputs, v.Vector)
			}
			release, err := out.reserve(c, inputs...)
			if err != nil {
				return err
			}
			defer release()
			m, err := model.open(c)
			if err != nil {
				return err
			}
			if err := prompt.encode(c.Context(), m); err != nil {
				return err
			}
			told := newNotes(c)
			m, how, err := apply(m, vectors, told)
			if err != nil {
				return err
			}
			r := recorded{LayerType: site, Out: out.path}
			if r.Layers, err = layers.Of(m); err != nil {
				return err
			}
			if layers == nil {
				r.Layers = m.LayersOf(site)
			}
			var lengths []int
			rows := 0
			for _, request := range prompt.requests {
				n := len(request.tokens)
				r.Prompts = append(r.Prompts, recordedPrompt{request.id, request.tokens, rows, rows + n})
				lengths, rows = append(lengths, n), rows+n
			}
			noteLength(m, told, lengths)
			r.result = resultOf(m, how, told)
			if err := r.record(c, m, prompt.inputs(), logits); err != nil {
				return prompt.placed(err, each)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), r)
			}
			prompts := ""
			if prompt.several() {
				prompts = fmt.Sprintf("%d prompts with ", len(r.Prompts))
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s of layers %s written to %s: %s%d tokens\n", site, layerList(r.Layers), out.path, prompts, rows)
			return err
		},
	}
	model.add(c)
	prompt.add(c, false)
	flagsUnder(c, "What is recorded", func(flags *pflag.FlagSet) {
		layersFlag(flags, &layers, "layers", "layers to record; all when not given")
		siteFlag(flags, &site, "where in the layers")
		flags.BoolVar(&logits, "logits", false, "record the logits too")
	})
	steering.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		out.add(flags)
		jsonFlag(flags, &asJSON)
	})
	return c
}
