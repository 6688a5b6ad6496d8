package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
)

// generated is the result of one prompt.
type generated struct {
	ID        json.RawMessage `json:"id,omitempty"`
	PromptIDs []int           `json:"prompt_ids"`
	IDs       []int           `json:"ids"`
	Text      string          `json:"text"`
	Finish    lm.Finish       `json:"finish"`            // "" where it was interrupted
	Partial   bool            `json:"partial,omitempty"` // it was interrupted
	Seed      uint64          `json:"seed"`
	result
}

func generateCommand() *cobra.Command {
	var model modelFlags
	var prompt promptFlags
	var steering steeringFlags
	opts := lm.GenerateOptions{MaxTokens: 128, RepetitionPenalty: 1}
	var asJSON bool
	c := &cobra.Command{
		Use:   "generate --model REF --prompt TEXT",
		Short: "Continue a prompt, steered or not",
		Long: `Continue a prompt, steered or not. The text is written as it comes; it begins
where the prompt ends.

With --prompts all prompts of a file are continued together, and each gets a line of
JSON with its id. A prompt's text is the same as alone.

The length of a vector is that of the difference between its pairs: begin with a
multiplier below 1 and with one layer. Where the text falls apart it is too much.`,
		Example: `  steer generate --model demo --prompt "Once there was a little fox" --max-tokens 40
  steer generate --model demo --prompt "Anna had a red kite. One day, Anna met Leo at the bridge." --vector happy.safetensors:0.7
  steer generate --model demo --prompts prompts.txt --vector happy.safetensors:-0.7,tokens=response
  steer generate --model Qwen/Qwen2.5-0.5B-Instruct --chat --prompt "How are you?"`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model"); err != nil {
				return err
			}
			if err := prompt.read(c); err != nil {
				return err
			}
			vectors, err := steering.load(c)
			if err != nil {
				return err
			}
			told := newNotes(c)
			noteIdleFlags(c, told, &opts)
			m, err := model.open(c)
			if err != nil {
				return err
			}
			if err := prompt.encode(c.Context(), m); err != nil {
				return err
			}
			m, how, err := apply(m, vectors, told)
			if err != nil {
				return err
			}
			progress := newBar(c.ErrOrStderr(), "reading the prompt")
			defer progress.finish()
			opts.Progress = func(done, total int) { progress.set(int64(done), int64(total)) }
			out := &printer{w: c.OutOrStdout()}
			asText := !asJSON && !prompt.several()
			if asText {
				if _, err := m.Tokenizer(); err != nil {
					return fmt.Errorf("%w; --json gives the ids without one", err)
				}
				opts.Stream = func(_ int, text string) {
					progress.finish()
					out.print(text)
				}
			}
			generations, err := m.Generate(c.Context(), prompt.inputs(), opts)
			progress.finish()
			if asText && (err == nil || out.begun) {
				out.print("\n")
			}
			noteEnds(m, told, generations, opts.MaxTokens)
			err = prompt.placed(err, each)
			if asText {
				if err == nil {
					err = out.err
				}
				return err
			}
			for i, g := range generations {
				r := generated{prompt.requests[i].id, g.Prompt, append([]int{}, g.IDs...), g.Text, g.Finish, g.Finish == "", opts.Seed, resultOf(m, how, told)}
				if printing := printResult(c.OutOrStdout(), r, prompt.several()); printing != nil && err == nil {
					err = printing
				}
			}
			return err
		},
	}
	model.add(c)
	prompt.add(c, false)
	flagsUnder(c, "Choosing tokens", func(flags *pflag.FlagSet) {
		number(flags, &opts.MaxTokens, "max-tokens", 1, math.MaxInt32, "write at most N tokens")
		number(flags, &opts.Temperature, "temperature", 0, 1e6, "0 takes the likeliest token each time; higher is freer")
		number(flags, &opts.TopK, "top-k", 0, math.MaxInt32, "draw from the N likeliest tokens; 0: all")
		number(flags, &opts.TopP, "top-p", 0, 1, "draw from the likeliest tokens that together have probability N; 0: all")
		number(flags, &opts.MinP, "min-p", 0, 1, "draw from tokens with at least N times the likeliest one's probability; 0: all")
		number(flags, &opts.RepetitionPenalty, "repetition-penalty", 0, 1e6, "divide the logits of tokens that are there already by N; 0 or 1: none")
		seedFlag(flags, &opts.Seed, "equal seeds give equal texts")
		flags.StringArrayVar(&opts.Stop, "stop", nil, "end before this `TEXT`; repeatable")
		flags.BoolVar(&opts.IgnoreEnd, "ignore-eos", false, "go on past the model's end token")
	})
	steering.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

// noteIdleFlags notes numbers that change nothing.
func noteIdleFlags(c *cobra.Command, told *notes, opts *lm.GenerateOptions) {
	var idle []string
	for _, name := range []string{"seed", "top-k", "top-p", "min-p"} {
		if c.Flags().Changed(name) {
			idle = append(idle, "--"+name)
		}
	}
	if opts.Temperature == 0 && len(idle) > 0 {
		has := "has"
		if len(idle) > 1 {
			has = "have"
		}
		told.add("%s %s no effect at temperature 0, where the likeliest token is taken each time", strings.Join(idle, ", "), has)
	}
}

// noteEnds notes texts that met the end of the model's positions.
func noteEnds(m *lm.Model, told *notes, generations []lm.Generation, asked int) {
	lengths := make([]int, len(generations))
	short := 0
	for i, g := range generations {
		lengths[i] = len(g.Prompt) + len(g.IDs)
		if g.Finish == lm.FinishLength && len(g.IDs) < asked {
			short++
		}
	}
	noteLength(m, told, lengths)
	switch most := m.Decoder().MaxPositions; {
	case short == 0:
	case len(generations) == 1:
		told.add("it ends after %d of %d tokens: model %s has no more than %d positions", len(generations[0].IDs), asked, m.ID(), most)
	default:
		told.add("%d of %d texts end before %d tokens: model %s has no more than %d positions", short, len(generations), asked, m.ID(), most)
	}
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
