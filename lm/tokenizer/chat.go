package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/steervec/steer/lm/tokenizer/internal/jinja"
)

// Message is one turn of a conversation. Role is "system", "user" or
// "assistant", or whatever else the template knows.
type Message struct {
	Role    string
	Content string
}

// ChatOptions says how Chat renders a conversation. The zero value renders
// it with the tokenizer's own default template.
type ChatOptions struct {
	// AddGenerationPrompt ends the text with what opens the assistant's next
	// turn.
	AddGenerationPrompt bool
	// Template is the name of one of the tokenizer's templates, or the
	// source of another one. Empty: the default template.
	Template string
	// Variables are further variables for the template, such as "tools" or
	// "enable_thinking", and may replace those that Chat sets, "messages"
	// included. They are values as encoding/json makes them, or anything
	// that it can marshal. The keys of a map come in alphabetical order; a
	// json.RawMessage keeps its own.
	Variables map[string]any
	// Now is the time that templates read with strftime_now. Zero: the
	// current time.
	Now time.Time
}

// HasChatTemplate says whether the checkpoint comes with a chat template.
func (t *Tokenizer) HasChatTemplate() bool { return len(t.config.Templates) > 0 }

// ChatTemplate is the source of the default chat template; empty when there
// is none.
func (t *Tokenizer) ChatTemplate() string { return t.config.Templates["default"] }

// ErrNoChatTemplate is the error of Chat for a checkpoint without a chat
// template when none is given.
var ErrNoChatTemplate = errors.New("the tokenizer has no chat template")

// ErrTemplateRefuses is wrapped by the error of Chat for a conversation that
// the template refuses by raise_exception, such as one whose roles do not
// alternate.
var ErrTemplateRefuses = jinja.ErrRaised

// Chat renders a conversation as the text that the model was trained on. The
// text holds its own special tokens: encode it with NoSpecialTokens. The
// template sees what transformers gives it: messages, bos_token, eos_token
// and the other special tokens, add_generation_prompt, raise_exception and
// strftime_now; tools and documents are undefined unless Variables has them. It
// runs in a sandbox with bounded time and memory, and not past the end of the
// context, so a hostile template can only fail.
func (t *Tokenizer) Chat(ctx context.Context, messages []Message, options ChatOptions) (string, error) {
	source, err := t.template(options.Template)
	if err != nil {
		return "", err
	}
	template, err := jinja.Parse(source)
	if err != nil {
		return "", fmt.Errorf("parse the chat template: %w", err)
	}
	type turn struct { // in the order in which templates write it as JSON
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	turns := make([]turn, len(messages))
	for i, m := range messages {
		turns[i] = turn(m)
	}
	variables := map[string]any{
		"messages":              turns,
		"add_generation_prompt": options.AddGenerationPrompt,
	}
	for name, token := range map[string]string{
		"bos_token": t.config.BOS.Content,
		"eos_token": t.config.EOS.Content,
		"pad_token": t.config.Pad.Content,
		"unk_token": t.config.Unknown.Content,
	} {
		if token != "" {
			variables[name] = token
		}
	}
	for name, value := range options.Variables {
		variables[name] = value
	}
	now := options.Now
	if now.IsZero() {
		now = time.Now()
	}
	text, err := template.Render(ctx, variables, now)
	if err != nil {
		return "", fmt.Errorf("render the chat template: %w", err)
	}
	return text, nil
}

// EncodeChat renders a conversation as [Tokenizer.Chat] does and returns its text and
// its tokens; the template has written the special tokens itself.
func (t *Tokenizer) EncodeChat(ctx context.Context, messages []Message, options ChatOptions) (text string, e Encoding, err error) {
	if text, err = t.Chat(ctx, messages, options); err != nil {
		return "", e, fmt.Errorf("render the conversation: %w", err)
	}
	e, err = t.Encode(text, EncodeOptions{NoSpecialTokens: true})
	return text, e, err
}

// template is the source of a template by its name, or the source itself.
func (t *Tokenizer) template(name string) (string, error) {
	if name == "" {
		name = "default"
	}
	if source, ok := t.config.Templates[name]; ok {
		return source, nil
	}
	if strings.ContainsAny(name, "{\n") {
		return name, nil
	}
	if name == "default" {
		return "", ErrNoChatTemplate
	}
	return "", fmt.Errorf("the tokenizer has no chat template named %q", name)
}
