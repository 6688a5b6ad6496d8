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
// when the model has no token for some text and no unknown token either, on
// text over 1 GiB, and where the tokenizer's file makes a text grow without
// measure or searches it for too long.
func (t *Tokenizer) Encode(text string, options EncodeOptions) (Encoding, error) {
	if len(text) > 1<<30 {
		return Encoding{}, fmt.Errorf("encode: the text of %d bytes is over 1 GiB", len(text))
	}
	var e Encoding
	normalizing, splitting := newAllowance(len(text)), newAllowance(len(text))
	splitting.clock = normalizing.clock
	defer normalizing.clock.stop()
	for _, raw := range t.added.cut(nil, newText(text), &t.added.raw, options.SpecialAsText) {
		if raw.id >= 0 {
			e.add(raw.id, raw.text.spans)
			continue
		}
		normalized := raw.text
		if t.normalizer != nil {
			var err error
			if normalized, err = t.normalizer.normalize(normalized, normalizing.stage()); err == nil {
				err = normalizing.take(len(normalized.s))
			}
			if err != nil {
				return Encoding{}, fmt.Errorf("encode: %w", err)
			}
		}
		for _, segment := range t.added.cut(nil, normalized, &t.added.normalized, options.SpecialAsText) {
			if segment.id >= 0 {
				e.add(segment.id, segment.text.spans)
				continue
			}
			if err := t.encodeText(&e, segment.text, options.SpecialAsText, splitting); err != nil {
				return Encoding{}, fmt.Errorf("encode: %w", err)
			}
		}
	}
	if t.post != nil {
		t.post.process(&e, text, t.vocab, !options.NoSpecialTokens)
	}
	return e, nil
}

// encodeText adds the tokens of a text without added tokens.
func (t *Tokenizer) encodeText(e *Encoding, normalized text, plain bool, a *allowance) error {
	words := []text{normalized}
	if t.splitter != nil {
		var err error
		if words, err = t.splitter.split(nil, normalized, a.stage()); err != nil {
			return err
		}
	}
	var tokens []piece
	for _, word := range words {
		if err := a.take(len(word.s)); err != nil {
			return err
		}
		var err error
		if tokens, err = t.model.tokenize(tokens[:0], word.s, plain); err != nil {
			return fmt.Errorf("%.80q: %w", word.s, err)
		}
		for _, token := range tokens {
			e.add(token.id, word.spans[token.from:token.to])
		}
	}
	return nil
}

// add adds a token that stands for what all spans stand for.
func (e *Encoding) add(id int32, spans []span) {
	e.IDs = append(e.IDs, int(id))
	e.Offsets = append(e.Offsets, [2]int{int(spans[0].from), int(spans[len(spans)-1].to)})
	e.Special = append(e.Special, false)
}
