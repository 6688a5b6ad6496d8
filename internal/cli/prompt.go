package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/tokenizer"
)

// textFlags say what a text is to the model: the beginning of a text that it
// continues, or a user's message.
type textFlags struct {
	chat   bool
	system string
	stdin  standardInput
}

func (f *textFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.chat, "chat", false, "a text is a user's message: render it with the model's chat template")
	flags.StringVar(&f.system, "system", "", "begin each conversation with the system message `TEXT`; - reads it from standard input")
}

// readSystem checks the flags and reads the system message.
func (f *textFlags) readSystem(c *cobra.Command) error {
	if !c.Flags().Changed("system") {
		return nil
	}
	if err := f.readText(c, "system", &f.system); err != nil {
		return err
	}
	if !f.chat && !c.Flags().Changed("prompts") {
		return usage("--system is for a conversation; --chat is not given")
	}
	return nil
}

// messages returns the conversation that a user's message begins.
func (f *textFlags) messages(text string) []lm.Message {
	var out []lm.Message
	if f.system != "" {
		out = append(out, lm.Message{Role: "system", Content: f.system})
	}
	return append(out, lm.Message{Role: "user", Content: text})
}

// renderChat renders a conversation with the model's chat template, with what
// opens the assistant's turn unless that has begun, and tokenizes it.
func renderChat(ctx context.Context, t *tokenizer.Tokenizer, messages []lm.Message) (text string, e tokenizer.Encoding, err error) {
	open := messages[len(messages)-1].Role != "assistant"
	return t.EncodeChat(ctx, messages, tokenizer.ChatOptions{AddGenerationPrompt: open})
}

// promptFlags give one prompt, as text or as token ids, or a file of prompts.
type promptFlags struct {
	textFlags
	text string
	ids  []int
	file string

	scores   bool // prompts may have continuations
	requests []request
}

// request is one prompt and what is asked of it.
type request struct {
	where         string          // "FILE: line 3: ", for errors; "": there is one prompt only
	id            json.RawMessage // as the file gives it; nil: there is one prompt only
	text          string
	messages      []lm.Message // in place of text
	tokens        []int        // given, or made by encode
	continuations []string     // to score
}

func (f *promptFlags) add(c *cobra.Command, withContinuations bool) {
	f.scores = withContinuations
	more := ""
	if withContinuations {
		more = ", and continuations"
	}
	flagsUnder(c, "Prompt", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.text, "prompt", "", "the prompt's `TEXT`; - reads it from standard input")
		integers(flags, &f.ids, "prompt-ids", "the prompt as token ids, special tokens included; needs no tokenizer")
		flags.StringVar(&f.file, "prompts", "", "a `FILE` of prompts, - for standard input: a prompt a line, or JSON Lines with prompt (or messages, or prompt_ids)"+more+
			", and an id, which is the line's number where it is not given")
		f.textFlags.add(flags)
	})
}

// promptSources are the flags of which one gives the prompts.
var promptSources = []string{"prompt", "prompt-ids", "prompts"}

// given reports whether there are prompts, for commands that can do without.
func (f *promptFlags) given(c *cobra.Command) bool {
	return slices.ContainsFunc(append([]string{"chat", "system"}, promptSources...), c.Flags().Changed)
}

// read checks that there is one source of prompts and reads it.
func (f *promptFlags) read(c *cobra.Command) error {
	given := 0
	for _, name := range promptSources {
		if c.Flags().Changed(name) {
			given++
		}
	}
	if given != 1 {
		return usage("give one of --prompt, --prompt-ids and --prompts")
	}
	if f.chat && f.ids != nil {
		return usage("--chat needs a text, not --prompt-ids")
	}
	if err := f.readSystem(c); err != nil {
		return err
	}
	switch {
	case c.Flags().Changed("prompts"):
		if err := f.readFile(c); err != nil {
			return err
		}
		for _, r := range f.requests {
			if r.continuations != nil && !f.scores {
				return usage("%scontinuations are for steer score", r.where)
			}
		}
		return nil
	case f.ids == nil:
		if err := f.readText(c, "prompt", &f.text); err != nil {
			return err
		}
	}
	r := request{text: f.text, tokens: f.ids}
	if f.chat {
		r.messages = f.messages(f.text)
	}
	f.requests = []request{r}
	return nil
}

// several reports whether the prompts come from a file, so that results are
// lines of JSON.
func (f *promptFlags) several() bool { return f.file != "" }

// encode makes tokens of every prompt. Texts get the special tokens that the
// model's tokenizer adds.
func (f *promptFlags) encode(ctx context.Context, m *lm.Model) error {
	for i := range f.requests {
		r := &f.requests[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.tokens != nil {
			continue
		}
		var err error
		if r.messages == nil {
			r.tokens, err = m.Tokenize(r.text)
		} else {
			var t *tokenizer.Tokenizer
			if t, err = m.Tokenizer(); err == nil {
				var e tokenizer.Encoding
				_, e, err = renderChat(ctx, t, r.messages)
				r.tokens = e.IDs
			}
		}
		if err != nil {
			return fmt.Errorf("%s%w", r.where, err)
		}
	}
	return nil
}

// inputs returns the prompts as a model takes them.
func (f *promptFlags) inputs() []lm.Input {
	inputs := make([]lm.Input, len(f.requests))
	for i, r := range f.requests {
		inputs[i].Tokens = r.tokens
	}
	return inputs
}

// placed says of an error of one of a call's inputs which prompt it is about;
// of gives the prompt of an input.
func (f *promptFlags) placed(err error, of func(input int) int) error {
	if wrong := (*lm.InputError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("%s%w", f.requests[of(wrong.Input)].where, wrong.Err)
	}
	return err
}

// each is the prompt of an input where every input is one.
func each(input int) int { return input }

// noteLength notes sequences that are longer than what the model was made for.
func noteLength(m *lm.Model, told *notes, lengths []int) {
	most, longer, longest := m.Decoder().MaxPositions, 0, 0
	if most == 0 {
		return
	}
	for _, n := range lengths {
		if n > most {
			longer++
		}
		longest = max(longest, n)
	}
	if longer == 0 {
		return
	}
	what := "the text has"
	if len(lengths) > 1 {
		what = fmt.Sprintf("%d of %d texts are too long, the longest has", longer, len(lengths))
	}
	told.add("%s %d tokens, more than the %d positions that model %s is made for: what it makes of those beyond may be nonsense", what, longest, most, m.ID())
}

// standardInput is read by one flag at most.
type standardInput struct{ flag string }

// take returns all of it, or an error where another flag has read it.
func (s *standardInput) take(c *cobra.Command, flag string) ([]byte, error) {
	if s.flag != "" {
		return nil, usage("--%s and --%s both are to come from standard input", s.flag, flag)
	}
	s.flag = flag
	return readAll(c.Context(), c.InOrStdin())
}

// readText replaces - by what comes from standard input, up to its last line's
// end, and refuses an empty text.
func (f *textFlags) readText(c *cobra.Command, flag string, text *string) error {
	from := ""
	if *text == "-" {
		data, err := f.stdin.take(c, flag)
		if err != nil {
			return err
		}
		*text = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		from = ": nothing came from standard input"
	}
	if *text == "" {
		return usage("--%s is empty%s", flag, from)
	}
	return nil
}

// readAll is io.ReadAll that an interrupt ends although the reader waits.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type content struct {
		data []byte
		err  error
	}
	read := make(chan content, 1)
	go func() {
		data, err := io.ReadAll(r)
		read <- content{data, err}
	}()
	select {
	case r := <-read:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
