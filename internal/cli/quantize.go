package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/internal/output"
	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// quantized says what was written.
type quantized struct {
	In      string `json:"in"`
	Out     string `json:"out"`
	Type    string `json:"type"`
	Tensors int    `json:"tensors"` // that were rounded
}

func quantizeCommand() *cobra.Command {
	out := outFlags{word: "OUT"}
	var to gguf.Type
	var asJSON bool
	c := &cobra.Command{
		Use:   "quantize IN OUT",
		Short: "Round a GGUF file's weights to blocks of few bits",
		Long: `Round the matrices of a GGUF file to blocks of few bits, and write another. Norms,
learned positions and what chooses experts stay as they are. Rows that are not whole
blocks of the type get one of smaller blocks with as many bits.

The rounding is plain: the largest value or the range of a group gives its scale, and
nothing searches for scales with less error, as other programs do. What is in blocks of
another type already is rounded a second time and loses by it.

--quantize of other commands does the same to any checkpoint while it is loaded.`,
		Example: "  steer quantize model.gguf smaller.gguf --to q8_0",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("it takes the file to read and the one to write, not %d", len(args))
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
			file, err := gguf.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			result := quantized{In: args[0], Out: out.path, Type: to.String()}
			target, err := output.Create(out.path)
			if err != nil {
				return err
			}
			if result.Tensors, err = file.Quantize(c.Context(), target, to); err != nil {
				return errors.Join(fmt.Errorf("quantize %s: %w", args[0], err), target.Abort())
			}
			if err := target.Commit(); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), result)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s with %d tensors rounded for %s written to %s\n", result.In, result.Tensors, result.Type, result.Out)
			return err
		},
	}
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		quantizeFlag(flags, &to, "to", nil, "what the matrices become")
		flags.BoolVar(&out.force, "force", false, "replace OUT also where it is not a file that steer wrote")
		jsonFlag(flags, &asJSON)
	})
	return c
}
