package lm

import (
	"context"
	"errors"
	"fmt"

	"github.com/steervec/steer/lm/forest"
	"github.com/steervec/steer/lm/tokenizer"
)

// Input is one sequence to compute, given as text, as a conversation or as
// tokens.
type Input struct {
	Text     string
	Messages []Message // rendered by the model's chat template, with what opens the assistant's turn unless the last is the assistant's
	Tokens   []int     // complete, with special tokens

	// Prompt is how many of the tokens are the prompt, for selections of tokens: an
	// answer may have begun. 0: all.
	Prompt int

	Steering *Steering // beside that of the model; nil: none

	// Salt parts what a cached view keeps: what was computed under one is not found
	// under another, by its presence or by the time that it takes. Results are the same.
	Salt string

	// Read are the positions that [Model.Forward] reads, from 0; nil: all. Mean,
	// where it is not empty, is read in their place: the mean of the activations over
	// its positions.
	Read []int
	Mean Span

	within forest.Mark // what parts it from others that begin alike

	// Seed tells apart sequences that are drawn with the same
	// [GenerateOptions.Seed]. A sampled text depends on the two alone.
	Seed uint64
}

// Span is the positions from From up to, and not including, To.
type Span struct{ From, To int }

// Message is one turn of a conversation.
type Message = tokenizer.Message

// ChatOptions say how a conversation is rendered.
type ChatOptions = tokenizer.ChatOptions

// InputError is what is wrong with one of several inputs.
type InputError struct {
	Input int // from 0
	Err   error
}

func (e *InputError) Error() string { return fmt.Sprintf("input %d: %v", e.Input, e.Err) }

// Unwrap returns the error without the input's number.
func (e *InputError) Unwrap() error { return e.Err }

// sequence is a checked input.
type sequence struct {
	tokens   []int
	prompt   int
	steering *Steering   // of the model and of the input; nil: none
	parts    *parts      // of the text, that the steering asks for; nil: none
	within   forest.Mark // what the computation is part of: see [Input.Salt]
}

// sequence checks an input.
func (m *Model) sequence(ctx context.Context, in Input) (sequence, error) {
	s := sequence{within: in.within}
	if in.Salt != "" {
		s.within = digest("salt", in.Salt, in.within)
	}
	var err error
	if s.tokens, err = m.tokensOf(ctx, in); err != nil {
		return s, err
	}
	if err := m.checkTokens(s.tokens); err != nil {
		return s, err
	}
	if s.prompt = in.Prompt; s.prompt == 0 {
		s.prompt = len(s.tokens)
	}
	if s.prompt < 0 || s.prompt > len(s.tokens) {
		return s, fmt.Errorf("the prompt is said to be %d of %d tokens", in.Prompt, len(s.tokens))
	}
	if in.Steering != nil && in.Steering.loaded != m.loaded {
		return s, errOtherModel
	}
	if s.steering, err = m.steering.then(in.Steering); err != nil {
		return s, err
	}
	if s.steering != nil {
		err = s.steering.check(s.prompt)
		if len(s.steering.parts) > 0 {
			s.parts = newParts(m.tokens, s.steering.parts)
		}
	}
	return s, err
}

// tokensOf returns the tokens of an input, however it is given.
func (m *Model) tokensOf(ctx context.Context, in Input) ([]int, error) {
	given := 0
	for _, is := range []bool{in.Text != "", in.Messages != nil, in.Tokens != nil} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, errors.New("more than one of text, messages and tokens is given")
	case in.Text != "":
		return m.Tokenize(in.Text)
	case in.Messages != nil:
		return m.Chat(ctx, in.Messages, ChatOptions{AddGenerationPrompt: len(in.Messages) > 0 && in.Messages[len(in.Messages)-1].Role != "assistant"})
	case len(in.Tokens) == 0:
		return nil, errors.New("it is empty")
	}
	return in.Tokens, nil
}

// checkTokens refuses what an engine could not compute.
func (m *Model) checkTokens(tokens []int) error {
	d := m.Decoder()
	for i, t := range tokens {
		if t < 0 || t >= d.Vocabulary {
			return fmt.Errorf("token %d at position %d is outside the vocabulary of %d", t, i, d.Vocabulary)
		}
	}
	return m.checkLength(len(tokens))
}

// checkLength refuses sequences past the last learned position.
func (m *Model) checkLength(n int) error {
	d := m.Decoder()
	if d.Embedding.Positions != "" && n > d.MaxPositions {
		return fmt.Errorf("%d tokens are more than the %d positions that the model has learned", n, d.MaxPositions)
	}
	return nil
}

// at returns what acts on the token at a position of a sequence of this length.
func (s *sequence) at(position, variant int) *acting {
	if s.steering == nil {
		return nothing.at(position, s.prompt, 0, variant, s.within)
	}
	inside := uint64(0)
	if s.parts != nil {
		inside = s.parts.at(s.tokens, position)
	}
	return s.steering.at(position, s.prompt, inside, variant, s.within)
}

// nothing is the steering of unsteered sequences.
var nothing = &Steering{}

// marked returns the sequence as the forest takes it.
func (s *sequence) marked(variant int) forest.Sequence {
	out := forest.Sequence{Tokens: s.tokens}
	if s.steering == nil && variant == 0 && s.within == (forest.Mark{}) {
		return out
	}
	out.Marks = make([]forest.Mark, len(s.tokens))
	for p := range out.Marks {
		if a := s.at(p, variant); a != nil {
			out.Marks[p] = a.mark
		}
	}
	return out
}
