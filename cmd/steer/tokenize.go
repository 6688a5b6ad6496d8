package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/tokenizer"
)

func tokenizeCommand() *cobra.Command {
	var ref, text string
	var asJSON bool
	c := &cobra.Command{
		Use:     "tokenize --model REF --text TEXT",
		Short:   "Show the tokens of a text",
		Example: `  steer tokenize --model gpt2 --text "Hello, world"`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "text"); err != nil {
				return err
			}
			files, err := checkpoint.Open(c.Context(), ref, checkpoint.Options{})
			if err != nil {
				return err
			}
			defer files.Close()
			t, err := tokenizer.Load(files.FS())
			if err != nil {
				return err
			}
			e, err := t.Encode(text, tokenizer.EncodeOptions{})
			if err != nil {
				return err
			}
			type token struct {
				ID      int    `json:"id"`
				Token   string `json:"token"`
				Offsets [2]int `json:"offsets"` // bytes of the text
				Special bool   `json:"special"`
			}
			tokens := []token{}
			for i, id := range e.IDs {
				name, _ := t.Token(id)
				tokens = append(tokens, token{id, name, e.Offsets[i], e.Special[i]})
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					IDs    []int   `json:"ids"`
					Tokens []token `json:"tokens"`
				}{append([]int{}, e.IDs...), tokens})
			}
			for i, t := range tokens {
				fmt.Fprintf(c.OutOrStdout(), "%4d %8d  %-20s %q\n", i, t.ID, t.Token, text[t.Offsets[0]:t.Offsets[1]])
			}
			return nil
		},
	}
	c.Flags().StringVar(&ref, "model", "", "`REF`: a checkpoint's folder, or a Hub id org/name[@revision]")
	c.Flags().StringVar(&text, "text", "", "the `TEXT`")
	c.Flags().BoolVar(&asJSON, "json", false, "print machine-readable output")
	return c
}
