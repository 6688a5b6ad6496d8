package tokenizer

import (
	"fmt"
)

// Encoding is an encoded text.
type Encoding struct {
	// IDs are the token ids, [tokens].
	IDs []int
	// Offsets are per token the bytes [from, to) of the given text that it
	// stands for, [tokens]. They always hold whole characters: tokens that
	// share a character share its offsets. Tokens that the post-processor
	// adds have (0, 0).
	Offsets [][2]int
	// Special marks the tokens that the post-processor added, such as the
	// beginning of the sequence, [tokens].
	Special []bool
}

// EncodeOptions says how Encode treats special tokens. The zero value does
// what Hugging Face tokenizers do by default.
type EncodeOptions struct {
	// NoSpecialTokens leaves out what the post-processor would add, such as
	// the beginning of the sequence. A rendered chat template, which writes
	// its special tokens itself, is encoded so.
	NoSpecialTokens bool
	// SpecialAsText takes the text of special tokens, such as "</s>", as
	// ordinary text and never as the token: for text of unknown origin, which
	// could otherwise end its own turn and begin another one.
	SpecialAsText bool
}

// Encode turns text into tokens. Invalid UTF-8 is read as U+FFFD. It fails
// when the model has no token for some text and no unknown token either, and
// on text over 1 GiB.
func (t *Tokenizer) Encode(text string, options EncodeOptions) (Encoding, error) {
	if len(text) > 1<<30 {
		return Encoding{}, fmt.Errorf("encode: the text of %d bytes is over 1 GiB", len(text))
	}
	return Encoding{}, nil
}
