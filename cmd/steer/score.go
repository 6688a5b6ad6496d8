package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
)

// scored is a continuation and its log-probabilities.
type scored struct {
	Continuation string        `json:"continuation"`
	Tokens       []scoredToken `json:"tokens"`
	Logprob      float64       `json:"logprob"` // their sum
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
summed.

A continuation is tokenized apart from the prompt, so that the prompt's tokens
are the same for all: no token spans the two, no special token is added, and no
space is put before it. Begin it with a space where the text has one.`,
		Example: `  steer score --model gpt2 --prompt "The sky is" --continuation " blue" --continuation " green"`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "continuation"); err != nil {
				return err
			}
			if slices.Contains(continuations, "") {
				return usage("--continuation is empty")
			}
			if err := prompt.read(c); err != nil {
				return err
			}
			steers, err := steering.load(c)
			if err != nil {
				return err
			}
			m, err := model.open(c.Context(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			tokens, err := prompt.tokens(m)
			if err != nil {
				return err
			}
			t, err := m.Tokenizer()
			if err != nil {
				return err
			}
			var requests []lm.Continuation
			for _, text := range continuations {
				ids, err := m.TokenizeContinuation(text)
				if err != nil {
					return fmt.Errorf("--continuation %q: %w", text, err)
				}
				requests = append(requests, lm.Continuation{Prompt: lm.Input{Tokens: tokens}, Tokens: ids})
			}
			if m, err = steers.apply(m); err != nil {
				return err
			}
			logprobs, err := m.Score(c.Context(), requests)
			if err != nil {
				return err
			}
			scores := make([]scored, len(requests))
			for i, r := range requests {
				scores[i].Continuation = continuations[i]
				for k, id := range r.Tokens {
					name, _ := t.Token(id)
					scores[i].Tokens = append(scores[i].Tokens, scoredToken{id, name, logprobs[i][k]})
					scores[i].Logprob += logprobs[i][k]
				}
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					PromptIDs     []int    `json:"prompt_ids"`
					Continuations []scored `json:"continuations"`
				}{tokens, scores})
			}
			return printScores(c.OutOrStdout(), scores)
		},
	}
	model.add(c)
	prompt.add(c)
	flagsUnder(c, "Prompt", func(flags *pflag.FlagSet) {
		flags.StringArrayVar(&continuations, "continuation", nil, "`TEXT` that follows the prompt; repeatable")
	})
	steering.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

func printScores(w io.Writer, scores []scored) error {
	var text strings.Builder
	for _, s := range scores {
		fmt.Fprintf(&text, "%10.4f  %q\n", s.Logprob, s.Continuation)
		for _, t := range s.Tokens {
			fmt.Fprintf(&text, "%10.4f    %s\n", t.Logprob, t.Token)
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}
