package tokenizer

// Decode is the text of token ids; ids that no token has are passed over.
// With skipSpecial, special tokens leave no text.
func (t *Tokenizer) Decode(ids []int, skipSpecial bool) string {
	s := t.NewStream(skipSpecial)
	var text []byte
	for _, id := range ids {
		text = append(text, s.Push(id)...)
	}
	return string(append(text, s.Flush()...))
}

// Stream decodes tokens as they come. The texts of all Push calls and of
// Flush make up what Decode gives for the same ids. It belongs to one
// goroutine.
type Stream struct {
	tokenizer   *Tokenizer
	skipSpecial bool
}

// NewStream begins an incremental Decode.
func (t *Tokenizer) NewStream(skipSpecial bool) *Stream {
	return &Stream{tokenizer: t, skipSpecial: skipSpecial}
}

// Push takes the next id and returns the text that is certain by now: whole
// characters, and possibly none.
func (s *Stream) Push(id int) string { return "" }

// Flush ends the stream and returns the text that was still held back. The
// stream is then as new.
func (s *Stream) Flush() string { return "" }
