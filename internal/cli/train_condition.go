package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// trainedCondition is the result of steer train-condition.
type trainedCondition struct {
	steer.ConditionReport
	Measure lm.Measure `json:"measure"`
	Read    lm.When    `json:"read"`
	Out     string     `json:"out"`
	result
}

// labelledFlags are two files of prompts, read alike.
type labelledFlags struct {
	textFlags
	files [2]string
	sides [2]promptFlags
}

// labels are the flags of the two files.
var labels = [2]string{"positive", "negative"}

func (f *labelledFlags) add(c *cobra.Command) {
	flagsUnder(c, "Prompts", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.files[0], labels[0], "", "a `FILE` of prompts on which the condition is to hold: a prompt a line, or JSON Lines with prompt (or messages, or prompt_ids)")
		flags.StringVar(&f.files[1], labels[1], "", "a `FILE` of prompts on which it is not to hold")
		f.textFlags.add(flags)
	})
}

// read reads both files.
func (f *labelledFlags) read(c *cobra.Command) error {
	if c.Flags().Changed("system") {
		if err := f.readText(c, "system", &f.system); err != nil {
			return err
		}
		if !f.chat {
			return usage("--system is for a conversation; --chat is not given")
		}
	}
	for i, file := range f.files {
		if file == "-" {
			return usage("--%s -: the prompts are not read from standard input; name a file", labels[i])
		}
		f.sides[i] = promptFlags{textFlags: f.textFlags, file: file}
		if err := f.sides[i].readFile(c); err != nil {
			return err
		}
		for _, r := range f.sides[i].requests {
			if r.continuations != nil {
				return usage("%scontinuations are for steer score", r.where)
			}
		}
	}
	return nil
}

// tokens returns the prompts of both files as tokens.
func (f *labelledFlags) tokens(c *cobra.Command, m *lm.Model) (prompts [2][][]int, err error) {
	for i := range f.sides {
		if err := f.sides[i].encode(c.Context(), m); err != nil {
			return prompts, err
		}
		for _, r := range f.sides[i].requests {
			prompts[i] = append(prompts[i], r.tokens)
		}
	}
	return prompts, nil
}

// placed says of an error of one of the prompts where it stands.
func (f *labelledFlags) placed(err error) error {
	if wrong := (*lm.InputError)(nil); errors.As(err, &wrong) {
		for i := range f.sides {
			if n := len(f.sides[i].requests); wrong.Input < n {
				return fmt.Errorf("%s%w", f.sides[i].requests[wrong.Input].where, wrong.Err)
			} else {
				wrong.Input -= n
			}
		}
	}
	return err
}

func trainConditionCommand() *cobra.Command {
	var model modelFlags
	var prompts labelledFlags
	var out outFlags
	var layers *steer.Layers
	var opts steer.ConditionOptions
	var steering string
	var asJSON bool
	c := &cobra.Command{
		Use:   "train-condition --model REF --positive FILE --negative FILE --out C.safetensors",
		Short: "Find when to steer, on prompts with labels",
		Long: `Find a condition that holds on some prompts and not on others: a condition vector,
a layer, a threshold and whether the measure is to be above or below.

One half of the prompts trains the vectors and chooses; the other says how well that
does. --when C.safetensors steers where the condition holds. With --for the file is a
steering vector with the condition in it.`,
		Example: `  steer train-condition --model demo --positive happy.txt --negative sad.txt --measure cosine --out is-happy.safetensors
  steer generate --model demo --prompt "Tom was very happy." --vector happy.safetensors:-0.7,layers=3 --when is-happy.safetensors`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "positive", "negative", "out"); err != nil {
				return err
			}
			if err := prompts.read(c); err != nil {
				return err
			}
			inputs := []string{model.ref, prompts.files[0], prompts.files[1]}
			var steered *steer.Vector
			if steering != "" {
				inputs = append(inputs, steering)
				var err error
				if steered, err = steer.LoadVector(steering); err != nil {
					return err
				}
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
			if opts.Layers, err = layers.Of(m); err != nil {
				return err
			}
			labelled, err := prompts.tokens(c, m)
			if err != nil {
				return err
			}
			progress := newBar(c.ErrOrStderr(), "reading the prompts")
			defer progress.finish()
			opts.Progress = func(done, total int) { progress.set(int64(done), int64(total)) }
			vector, report, err := steer.TrainCondition(c.Context(), m, labelled[0], labelled[1], opts)
			progress.finish()
			if err != nil {
				return prompts.placed(err)
			}
			if steered != nil {
				found := func(string) (*steer.Vector, error) { return vector, nil }
				if steered.Condition, err = (&steer.When{Vector: out.path}).Embed(steered, found); err != nil {
					return err
				}
				vector = steered
			}
			if err := vector.Save(out.path); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), trainedCondition{*report, opts.Measure, opts.Read, out.path, resultOf(m, []applied{}, newNotes(c))})
			}
			return printCondition(c, report, &opts, out.path)
		},
	}
	model.add(c)
	prompts.add(c)
	flagsUnder(c, "Condition", func(flags *pflag.FlagSet) {
		choice(flags, &opts.Measure, "measure", []string{string(lm.CAST), string(lm.Cosine), string(lm.Projection)},
			func(name string) lm.Measure { return lm.Measure(name) }, "what is measured of an activation with the condition vector")
		choice(flags, &opts.Read, "read", []string{string(lm.PromptMean), string(lm.PromptLast)},
			func(name string) lm.When { return lm.When(name) }, "of which activation of the prompt")
		layersFlag(flags, &layers, "layers", "the layers to choose from; all when not given")
		siteFlag(flags, &opts.Site, "where activations are read")
		seedFlag(flags, &opts.Seed, "chooses the halves")
		flags.StringVar(&steering, "for", "", "write a copy of this steering vector `FILE` that acts under the condition")
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		out.add(flags)
		jsonFlag(flags, &asJSON)
	})
	return c
}

func printCondition(c *cobra.Command, r *steer.ConditionReport, opts *steer.ConditionOptions, path string) error {
	comparison, threshold := "above", r.Above
	if r.Below != nil {
		comparison, threshold = "below", r.Below
	}
	h := r.HeldOut
	_, err := fmt.Fprintf(c.OutOrStdout(), "layer %d, %s of %s %s %.4g, written to %s\non prompts held out: F1 %.3f; it holds on %d of %d positive ones and on %d of %d negative ones\n",
		r.Layer, opts.Measure, opts.Read, comparison, *threshold, path, h.F1, h.Hits, h.Positive, h.False, h.Negative)
	return err
}
