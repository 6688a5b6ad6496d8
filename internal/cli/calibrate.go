package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/eval"
)

// calibrated is the result of steer calibrate.
type calibrated struct {
	eval.Calibrated
	Text eval.DataInfo `json:"text"`
	Out  string        `json:"out"`
	result
}

func calibrateCommand() *cobra.Command {
	var model modelFlags
	var steering steeringFlags
	var out outFlags
	var text string
	var asJSON bool
	opts := eval.CalibrateOptions{TextTokens: 512, Budget: 1, Continue: 20}
	c := &cobra.Command{
		Use:   "calibrate --model REF --vector FILE --text FILE",
		Short: "Find out what strength 1 of a vector is",
		Long: `Find the multiplier at which a vector costs a budget, and write it into the vector's
file as strength 1. Everything that takes a multiplier then takes --strength as well,
in these units: at equal strengths vectors, layers and operators cost the same, and can
be compared.

The cost is how far the steered model's distribution of the next token is from the
unsteered one's, the 95th percentile over tokens, in nats: on the neutral text, and on
what the steered model writes after the beginnings of its paragraphs. The calibration
is for the layers, operator and tokens that the flags say.`,
		Example: `  steer calibrate --model demo --vector happy.safetensors --text neutral.txt
  steer generate --model demo --prompt "Anna had a red kite. One day, Anna met Leo at the bridge." --vector happy.safetensors --strength 0.5
  steer calibrate --model demo --vector happy.safetensors,operator=add-same-norm --text neutral.txt --budget 0.5 --out other.safetensors`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "text"); err != nil {
				return err
			}
			vectors, err := steering.load(c)
			if err != nil {
				return err
			}
			if len(vectors) != 1 {
				return usage("give one --vector")
			}
			v := vectors[0]
			if v.Multiplier != nil || v.Strength != nil {
				return usage("--vector %s: how strong it is to be is what is looked for; leave out the multiplier or strength", v.text)
			}
			if opts.Budget <= 0 {
				return usage("--budget %v: it must be above 0", opts.Budget)
			}
			data, err := os.ReadFile(text)
			if err != nil {
				return err
			}
			opts.Text = string(data)
			path := v.Vector
			if out.path != "" {
				release, err := out.reserve(c, model.ref, text)
				if err != nil {
					return err
				}
				defer release()
				path = out.path
			}
			m, err := model.open(c)
			if err != nil {
				return err
			}
			told := newNotes(c)
			if _, _, err := apply(m, vectors, told); err != nil { // what does not fit
				return err
			}
			found, err := eval.Calibrate(c.Context(), m, eval.Use{Vector: v.vector, Intervention: v.Intervention}, opts)
			if err != nil {
				return err
			}
			if off := found.Measured.Value/found.Budget - 1; off > 0.05 || off < -0.05 {
				told.add("the cost jumps near the budget: at %.4g it is %.3g nats, which is as near to %v as it comes", found.Multiplier, found.Measured.Value, found.Budget)
			}
			v.vector.Calibration = &found.Calibration
			if err := v.vector.Save(path); err != nil {
				return err
			}
			if !asJSON {
				_, err := fmt.Fprintf(c.OutOrStdout(), "strength 1 is a multiplier of %.4g: it costs %.3g nats [%.3g, %.3g] at layers %s, %s, after %d tries; written to %s\n",
					found.Multiplier, found.Measured.Value, found.Measured.Low, found.Measured.High, layerList(found.Layers), found.Operator, found.Tries, path)
				return err
			}
			_, how, err := apply(m, vectors, told)
			if err != nil {
				return err
			}
			return printJSON(c.OutOrStdout(), calibrated{*found, eval.DataInfo{Path: text, Hash: found.TextHash, Count: 1}, path, resultOf(m, how, told)})
		},
	}
	model.add(c)
	steering.add(c)
	flagsUnder(c, "Calibration", func(flags *pflag.FlagSet) {
		flags.StringVar(&text, "text", "", "neutral `FILE`, plain text with empty lines between paragraphs")
		number(flags, &opts.TextTokens, "text-tokens", 8, 1<<20, "tokens of it that are taken")
		number(flags, &opts.Budget, "budget", 0, 1e3, "nats that strength 1 costs")
		number(flags, &opts.Continue, "continue", -1, 1<<20, "tokens that the steered model writes after each paragraph's beginning; -1: none")
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		out.add(flags)
		jsonFlag(flags, &asJSON)
	})
	return c
}
