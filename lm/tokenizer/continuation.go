package tokenizer

import "slices"

// EncodeContinuation returns the ids of a text that follows another one, without
// what a tokenizer puts where a text begins: special tokens, and SentencePiece's
// space. They do not depend on what it follows, so that no token spans the two.
func (t *Tokenizer) EncodeContinuation(text string) ([]int, error) {
	// The text is read behind a line's end, which does not merge with a word. Where
	// it merges all the same, as with another line's end, the text is read alone.
	const before = "\n"
	opts := EncodeOptions{NoSpecialTokens: true}
	alone, err := t.Encode(before, opts)
	if err != nil {
		return nil, err
	}
	both, err := t.Encode(before+text, opts)
	if err != nil {
		return nil, err
	}
	if n := len(alone.IDs); n < len(both.IDs) && slices.Equal(both.IDs[:n], alone.IDs) {
		return both.IDs[n:], nil
	}
	e, err := t.Encode(text, opts)
	return e.IDs, err
}
