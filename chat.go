package steer

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/steervec/steer/lm/tokenizer"
)

// Chat says how prompts become conversations.
type Chat struct {
	// SystemPositive and SystemNegative are the system messages that the conversations
	// of each side begin with; "": none. Sides that differ in them alone may have the
	// same prompts.
	SystemPositive, SystemNegative string
}

// Rendering says how prompts were rendered as conversations, for the provenance of
// vectors; the zero value says that they were not.
type Rendering struct {
	ChatTemplate   string `json:"chat_template,omitempty"` // of the model
	SystemPositive string `json:"system_positive,omitempty"`
	SystemNegative string `json:"system_negative,omitempty"`
}

// RenderChat makes a conversation of every prompt by the tokenizer's chat template: the
// prompt is the user's message, up to where its response begins, and the response, where
// the sample has one, begins the assistant's turn. What stands around a question in
// prompts of CAA's form is left out. The samples that it returns have token ids; those
// that are given stay. Errors name the sample, as prompts do that are given as token
// ids.
func RenderChat(ctx context.Context, t *tokenizer.Tokenizer, samples []Sample, chat Chat) ([]Sample, Rendering, error) {
	fail := func(err error) ([]Sample, Rendering, error) { return nil, Rendering{}, err }
	if !t.HasChatTemplate() {
		return fail(tokenizer.ErrNoChatTemplate)
	}
	samples = slices.Clone(samples)
	for i := range samples {
		s := &samples[i]
		for _, side := range []struct {
			name, text, system string
			ids                *[]int
			response           *int
		}{
			{"positive", s.Positive, chat.SystemPositive, &s.PositiveIDs, &s.PositiveResponse},
			{"negative", s.Negative, chat.SystemNegative, &s.NegativeIDs, &s.NegativeResponse},
		} {
			var err error
			switch {
			case *side.ids != nil:
				err = errors.New("it is given as token ids, which make no conversation")
			case side.text != "": // an empty one is for who reads the samples
				*side.ids, *side.response, err = converse(ctx, t, side.system, side.text, *side.response)
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return fail(&SampleError{i, side.name, err})
			}
		}
	}
	return samples, Rendering{t.ChatTemplate(), chat.SystemPositive, chat.SystemNegative}, nil
}

// converse returns the tokens of a conversation and where in them the response begins,
// 0 where the prompt has none.
func converse(ctx context.Context, t *tokenizer.Tokenizer, system, text string, response int) (ids []int, at int, err error) {
	question, answer := text, ""
	if response > 0 && response < len(text) {
		question, answer = QuestionOf(text[:response]), text[response:]
	}
	var messages []tokenizer.Message
	if system != "" {
		messages = append(messages, tokenizer.Message{Role: "system", Content: system})
	}
	messages = append(messages, tokenizer.Message{Role: "user", Content: question})
	_, e, err := t.EncodeChat(ctx, messages, tokenizer.ChatOptions{AddGenerationPrompt: true})
	if err != nil || answer == "" {
		return e.IDs, 0, err
	}
	rest, err := t.EncodeContinuation(answer)
	return slices.Concat(e.IDs, rest), len(e.IDs), err
}

// QuestionOf returns the question of a prompt as files of CAA have it put together,
// without what stands around it; other texts without the space that parts them from
// a response.
func QuestionOf(prompt string) string {
	rest, before := strings.CutPrefix(prompt, "Input: ")
	question, after := strings.CutSuffix(rest, "\nResponse: ")
	if before && after {
		return question
	}
	return strings.TrimSuffix(prompt, " ")
}
