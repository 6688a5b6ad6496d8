package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/tokenizer"
)

func generateCommand() *cobra.Command {
	var model modelFlags
	var prompt promptFlags
	var steering steeringFlags
	opts := lm.GenerateOptions{MaxTokens: 128, RepetitionPenalty: 1}
	var chat, asJSON bool
	c := &cobra.Command{
		Use:   "generate --model REF --prompt TEXT",
		Short: "Continue a prompt, steered or not",
		Long: `Continue a prompt, steered or not. The text is written as it comes; it begins
where the prompt ends.`,
		Example: `  steer generate --model Qwen/Qwen2.5-0.5B-Instruct --chat --prompt "How are you?" --vector happy.safetensors:2 --tokens response`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model"); err != nil {
				return err
			}
			if err := prompt.read(c); err != nil {
				return err
			}
			if chat && prompt.ids != nil {
				return usage("--chat needs --prompt, not --prompt-ids")
			}
			steers, err := steering.load(c)
			if err != nil {
				return err
			}
			m, err := model.open(c.Context(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			var tokens []int
			if chat {
				tokens, err = chatTokens(c.Context(), m, prompt.text)
			} else {
				tokens, err = prompt.tokens(m)
			}
			if err != nil {
				return err
			}
			if m, err = steers.apply(m); err != nil {
				return err
			}
			progress := newBar(c.ErrOrStderr(), "reading the prompt")
			defer progress.finish()
			opts.Progress = func(done, total int) { progress.set(int64(done), int64(total)) }
			out := &printer{w: c.OutOrStdout()}
			if !asJSON {
				if _, err := m.Tokenizer(); err != nil {
					return fmt.Errorf("%w; --json gives the ids without one", err)
				}
				opts.Stream = func(_ int, text string) {
					progress.finish()
					out.print(text)
				}
			}
			generations, err := m.Generate(c.Context(), []lm.Input{{Tokens: tokens}}, opts)
			progress.finish()
			if !asJSON {
				if err == nil || out.begun {
					out.print("\n")
				}
				if err == nil {
					err = out.err
				}
				return err
			}
			if err != nil {
				return err
			}
			g := generations[0]
			return printJSON(c.OutOrStdout(), struct {
				PromptIDs []int     `json:"prompt_ids"`
				IDs       []int     `json:"ids"`
				Text      string    `json:"text"`
				Finish    lm.Finish `json:"finish"`
			}{tokens, append([]int{}, g.IDs...), g.Text, g.Finish})
		},
	}
	model.add(c)
	prompt.add(c)
	flagsUnder(c, "Prompt", func(flags *pflag.FlagSet) {
		flags.BoolVar(&chat, "chat", false, "the prompt is a user's message: render it with the model's chat template")
	})
	flagsUnder(c, "Choosing tokens", func(flags *pflag.FlagSet) {
		number(flags, &opts.MaxTokens, "max-tokens", 1, math.MaxInt32, "write at most N tokens")
		number(flags, &opts.Temperature, "temperature", 0, 1e6, "0 takes the likeliest token each time; higher is freer")
		number(flags, &opts.TopK, "top-k", 0, math.MaxInt32, "draw from the N likeliest tokens; 0: all")
		number(flags, &opts.TopP, "top-p", 0, 1, "draw from the likeliest tokens that together have probability N; 0: all")
		number(flags, &opts.MinP, "min-p", 0, 1, "draw from tokens with at least N times the likeliest one's probability; 0: all")
		number(flags, &opts.RepetitionPenalty, "repetition-penalty", 0, 1e6, "divide the logits of tokens that are there already by N")
		flags.Uint64Var(&opts.Seed, "seed", 0, "equal seeds `N` give equal texts")
		flags.StringArrayVar(&opts.Stop, "stop", nil, "end before this `TEXT`; repeatable")
		flags.BoolVar(&opts.IgnoreEnd, "ignore-eos", false, "go on past the model's end token")
	})
	steering.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

// chatTokens renders a user's message with the model's chat template, which
// writes its special tokens itself.
func chatTokens(ctx context.Context, m *lm.Model, text string) ([]int, error) {
	t, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	rendered, err := t.Chat(ctx, []tokenizer.Message{{Role: "user", Content: text}}, tokenizer.ChatOptions{AddGenerationPrompt: true, Now: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("--chat: %w", err)
	}
	e, err := t.Encode(rendered, tokenizer.EncodeOptions{NoSpecialTokens: true})
	return e.IDs, err
}

// printer writes text as it comes and remembers the first error.
type printer struct {
	w     io.Writer
	begun bool
	err   error
}

func (p *printer) print(text string) {
	p.begun = true
	if p.err == nil {
		_, p.err = io.WriteString(p.w, text)
	}
}
