package tokenizer

import (
	"errors"
	"time"
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
	// "enable_thinking": values as encoding/json makes them, ints included.
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

// Chat renders a conversation as the text that the model was trained on. The
// text holds its own special tokens: encode it with NoSpecialTokens.
func (t *Tokenizer) Chat(messages []Message, options ChatOptions) (string, error) {
	return "", errors.New("render the chat template: not there yet")
}
