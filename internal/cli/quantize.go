package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/internal/output"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// quantized says what was written.
type quantized struct {
	In      string `json:"in"`
	Out     string `json:"out"`
	Type    string `json:"type"`
	Tensors int    `json:"tensors"` // whose numbers are others than they were, or than float32
}

func quantizeCommand() *cobra.Command {
	out := outFlags{word: "OUT"}
	var to gguf.Type
	var asJSON bool
	c := &cobra.Command{
		Use:   "quantize IN OUT",
		Short: "Write a model as a GGUF file, in plain numbers or blocks of few bits",
		Long: `Write a model as a GGUF file, which this program and llama.cpp open: a folder of
safetensors, a repository of the Hub or the demonstration model is converted with its
tokenizer and chat template; a GGUF file is copied. IN is named as --model is.

Matrices are stored as --to says: in plain numbers (f32, bf16, f16) or rounded to blocks
of few bits. Norms, learned positions and what chooses experts stay as they are. Rows that
are not whole blocks of the type get one of smaller blocks with as many bits.

The rounding is plain: the largest value or the range of a group gives its scale, and
nothing searches for scales with less error, as other programs do. What is in blocks of
another type already is rounded a second time and loses by it.

A family for which llama.cpp has no architecture, and a config that says what the format
has no word for, are refused. --quantize of other commands rounds any model while it is
loaded.`,
		Example: `  steer quantize demo demo.gguf --to bf16
  steer quantize model.gguf smaller.gguf --to q8_0`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("it takes the model to read and the file to write, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := require(c, "to"); err != nil {
				return err
			}
			out.path = args[1]
			release, err := out.reserve(c, args[0])
			if err != nil {
				return err
			}
			defer release()
			result := quantized{In: args[0], Out: out.path, Type: to.String()}
			target, err := output.Create(out.path)
			if err != nil {
				return err
			}
			downloads, finish := showDownloads(c.ErrOrStderr())
			defer finish()
			if result.Tensors, err = lm.WriteGGUF(c.Context(), args[0], target, to, downloads); err != nil {
				return errors.Join(err, target.Abort())
			}
			if err := target.Commit(); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), result)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s in %s, %d tensors of it changed, written to %s\n", result.In, result.Type, result.Tensors, result.Out)
			return err
		},
	}
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		quantizeFlag(flags, &to, "to", append([]gguf.Type{gguf.F32, gguf.BF16, gguf.F16}, gguf.Quantizable()...), nil, "what the matrices become")
		flags.BoolVar(&out.force, "force", false, "replace OUT also where it is not a file that steer wrote")
		jsonFlag(flags, &asJSON)
	})
	return c
}
