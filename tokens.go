package steer

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm"
)

// The selectors of this file say which tokens of a sequence an edit changes.
//
// All of them mean absolute positions, counted from 0 at the first token of the
// sequence. Negative positions count from the end of the prompt, that is, of
// what the caller gave, and they stay there while tokens are generated: were they
// to count from the end of the growing sequence, each new token would change
// which earlier tokens are steered, and what the key/value cache holds would be
// wrong. As it is, a cached decode equals a full recompute. In a single forward
// pass, where all is prompt, the selectors mean what indexing a tensor with a
// list, a slice or a mask means in Python.

// End leaves the upper end of a [Range] open: it then includes every token that
// is generated.
const End = math.MaxInt

// From selects the token at position n and all after it, generated ones
// included. A negative n counts from the end of the prompt.
func From(n int) lm.Tokens { return span{from: n, to: End, step: 1} }

// Range selects every step-th token from position from up to, and not
// including, position to: a Python slice over the sequence. Negative positions
// count from the end of the prompt; positions outside it are no error. With
// [End] the range is open. The check fails where the step is not positive or
// where the range selects nothing, prompt or generated.
func Range(from, to, step int) lm.Tokens { return span{from: from, to: to, step: step} }

// At selects single tokens of the prompt. Negative positions count from its
// end: -1 is its last token. The check fails on positions that the prompt lacks.
func At(positions ...int) lm.Tokens { return list(append([]int(nil), positions...)) }

// Mask selects the tokens of the prompt whose entry is true, and no generated
// ones. The check fails where the mask's length is not that of the prompt or
// where no entry is true.
func Mask(selected ...bool) lm.Tokens { return mask(append([]bool(nil), selected...)) }

// Prompt selects every token that the caller gave.
func Prompt() lm.Tokens { return role("prompt") }

// Response selects every token that is generated.
func Response() lm.Tokens { return role("response") }

// Generated selects generated tokens, counted from 0: from the one of number from
// up to, and not including, number to. With [End] the range is open. The check fails
// where nothing is selected.
func Generated(from, to int) lm.Tokens { return generated{from, to} }

// ParseTokens reads a selection as it is written on a command line:
//
//	1,4  or  -1          single tokens, as [At]
//	2:  or  1:9:2 or ::3 a slice, as [Range]
//	mask:0,0,1,1,0       a mask, as [Mask]
//	prompt, response     by role
//	response:5:20        of the generated tokens numbers 5 to 19, as [Generated]
//
// The selectors of this package print themselves in this form.
func ParseTokens(text string) (lm.Tokens, error) {
	digits, isMask := strings.CutPrefix(text, "mask:")
	numbers, isGenerated := strings.CutPrefix(text, "response:")
	switch {
	case text == "prompt" || text == "response":
		return role(text), nil
	case isGenerated:
		return parseGenerated(numbers)
	case isMask:
		return parseMask(digits)
	case strings.Contains(text, ":"):
		return parseSlice(text)
	default:
		return parsePositions(text)
	}
}

func parseMask(text string) (lm.Tokens, error) {
	var m mask
	for _, digit := range strings.Split(text, ",") {
		switch strings.TrimSpace(digit) {
		case "0":
			m = append(m, false)
		case "1":
			m = append(m, true)
		default:
			return nil, fmt.Errorf("token mask %q: %q is neither 0 nor 1", text, digit)
		}
	}
	return m, nil
}

func parseSlice(text string) (lm.Tokens, error) {
	fields := strings.Split(text, ":")
	if len(fields) > 3 {
		return nil, fmt.Errorf("token slice %q: more than from:to:step", text)
	}
	s := span{from: 0, to: End, step: 1}
	for i, part := range []*int{&s.from, &s.to, &s.step} {
		if i >= len(fields) || strings.TrimSpace(fields[i]) == "" {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(fields[i]))
		if err != nil {
			return nil, fmt.Errorf("token slice %q: %q is not a position", text, fields[i])
		}
		*part = n
	}
	if s.step < 1 {
		return nil, fmt.Errorf("token slice %q: the step %d is not positive", text, s.step)
	}
	return s, nil
}

