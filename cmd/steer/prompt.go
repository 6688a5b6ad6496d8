package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
)

// promptFlags give one prompt, as text or as token ids.
type promptFlags struct {
	text string
	ids  []int
}

func (f *promptFlags) add(c *cobra.Command) {
	flagsUnder(c, "Prompt", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.text, "prompt", "", "the prompt's `TEXT`; - reads it from standard input")
		integers(flags, &f.ids, "prompt-ids", "the prompt as token ids, special tokens included; needs no tokenizer")
	})
}

// read checks that there is one prompt and reads it from standard input where
// that is asked for.
func (f *promptFlags) read(c *cobra.Command) error {
	if c.Flags().Changed("prompt") == c.Flags().Changed("prompt-ids") {
		return usage("give one of --prompt and --prompt-ids")
	}
	if f.ids != nil {
		return nil
	}
	return readText(c, "prompt", &f.text)
}

// tokens returns the prompt's ids, with the special tokens that the model's
// tokenizer adds to a text.
func (f *promptFlags) tokens(model *lm.Model) ([]int, error) {
	if f.ids != nil {
		return f.ids, nil
	}
	return model.Tokenize(f.text)
}

// readText replaces - by what comes from standard input, up to its last line's
// end, and refuses an empty text.
func readText(c *cobra.Command, flag string, text *string) error {
	if *text == "-" {
		data, err := readAll(c.Context(), c.InOrStdin())
		if err != nil {
			return err
		}
		*text = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	}
	if *text == "" {
		return usage("--%s is empty", flag)
	}
	return nil
}

// readAll is io.ReadAll that an interrupt ends although the reader waits.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		data, err := io.ReadAll(r)
		read <- result{data, err}
	}()
	select {
	case r := <-read:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
