package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
)

// scores is the result of one prompt.
type scores struct {
	ID            json.RawMessage `json:"id,omitempty"`
	PromptIDs     []int           `json:"prompt_ids"`
	Continuations []scored        `json:"continuations"`
	result
}

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
space is put before it. Begin it with a space where the text has one; after --chat
it begins the assistant's turn.

With --prompts all prompts of a file are scored together, and each gets a line of
JSON with its id. A line of the file may have continuations of its own, in place of
those of the command line.`,
		Example: `  steer score --model demo --prompt "Tom was very" --continuation " happy" --continuation " sad"
  steer score --model demo --prompt "Tom was very" --continuation " happy" --vector happy.safetensors:0.7`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model"); err != nil {
				return err
			}
			for i := range continuations {
				if err := prompt.readText(c, "continuation", &continuations[i]); err != nil {
					return err
				}
			}
			if err := prompt.read(c); err != nil {
				return err
			}
			for i := range prompt.requests {
				r := &prompt.requests[i]
				if r.continuations == nil {
					r.continuations = continuations
				}
				switch {
				case len(r.continuations) == 0 && r.where == "":
					return usage("--continuation is missing")
				case len(r.continuations) == 0:
					return usage("%sthere are no continuations, and no --continuation is given", r.where)
				case slices.Contains(r.continuations, ""):
					return usage("%sa continuation is empty", r.where)
				}
			}
			vectors, err := steering.load(c)
			if err != nil {
				return err
			}
			m, err := model.open(c)
			if err != nil {
				return err
			}
			if err := prompt.encode(c.Context(), m); err != nil {
				return err
			}
			asked, of, err := continuationsOf(m, prompt.requests)
			if err != nil {
				return err
			}
			told := newNotes(c)
			lengths := make([]int, len(asked))
			for i, a := range asked {
				lengths[i] = len(a.Prompt.Tokens) + len(a.Tokens)
			}
			noteLength(m, told, lengths)
			m, how, err := apply(m, vectors, told)
			if err != nil {
				return err
			}
			logprobs, err := m.Score(c.Context(), asked)
			if err != nil {
				return prompt.placed(err, func(input int) int { return of[input] })
			}
			t, err := m.Tokenizer()
			if err != nil {
				return err
			}
			for _, r := range prompt.requests {
				s := scores{ID: r.id, PromptIDs: r.tokens, result: resultOf(m, how, told)}
				for _, text := range r.continuations {
					one := scored{Continuation: text}
					for k, id := range asked[0].Tokens {
						name, _ := t.Token(id)
						one.Tokens = append(one.Tokens, scoredToken{id, name, logprobs[0][k]})
						one.Logprob += logprobs[0][k]
					}
					s.Continuations = append(s.Continuations, one)
					asked, logprobs = asked[1:], logprobs[1:]
				}
				if !asJSON && !prompt.several() {
					err = printScores(c.OutOrStdout(), s.Continuations)
				} else {
					err = printResult(c.OutOrStdout(), s, prompt.several())
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	model.add(c)
	prompt.add(c, true)
	flagsUnder(c, "Prompt", func(flags *pflag.FlagSet) {
		flags.StringArrayVar(&continuations, "continuation", nil, "`TEXT` that follows the prompt, - for standard input; repeatable")
	})
	steering.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

// continuationsOf tokenizes the continuations of all prompts, one prompt's after
// the other's; of is the prompt of each.
func continuationsOf(m *lm.Model, requests []request) (asked []lm.Continuation, of []int, err error) {
	for i, r := range requests {
		for _, text := range r.continuations {
			tokens, err := m.TokenizeContinuation(text)
			if err != nil {
				return nil, nil, fmt.Errorf("%scontinuation %q: %w", r.where, text, err)
			}
			asked = append(asked, lm.Continuation{Prompt: lm.Input{Tokens: r.tokens}, Tokens: tokens})
			of = append(of, i)
		}
	}
	return asked, of, nil
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
