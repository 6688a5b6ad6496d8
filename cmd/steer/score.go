package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/tokenizer"
)

// scored is a continuation and its log-probabilities.
type scored struct {
	Continuation string        `json:"continuation"`
	Tokens       []scoredToken `json:"tokens"`
	Logprob      float64       `json:"logprob"`
}

type scoredToken struct {
	ID      int     `json:"id"`
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
}

func scoreCommand() *cobra.Command {
	var model modelFlags
	var prompt promptFlags
	var steering steeringFlags
	var continuations []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "score --model REF --prompt TEXT --continuation TEXT",
		Short: "Give the log-probability of continuations of a prompt",
		Long: `Give the natural log-probability of continuations of a prompt, per token and
summed. Prompt and continuation are tokenized apart, the continuation without
special tokens, so that the prompt is the same for each; begin a continuation
with a space where the text has one.`,
		Example: `  steer score --model gpt2 --prompt "The sky is" --continuation " blue" --continuation " green"`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "continuation"); err != nil {
				return err
			}
			text, err := prompt.read(c)
			if err != nil {
				return err
			}
			edits, err := steering.edits(c)
			if err != nil {
				return err
			}
			m, err := model.open(c.Context(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			tokens, err := prompt.tokens(m, text)
			if err != nil {
				return err
			}
			t, err := m.Tokenizer()
			if err != nil {
				return err
			}
			var requests []lm.Continuation
			for _, text := range continuations {
				e, err := t.Encode(text, tokenizer.EncodeOptions{NoSpecialTokens: true})
				if err != nil {
					return err
				}
				if len(e.IDs) == 0 {
					return usage("--continuation %q has no tokens", text)
				}
				requests = append(requests, lm.Continuation{Prompt: tokens, Tokens: e.IDs})
			}
			logprobs, err := m.With(edits...).Score(c.Context(), requests)
			if err != nil {
				return err
			}
			var out []scored
			for i, r := range requests {
				s := scored{Continuation: continuations[i]}
				for k, id := range r.Tokens {
					name, _ := t.Token(id)
					s.Tokens = append(s.Tokens, scoredToken{id, name, logprobs[i][k]})
					s.Logprob += logprobs[i][k]
				}
				out = append(out, s)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			for _, s := range out {
				fmt.Fprintf(c.OutOrStdout(), "%10.4f  %q\n", s.Logprob, s.Continuation)
				for _, t := range s.Tokens {
					fmt.Fprintf(c.OutOrStdout(), "%10.4f    %s\n", t.Logprob, t.Token)
				}
			}
			return nil
		},
	}
	model.add(c)
	prompt.add(c)
	c.Flags().StringArrayVar(&continuations, "continuation", nil, "`TEXT` that follows the prompt; repeatable")
	c.Flags().BoolVar(&asJSON, "json", false, "print machine-readable output")
	steering.add(c)
	return c
}
