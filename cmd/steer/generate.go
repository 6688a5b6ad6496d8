package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/tokenizer"
)

func generateCommand() *cobra.Command {
	var model modelFlags
	var prompt promptFlags
	var steering steeringFlags
	var opts lm.GenerateOptions
	var chat, asJSON bool
	c := &cobra.Command{
		Use:   "generate --model REF --prompt TEXT",
		Short: "Continue a prompt, steered or not",
		Long: `Continue a prompt, steered or not. The text is written as it comes.
Negative positions in --tokens count from the prompt's end and stay there.`,
		Example: `  steer generate --model Qwen/Qwen2.5-0.5B-Instruct --chat --prompt "How are you?" --vector happy.safetensors:2`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model"); err != nil {
				return err
			}
			text, err := prompt.read(c)
			if err != nil {
				return err
			}
			if chat && prompt.ids != "" {
				return usage("--chat needs --prompt, not --prompt-ids")
			}
			edits, err := steering.edits(c)
			if err != nil {
				return err
			}
			m, err := model.open(c.Context(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			var tokens []int
			if chat {
				tokens, err = chatTokens(m, text)
			} else {
				tokens, err = prompt.tokens(m, text)
			}
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			if !asJSON {
				if _, err := m.Tokenizer(); err != nil {
					return err
				}
				opts.Stream = func(_ int, text string) { fmt.Fprint(out, text) }
			}
			generations, err := m.With(edits...).Generate(c.Context(), []lm.Input{{Tokens: tokens}}, opts)
			if !asJSON {
				fmt.Fprintln(out)
			}
			if err != nil {
				return err
			}
			if !asJSON {
				return nil
			}
			g := generations[0]
			return printJSON(out, struct {
				PromptIDs []int     `json:"prompt_ids"`
				IDs       []int     `json:"ids"`
				Text      string    `json:"text"`
				Finish    lm.Finish `json:"finish"`
			}{tokens, append([]int{}, g.IDs...), g.Text, g.Finish})
		},
	}
	model.add(c)
	prompt.add(c)
	flags := c.Flags()
	flags.BoolVar(&chat, "chat", false, "the prompt is a user's turn: render it with the model's chat template")
	flags.IntVar(&opts.MaxTokens, "max-tokens", 128, "write at most `N` tokens")
	flags.Float64Var(&opts.Temperature, "temperature", 0, "0 takes the likeliest token each time; higher is freer")
	flags.IntVar(&opts.TopK, "top-k", 0, "draw from the `K` likeliest tokens; 0: all")
	flags.Float64Var(&opts.TopP, "top-p", 0, "draw from the likeliest tokens that together have probability `P`; 0: all")
	flags.Float64Var(&opts.MinP, "min-p", 0, "draw from tokens with at least `P` times the likeliest one's probability; 0: all")
	flags.Float64Var(&opts.RepetitionPenalty, "repetition-penalty", 1, "divide the logits of tokens that are there already by `X`")
	flags.Uint64Var(&opts.Seed, "seed", 0, "equal seeds give equal texts")
	flags.StringArrayVar(&opts.Stop, "stop", nil, "end before this `TEXT`; repeatable")
	flags.BoolVar(&opts.IgnoreEnd, "ignore-eos", false, "go on past the model's end token")
	flags.BoolVar(&asJSON, "json", false, "print machine-readable output")
	steering.add(c)
	return c
}

// chatTokens renders a user's turn with the model's chat template.
func chatTokens(m *lm.Model, text string) ([]int, error) {
	t, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	rendered, err := t.Chat([]tokenizer.Message{{Role: "user", Content: text}}, tokenizer.ChatOptions{AddGenerationPrompt: true, Now: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	e, err := t.Encode(rendered, tokenizer.EncodeOptions{NoSpecialTokens: true})
	return e.IDs, err
}
