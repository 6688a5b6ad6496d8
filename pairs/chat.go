package pairs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm/tokenizer"
)

// Chat makes a conversation of every prompt, in place, rendered with the
// tokenizer's chat template: a user's message, after a system message where one is
// given, and what is the sample's response begins the assistant's answer. The
// samples then have token ids; their texts stay as they are. What is wrong with one
// is a [steer.SampleError].
func Chat(ctx context.Context, t *tokenizer.Tokenizer, samples []steer.Sample, system string) error {
	for i := range samples {
		s := &samples[i]
		for _, side := range []struct {
			name     string
			text     string
			ids      *[]int
			response *int
		}{
			{"positive", s.Positive, &s.PositiveIDs, &s.PositiveResponse},
			{"negative", s.Negative, &s.NegativeIDs, &s.NegativeResponse},
		} {
			if err := converse(ctx, t, system, side.text, side.ids, side.response); err != nil {
				return &steer.SampleError{Sample: i, Side: side.name, Err: err}
			}
		}
	}
	return nil
}

func converse(ctx context.Context, t *tokenizer.Tokenizer, system, text string, ids *[]int, response *int) error {
	if *ids != nil {
		return errors.New("it is given as token ids, of which no conversation can be made")
	}
	question, answer := text, ""
	if at := *response; at > 0 {
		question, answer = questionOf(text[:at]), text[at:]
	}
	var messages []tokenizer.Message
	if system != "" {
		messages = append(messages, tokenizer.Message{Role: "system", Content: system})
	}
	_, tokens, err := render(ctx, t, append(messages, tokenizer.Message{Role: "user", Content: question}))
	if err != nil {
		return err
	}
	if answer != "" {
		*response = len(tokens)
		rest, err := t.EncodeContinuation(answer)
		if err != nil {
			return err
		}
		tokens = slices.Concat(tokens, rest)
	}
	*ids = tokens
	return nil
}

// questionOf is the question of a prompt as CAA writes it, or else the prompt
// without the space that parts it from its response.
func questionOf(prompt string) string {
	question, isCAA := strings.CutPrefix(prompt, "Input: ")
	if question, ends := strings.CutSuffix(question, "\nResponse: "); isCAA && ends {
		return question
	}
	return strings.TrimSuffix(prompt, " ")
}

// render renders a conversation up to where the assistant's answer begins. The
// template writes its special tokens itself.
func render(ctx context.Context, t *tokenizer.Tokenizer, messages []tokenizer.Message) (text string, tokens []int, err error) {
	text, err = t.Chat(ctx, messages, tokenizer.ChatOptions{AddGenerationPrompt: true})
	if err != nil {
		return "", nil, fmt.Errorf("render the conversation: %w", err)
	}
	e, err := t.Encode(text, tokenizer.EncodeOptions{NoSpecialTokens: true})
	return text, e.IDs, err
}
