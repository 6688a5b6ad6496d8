package tokenizer

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// text is a piece of text on its way to the model, with for every byte the
// bytes of the original that it stands for: [len(s)].
type text struct {
	s     string
	spans []span
}

// span is the bytes [from, to) of the original.
type span struct{ from, to int32 }

// newText is the original text; invalid UTF-8 becomes U+FFFD.
func newText(s string) text {
	var b builder
	b.grow(len(s))
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		b.add(r, span{int32(i), int32(i + size)})
		i += size
	}
	if utf8.ValidString(s) {
		return text{s, b.spans}
	}
	return b.text()
}

func (t text) slice(from, to int) text { return text{t.s[from:to], t.spans[from:to]} }

// startsOriginal says whether the piece begins where the original begins.
func (t text) startsOriginal() bool { return len(t.spans) == 0 || t.spans[0].from == 0 }

// builder makes a text character by character.
type builder struct {
	s     []byte
	spans []span
}

func (b *builder) grow(n int) {
	b.s = make([]byte, 0, n)
	b.spans = make([]span, 0, n)
}

func (b *builder) add(r rune, at span) {
	before := len(b.s)
	b.s = utf8.AppendRune(b.s, r)
	for range len(b.s) - before {
		b.spans = append(b.spans, at)
	}
}

func (b *builder) addText(t text) {
	b.s = append(b.s, t.s...)
	b.spans = append(b.spans, t.spans...)
}

func (b *builder) text() text { return text{string(b.s), b.spans} }

// prepend puts s before a non-empty text. Its characters stand for what the
// first character stands for.
func (t text) prepend(s string, a *allowance) (text, error) {
	if t.s == "" || s == "" {
		return a.taken(t)
	}
	if err := a.take(len(s) + len(t.s)); err != nil {
		return text{}, err
	}
	spans := make([]span, 0, len(s)+len(t.s))
	for range len(s) {
		spans = append(spans, t.spans[0])
	}
	return text{s + t.s, append(spans, t.spans...)}, nil
}

// replace puts content in the place of every match. It stands for what the
// last character of the match stands for.
func (t text) replace(p pattern, content string, a *allowance) (text, error) {
	parts, err := p.find(t.s, a.clock)
	if err != nil {
		return text{}, err
	}
	if err := a.take(replacedSize(parts, len(content))); err != nil {
		return text{}, err
	}
	var b builder
	b.grow(len(t.s))
	for _, part := range parts {
		if !part.match {
			b.addText(t.slice(part.from, part.to))
			continue
		}
		at := span{}
		if part.to > 0 {
			at = t.spans[part.to-1]
		}
		b.s = append(b.s, content...)
		for range len(content) {
			b.spans = append(b.spans, at)
		}
	}
	return b.text(), nil
}

// replacedSize is the size of a text whose matches are replaced by so many
// bytes each.
func replacedSize(parts []part, content int) int {
	size := 0
	for _, part := range parts {
		n := content
		if !part.match {
			n = part.to - part.from
		}
		if size += n; size < 0 {
			return math.MaxInt
		}
	}
	return size
}

// keep drops the characters for which ok is false.
func (t text) keep(ok func(rune) bool) text {
	if strings.IndexFunc(t.s, func(r rune) bool { return !ok(r) }) < 0 {
		return t
	}
	var b builder
	for i, r := range t.s {
		if ok(r) {
			b.add(r, t.spans[i])
		}
	}
	return b.text()
}

// each replaces every character by what expand gives for it.
func (t text) each(expand func(b *builder, r rune, at span)) text {
	var b builder
	b.grow(len(t.s))
	for i, r := range t.s {
		expand(&b, r, t.spans[i])
	}
	return b.text()
}

// strip takes white space off the ends.
func (t text) strip(left, right bool) text {
	from, to := 0, len(t.s)
	if left {
		from = to - len(strings.TrimLeftFunc(t.s, unicode.IsSpace))
	}
	if right {
		to = from + len(strings.TrimRightFunc(t.s[from:], unicode.IsSpace))
	}
	return t.slice(from, to)
}

// change is a character of a rewritten text. shift says how it came about,
// in the manner of the reference: 0 stands in the place of one character of
// the old text, a positive one is inserted after those used so far, and -n
// stands for one character and swallows the n after it.
type change struct {
	r     rune
	shift int
}

// rewrite makes the text that changes describe.
func (t text) rewrite(changes []change) text {
	var b builder
	b.grow(len(t.s))
	at := 0 // bytes of the old text used so far
	skip := func() {
		if at < len(t.s) {
			_, size := utf8.DecodeRuneInString(t.s[at:])
			at += size
		}
	}
	for _, c := range changes {
		var where span
		switch {
		case c.shift <= 0 && at < len(t.s):
			where = t.spans[at]
		case at > 0:
			where = t.spans[at-1]
		}
		if c.shift <= 0 {
			for range 1 - c.shift {
				skip()
			}
		}
		b.add(c.r, where)
	}
	return b.text()
}
