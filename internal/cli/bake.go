package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/bake"
	"github.com/steervec/steer/lm"
)

func bakeCommand() *cobra.Command {
	var model modelFlags
	var prompt promptFlags
	var opts bake.Options
	var vector, out string
	var asJSON bool
	c := &cobra.Command{
		Use:   "bake --model REF --vector VECTOR --mode bias|ablate --out DIR",
		Short: "Write a checkpoint that has a vector in its weights",
		Long: `Write a complete Hugging Face checkpoint that has a steering vector in its weights,
so that it is steered wherever it runs.

With --mode bias the vector is added to every token at its layers, by the biases of
the parts that write there, where the model's family can have them. With --mode ablate
the vector's direction is taken out of everything that writes to the residual stream,
in all layers: the vector then needs one layer, which --layers chooses.

All other files and tensors stay as they are. At the end the checkpoint is compared
with steering at run time, on prompts of yours or on some sentences; the largest
difference of two logits is printed, and stands in the model card.`,
		Example: `  steer bake --model demo --vector happy.safetensors:0.7 --mode bias --out happy-demo
  steer generate --model happy-demo --prompt "Anna had a red kite. One day, Anna met Leo at the bridge."`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "vector", "mode", "out"); err != nil {
				return err
			}
			if err := checkRef(model.ref); err != nil {
				return err
			}
			steering := steeringFlags{vectors: []string{vector}}
			loaded, err := steering.load(c)
			if err != nil {
				return err
			}
			v := loaded[0]
			if v.Layers != nil || v.Operator != "" || v.Tokens != "" || v.When != nil || v.Between != nil || v.Decay != nil {
				return usage("--vector %s: a baked vector acts on all tokens, as --mode says, and --layers chooses its layers", vector)
			}
			if opts.Multiplier, err = v.Factor(v.vector); err != nil {
				return usage("--vector %s: %w", vector, err)
			}
			if model.quantize.Blocks() {
				return usage("--quantize is refused: baked weights keep their numbers")
			}
			if opts.Multiplier == 0 {
				return usage("--vector %s: the multiplier is 0: nothing would be baked", vector)
			}
			if prompt.given(c) {
				if err := prompt.read(c); err != nil {
					return err
				}
				for _, r := range prompt.requests {
					opts.Prompts = append(opts.Prompts, lm.Input{Text: r.text, Messages: r.messages, Tokens: r.tokens})
				}
			}
			downloads, finish := showDownloads(c.ErrOrStderr())
			defer finish()
			progress := newBar(c.ErrOrStderr(), "")
			progress.bytes = true
			defer progress.finish()
			opts.DType, opts.Checkpoint = model.dtype, downloads
			opts.Progress = func(file string, done, total int64) {
				if progress.text != file {
					progress.finish()
					progress.text = file
				}
				progress.set(done, total)
			}
			r, err := bake.Write(c.Context(), model.ref, v.vector, out, opts)
			if err != nil {
				return err
			}
			told := newNotes(c)
			for _, note := range r.Notes {
				told.add("%s", note)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), r)
			}
			progress.finish()
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s with the vector baked in written to %s: %d tensors changed, %d added\n"+
				"compared with steering at run time on %d prompts, in %s: logits, of up to %.3g, differ by at most %.2g, where the vector moves them by up to %.3g\n",
				r.Model, r.Out, len(r.Changed), len(r.Added), r.Prompts, r.DType, r.Logit, r.Difference, r.Effect)
			return err
		},
	}
	model.add(c)
	flagsUnder(c, "Baking", func(flags *pflag.FlagSet) {
		flags.StringVar(&vector, "vector", "", "the `VECTOR`: a file, perhaps :MULTIPLIER, such as happy.safetensors:0.7")
		choice(flags, &opts.Mode, "mode", []string{string(bake.Bias), string(bake.Ablate)}, func(name string) bake.Mode { return bake.Mode(name) }, "what is written into the weights")
		integers(flags, &opts.Layers, "layers", "which of the vector's layers, such as 3 or 3,4 or -1; all when not given")
		flags.BoolVar(&opts.Embeddings, "embeddings", false, "take the direction out of the embedding too")
	})
	prompt.add(c, false)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		flags.StringVar(&out, "out", "", "`DIR` to write, where nothing or an empty folder is; it appears when it is complete")
		jsonFlag(flags, &asJSON)
	})
	return c
}
