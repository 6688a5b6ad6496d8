package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/tokenizer"
)

func tokenizeCommand() *cobra.Command {
	var ref, text string
	var asJSON bool
	c := &cobra.Command{
		Use:   "tokenize --model REF --text TEXT",
		Short: "Show the tokens of a text",
		Long: `Show the tokens of a text as a prompt: id, token, and the bytes of the text that it
stands for. Tokens that the tokenizer adds stand for no text.`,
		Example: `  steer tokenize --model gpt2 --text "Hello, world"`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "text"); err != nil {
				return err
			}
			if err := readText(c, "text", &text); err != nil {
				return err
			}
			t, err := openTokenizer(c, ref)
			if err != nil {
				return err
			}
			e, err := t.Encode(text, tokenizer.EncodeOptions{})
			if err != nil {
				return err
			}
			tokens := make([]string, len(e.IDs))
			for i, id := range e.IDs {
				tokens[i], _ = t.Token(id)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					IDs     []int    `json:"ids"`
					Tokens  []string `json:"tokens"`
					Offsets [][2]int `json:"offsets"` // bytes of the text, [from, to)
				}{append([]int{}, e.IDs...), tokens, append([][2]int{}, e.Offsets...)})
			}
			var lines strings.Builder
			for i, id := range e.IDs {
				fmt.Fprintf(&lines, "%4d %8d  %-20s %q\n", i, id, tokens[i], text[e.Offsets[i][0]:e.Offsets[i][1]])
			}
			_, err = io.WriteString(c.OutOrStdout(), lines.String())
			return err
		},
	}
	flagsUnder(c, "Model", func(flags *pflag.FlagSet) { addRef(flags, &ref) })
	flagsUnder(c, "Text", func(flags *pflag.FlagSet) {
		flags.StringVar(&text, "text", "", "the `TEXT`; - reads it from standard input")
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

// openTokenizer reads a model's tokenizer without its weights.
func openTokenizer(c *cobra.Command, ref string) (*tokenizer.Tokenizer, error) {
	files := demo.Files()
	if ref != demo.Name {
		downloads, finish := showDownloads(c.ErrOrStderr())
		var err error
		files, err = checkpoint.Files(c.Context(), ref, downloads)
		finish()
		if err != nil {
			return nil, err
		}
	}
	t, err := tokenizer.Load(files)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", ref, err)
	}
	return t, nil
}
