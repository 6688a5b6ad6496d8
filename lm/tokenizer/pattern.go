package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// pattern finds the matches of something in a text.
type pattern interface {
	// find cuts s into matches and what lies between them, in order.
	find(s string, c *clock) ([]part, error)
}

// part is the bytes [from, to) of a text: a match or what lies between.
type part struct {
	from, to int
	match    bool
}

// between fills the gaps between matches, and after them up to size.
type between struct {
	parts []part
	last  int
}

func (b *between) match(from, to int) {
	if from > b.last {
		b.parts = append(b.parts, part{b.last, from, false})
	}
	b.parts = append(b.parts, part{from, to, true})
	b.last = to
}

func (b *between) end(size int) []part {
	if size > b.last {
		b.parts = append(b.parts, part{b.last, size, false})
	}
	return b.parts
}

// literal finds a fixed string.
type literal string

func (l literal) find(s string, _ *clock) ([]part, error) {
	var b between
	if l != "" {
		for at := 0; ; {
			i := strings.Index(s[at:], string(l))
			if i < 0 {
				break
			}
			b.match(at+i, at+i+len(l))
			at += i + len(l)
		}
	}
	return b.end(len(s)), nil
}

// eachRune finds every single character for which it is true.
type eachRune func(rune) bool

func (p eachRune) find(s string, _ *clock) ([]part, error) {
	var b between
	for i, r := range s {
		if p(r) {
			b.match(i, i+utf8.RuneLen(r))
		}
	}
	return b.end(len(s)), nil
}

// regex finds a regular expression.
type regex struct{ *regexp2.Regexp }

func newRegex(source string) (pattern, error) {
	translated, err := translateRegex(source)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", source, err)
	}
	re, err := regexp2.Compile(translated, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", source, err)
	}
	re.MatchTimeout = searchTime // for one search; the clock is for all
	return regex{re}, nil
}

func (re regex) find(s string, c *clock) ([]part, error) {
	c.start()
	var b between
	at, runes := 0, 0 // the byte and the rune that have been walked to
	walk := func(rune int) int {
		for runes < rune {
			_, size := utf8.DecodeRuneInString(s[at:])
			at += size
			runes++
		}
		return at
	}
	m, err := re.FindStringMatch(inOldCharacters(s))
	for ; m != nil && err == nil; m, err = re.FindNextMatch(m) {
		if c.over.Load() {
			err = errSearchTime
			break
		}
		from := walk(m.Index)
		b.match(from, walk(m.Index+m.Length))
	}
	if err != nil {
		return nil, fmt.Errorf("search for %q in a text of %d bytes: %w", re.String(), len(s), err)
	}
	return b.end(len(s)), nil
}

// translateRegex rewrites an Oniguruma expression where regexp2 (.NET's
// syntax) would refuse it: the possessive quantifiers a?+, a*+ and a++ become
// atomic groups (?>a?), and a{1,3}+, which repeats the repetition,
// (?:a{1,3})+. \w, which is less to .NET, becomes a class.
func translateRegex(source string) (string, error) {
	if len(source) > 1<<16 {
		return "", errors.New("is over 64 KiB long")
	}
	var out []byte
	atom := 0      // where in out the last atom begins
	var open []int // where in out the open groups begin
	var quantified bool
	for i := 0; i < len(source); i++ {
		start := len(out)
		switch c := source[i]; {
		case c == '\\' && i+1 < len(source) && (source[i+1] == 'w' || source[i+1] == 'W'):
			out = append(out, wordClass(source[i+1])...)
			i++
			atom, quantified = start, false
		case c == '\\' && i+1 < len(source):
			out = append(out, c, source[i+1])
			i++
			if strings.IndexByte("pPxuk", source[i]) >= 0 && i+1 < len(source) && source[i+1] == '{' {
				if end := strings.IndexByte(source[i:], '}'); end > 0 {
					out = append(out, source[i+1:i+end+1]...)
					i += end
				}
			}
			atom, quantified = start, false
		case c == '[':
			end := classEnd(source, i)
			out = append(out, inClass(source[i:end])...)
			i = end - 1
			atom, quantified = start, false
		case c == '(':
			open = append(open, start)
			out = append(out, c)
			quantified = true // a quantifier right here belongs to the group's syntax
		case c == ')':
			out = append(out, c)
			if n := len(open); n > 0 {
				atom, open = open[n-1], open[:n-1]
			}
			quantified = false
		case c == '{' && !quantified && counted.MatchString(source[i:]):
			end := strings.IndexByte(source[i:], '}')
			out = append(out, source[i:i+end+1]...)
			i += end
			if i+1 < len(source) && source[i+1] == '+' {
				out = append(out[:atom], "(?:"+string(out[atom:])+")"...)
			} else {
				quantified = true
			}
		case strings.IndexByte("?*+", c) >= 0 && !quantified:
			out = append(out, c)
			quantified = true
			if i+1 < len(source) && source[i+1] == '+' {
				out = append(out[:atom], "(?>"+string(out[atom:])+")"...)
				i++
			} else if i+1 < len(source) && source[i+1] == '?' {
				out = append(out, '?')
				i++
			}
		default:
			out = append(out, c)
			if utf8.RuneStart(c) {
				atom = start
			}
			quantified = false
		}
	}
	return string(out), nil
}

// word is what \w is to Oniguruma, inside of a class: besides the categories, the
// letters in circles and squares, and some numbers of Latin-1.
const word = `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}²³¹¼-¾Ⓐ-ⓩ🄰-🅉🅐-🅩🅰-🆉`

// wordClass is the class that \w or \W stands for.
func wordClass(letter byte) string {
	if letter == 'W' {
		return "[^" + word + "]"
	}
	return "[" + word + "]"
}

// inClass writes \w in a class as what it is. \W stays: there is no other way
// to write it in a class with more in it.
func inClass(class string) string {
	var out strings.Builder
	for i := 0; i < len(class); i++ {
		if class[i] != '\\' || i+1 == len(class) {
			out.WriteByte(class[i])
			continue
		}
		i++
		if class[i] == 'w' {
			out.WriteString(word)
		} else {
			out.WriteString(class[i-1 : i+1])
		}
	}
	return out.String()
}

// counted is a repetition count.
var counted = regexp.MustCompile(`^\{\d*,?\d*\}`)

// classEnd is the end of the character class that begins at source[i].
func classEnd(source string, i int) int {
	depth := 0
	for j := i; j < len(source); j++ {
		switch source[j] {
		case '\\':
			j++
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				return j + 1
			}
		}
	}
	return len(source)
}

// parsePattern reads {"String": "..."} or {"Regex": "..."}.
func parsePattern(data json.RawMessage) (pattern, error) {
	var p struct{ String, Regex *string }
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	switch {
	case p.String != nil:
		return literal(*p.String), nil
	case p.Regex != nil:
		return newRegex(*p.Regex)
	}
	return nil, fmt.Errorf("a pattern that is neither a String nor a Regex: %.80s", data)
}

// isWord says whether r belongs to \w: letters, marks, digits, connectors.
func isWord(r rune) bool {
	r = oldLike(r)
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc,
		unicode.Other_Alphabetic, unicode.Join_Control)
}

// isPunctuation says whether r is punctuation to the reference: that of
// Unicode and all ASCII signs.
func isPunctuation(r rune) bool {
	return unicode.IsPunct(r) || r < 0x80 && unicode.IsSymbol(r)
}
