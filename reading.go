package steer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/tokenizer"
)

// Reading says what is read of a prompt: the activation of one token, or the
// mean over neighbouring ones. It prints itself as [ParseReading] reads it.
type Reading interface {
	fmt.Stringer
	// of returns the positions of a prompt, one or more.
	of(p *prompt) (lm.Span, error)
}

// prompt is one side of a sample.
type prompt struct {
	text     string
	tokens   []int
	given    bool // as token ids
	response int  // where the response begins: a byte of the text, or a token where those are given; 0: not known

	encode   func(text string) (tokenizer.Encoding, error)
	encoding *tokenizer.Encoding // of the text, once it was asked for
}

// ReadAt reads one token; a negative position counts from the prompt's end, -1 is
// its last token.
func ReadAt(position int) Reading { return readAt(position) }

type readAt int

func (r readAt) String() string { return strconv.Itoa(int(r)) }

func (r readAt) of(p *prompt) (lm.Span, error) {
	position, n := int(r), len(p.tokens)
	if position < -n || position >= n {
		return lm.Span{}, fmt.Errorf("read token %d is outside its %d tokens", position, n)
	}
	if position < 0 {
		position += n
	}
	return lm.Span{From: position, To: position + 1}, nil
}

// ReadFunc reads the token whose position a function of the prompt's text gives,
// negative ones counted from the end. The name is for the provenance of vectors.
func ReadFunc(name string, position func(text string) int) Reading {
	return readFunc{name, position}
}

type readFunc struct {
	name     string
	position func(text string) int
}

func (r readFunc) String() string { return r.name }

func (r readFunc) of(p *prompt) (lm.Span, error) { return readAt(r.position(p.text)).of(p) }

// ReadMean reads the mean over the tokens of a selection that lie side by side,
// such as [From](1), [Range](2, -1, 1) or [Response](); nil: all. A sample must
// say where its response begins for [Prompt] and [Response] to mean something.
func ReadMean(tokens lm.Tokens) Reading { return readMean{tokens} }

type readMean struct{ tokens lm.Tokens }

func (r readMean) String() string {
	switch tokens := r.tokens.(type) {
	case nil:
		return "mean"
	case fmt.Stringer:
		return "mean:" + tokens.String()
	}
	return fmt.Sprintf("mean:%T", r.tokens)
}

func (r readMean) of(p *prompt) (lm.Span, error) {
	n := len(p.tokens)
	if r.tokens == nil {
		return lm.Span{From: 0, To: n}, nil
	}
	length := n
	if _, isRole := r.tokens.(role); isRole {
		var err error
		if length, err = p.responseToken(); err != nil {
			return lm.Span{}, fmt.Errorf("read %v: %w", r, err)
		}
	}
	if err := r.tokens.Check(length); err != nil {
		return lm.Span{}, fmt.Errorf("read %v: %w", r, err)
	}
	span, selected := lm.Span{}, 0
	for position := range n {
		if r.tokens.Selects(position, length) {
			if selected == 0 {
				span.From = position
			}
			selected, span.To = selected+1, position+1
		}
	}
	switch {
	case selected == 0:
		return span, fmt.Errorf("read %v: none of its %d tokens is selected", r, n)
	case selected != span.To-span.From:
		return span, fmt.Errorf("read %v: the tokens do not lie side by side", r)
	}
	return span, nil
}

// ReadText reads the mean over the tokens of a part of the prompt's text, at its
// last occurrence.
func ReadText(part string) Reading { return readText(part) }

type readText string

func (r readText) String() string { return "mean:" + strconv.Quote(string(r)) }

func (r readText) of(p *prompt) (lm.Span, error) {
	if p.given {
		return lm.Span{}, fmt.Errorf("read %v: the prompt is given as token ids, not as text", r)
	}
	at := strings.LastIndex(p.text, string(r))
	if at < 0 || r == "" {
		return lm.Span{}, fmt.Errorf("read %v: the prompt does not hold it", r)
	}
	from, err := p.tokenAt(at)
	if err != nil {
		return lm.Span{}, err
	}
	to, err := p.tokenAt(at + len(r) - 1)
	return lm.Span{From: from, To: to + 1}, err
}

// tokenAt returns the last token that stands for a byte of the text.
func (p *prompt) tokenAt(at int) (int, error) {
	if p.encoding == nil {
		encoding, err := p.encode(p.text)
		if err != nil {
			return 0, err
		}
		p.encoding = &encoding
	}
	for i := len(p.encoding.Offsets) - 1; i >= 0; i-- {
		if o := p.encoding.Offsets[i]; o[0] <= at && at < o[1] {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no token stands for byte %d of the prompt", at)
}

// responseToken returns the first token of the response.
func (p *prompt) responseToken() (int, error) {
	switch {
	case p.response == 0:
		return 0, errors.New("the sample does not say where its response begins")
	case p.given && p.response > 0 && p.response < len(p.tokens):
		return p.response, nil
	case !p.given && p.response > 0 && p.response < len(p.text):
		return p.tokenAt(p.response)
	}
	return 0, fmt.Errorf("the response is said to begin at %d, outside the prompt", p.response)
}

// ParseReading reads a reading as it is written on a command line:
//
//	-1  or  3        the token at a position, as [ReadAt]
//	mean             the mean over all tokens
//	mean:2:-1        the mean over a selection of tokens, as [ParseTokens]
//	mean:response    the mean over the response; or prompt
//	mean:"some text" the mean over a part of the text, as [ReadText]
func ParseReading(text string) (Reading, error) {
	if position, err := strconv.Atoi(text); err == nil {
		return ReadAt(position), nil
	}
	selection, isMean := strings.CutPrefix(text, "mean:")
	switch {
	case text == "mean":
		return ReadMean(nil), nil
	case !isMean:
		return nil, fmt.Errorf(`%q says nothing that can be read: it is a position such as -1, or mean, mean:2:-1, mean:response or mean:"some text"`, text)
	case strings.HasPrefix(selection, `"`):
		part, err := strconv.Unquote(selection)
		if err != nil || part == "" {
			return nil, fmt.Errorf("reading %s: %s is not a text in quotes", text, selection)
		}
		return ReadText(part), nil
	}
	tokens, err := ParseTokens(selection)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", text, err)
	}
	return ReadMean(tokens), nil
}
