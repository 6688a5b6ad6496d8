package steer

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/tokenizer"
)

// Seen is one side of a sample as a model gets it.
type Seen struct {
	Tokens   []int
	Read     lm.Span // the tokens whose activations are read
	Response int     // the first token of the response; 0: not known
}

// See returns both sides of a sample as a model with this tokenizer would get
// them, and what is read of them where the sample does not say itself (nil:
// ReadAt(-1)). Nothing is computed. An error is a [SampleError] of sample 0.
func See(t *tokenizer.Tokenizer, s Sample, read Reading) (positive, negative Seen, err error) {
	if read == nil {
		read = ReadAt(-1)
	}
	encode := func(text string) (tokenizer.Encoding, error) { return t.Encode(text, tokenizer.EncodeOptions{}) }
	for _, side := range []struct {
		name   string
		prompt prompt
		read   Reading
		to     *Seen
	}{
		{"positive", prompt{text: s.Positive, tokens: s.PositiveIDs, given: s.PositiveIDs != nil, response: s.PositiveResponse}, s.ReadPositive, &positive},
		{"negative", prompt{text: s.Negative, tokens: s.NegativeIDs, given: s.NegativeIDs != nil, response: s.NegativeResponse}, s.ReadNegative, &negative},
	} {
		p := &side.prompt
		p.encode = encode
		side.to.Read, err = p.locate(cmp.Or(side.read, read))
		if err == nil && p.response != 0 {
			side.to.Response, err = p.responseToken()
		}
		if err != nil {
			return Seen{}, Seen{}, &SampleError{0, side.name, err}
		}
		side.to.Tokens = p.tokens
	}
	return positive, negative, nil
}

// locate tokenizes a prompt that is text and returns the positions that are read.
func (p *prompt) locate(read Reading) (lm.Span, error) {
	if !p.given {
		if p.text == "" {
			return lm.Span{}, errors.New("it is empty")
		}
		encoding, err := p.encode(p.text)
		if err != nil {
			return lm.Span{}, fmt.Errorf("tokenize: %w", err)
		}
		p.tokens, p.encoding = encoding.IDs, &encoding
	}
	return read.of(p)
}