func parsePositions(text string) (lm.Tokens, error) {
	var l list
	for _, field := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil {
			return nil, fmt.Errorf("tokens %q: %q is not a position; tokens are written as 1,4 or 1::2 or mask:0,1,1 or prompt or response", text, field)
		}
		l = append(l, n)
	}
	return l, nil
}

// A span is a Python slice; to may be End.
type span struct{ from, to, step int }

func (s span) Selects(position, prompt int) bool {
	from, to := s.bounds(prompt)
	return s.step > 0 && position >= from && position < to && (position-from)%s.step == 0
}

func (s span) Check(prompt int) error {
	if s.step < 1 {
		return fmt.Errorf("tokens %v: the step %d is not positive", s, s.step)
	}
	if from, to := s.bounds(prompt); from >= to {
		return fmt.Errorf("tokens %v of a prompt of %d tokens: nothing is selected", s, prompt)
	}
	return nil
}

// bounds resolves negative ends as Python does: below the first token they mean
// the first token.
func (s span) bounds(prompt int) (from, to int) {
	resolve := func(n int) int {
		if n < 0 {
			return max(0, n+prompt)
		}
		return n
	}
	return resolve(s.from), resolve(s.to)
}

func (s span) String() string {
	text := strconv.Itoa(s.from) + ":"
	if s.to != End {
		text += strconv.Itoa(s.to)
	}
	if s.step != 1 {
		text += ":" + strconv.Itoa(s.step)
	}
	return text
}

type list []int

func (l list) Selects(position, prompt int) bool {
	if position >= prompt {
		return false
	}
	for _, n := range l {
		if n == position || n < 0 && n+prompt == position {
			return true
		}
	}
	return false
}

func (l list) Check(prompt int) error {
	if len(l) == 0 {
		return errors.New("no token is selected: the list of positions is empty")
	}
	for _, n := range l {
		if n < -prompt || n >= prompt {
			return fmt.Errorf("token %d is outside the prompt of %d tokens", n, prompt)
		}
	}
	return nil
}

func (l list) String() string {
	var text []string
	for _, n := range l {
		text = append(text, strconv.Itoa(n))
	}
	return strings.Join(text, ",")
}

type mask []bool

func (m mask) Selects(position, prompt int) bool {
	return position < len(m) && m[position]
}

func (m mask) Check(prompt int) error {
	if len(m) != prompt {
		return fmt.Errorf("the token mask has %d entries, the prompt %d tokens", len(m), prompt)
	}
	for _, selected := range m {
		if selected {
			return nil
		}
	}
	return fmt.Errorf("the token mask selects none of the prompt's %d tokens", prompt)
}

func (m mask) String() string {
	var text []string
	for _, selected := range m {
		digit := "0"
		if selected {
			digit = "1"
		}
		text = append(text, digit)
	}
	return "mask:" + strings.Join(text, ",")
}

// generated is numbers of generated tokens; to may be End.
type generated struct{ from, to int }

func parseGenerated(text string) (lm.Tokens, error) {
	s, err := parseSlice(text)
	if err != nil {
		return nil, err
	}
	if s := s.(span); s.step == 1 && 0 <= s.from && s.from < s.to {
		return generated{s.from, s.to}, nil
	}
	return nil, fmt.Errorf("tokens response:%s: generated tokens are from:to, both counted from 0", text)
}

func (g generated) Selects(position, prompt int) bool {
	return position-prompt >= max(0, g.from) && position-prompt < g.to
}

func (g generated) Check(int) error {
	if g.from < 0 || g.from >= g.to {
		return fmt.Errorf("tokens %v: nothing is selected", g)
	}
	return nil
}

func (g generated) String() string { return "response:" + span{g.from, g.to, 1}.String() }

type role string

func (r role) Selects(position, prompt int) bool { return (position < prompt) == (r == "prompt") }
func (r role) Check(int) error                   { return nil }
func (r role) String() string                    { return string(r) }
