package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter is a pre-tokenizer: it cuts a text into pieces that the model
// then sees one by one, and may rewrite them.
type splitter interface {
	// split appends the pieces of t, none of them empty, to pieces.
	split(pieces []text, t text, a *allowance) ([]text, error)
}

type splitFunc func(pieces []text, t text) ([]text, error)

func (f splitFunc) split(pieces []text, t text, _ *allowance) ([]text, error) { return f(pieces, t) }

// splitters cut one after the other.
type splitters []splitter

func (list splitters) split(pieces []text, t text, a *allowance) ([]text, error) {
	current := []text{t}
	for _, s := range list {
		var next []text
		stage := a.stage()
		for _, piece := range current {
			var err error
			if next, err = s.split(next, piece, stage); err != nil {
				return nil, err
			}
		}
		current = next
	}
	return append(pieces, current...), nil
}

// parseSplitter reads a pre-tokenizer; null is none.
func parseSplitter(data json.RawMessage, depth int) (splitter, error) {
	kind, err := componentType(data, depth)
	if kind == "" || err != nil {
		return nil, err
	}
	var p struct {
		Pretokenizers    []json.RawMessage
		AddPrefixSpace   *bool `json:"add_prefix_space"`
		UseRegex         *bool `json:"use_regex"`
		Pattern          json.RawMessage
		Behavior         string
		Invert           bool
		Replacement      string
		PrependScheme    string `json:"prepend_scheme"`
		Split            *bool
		IndividualDigits bool `json:"individual_digits"`
		Delimiter        string
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("in %s: %w", kind, err)
	}
	yes := func(b *bool) bool { return b == nil || *b }
	switch kind {
	case "Sequence":
		var list splitters
		for _, one := range p.Pretokenizers {
			s, err := parseSplitter(one, depth+1)
			if err != nil {
				return nil, err
			}
			if s != nil {
				list = append(list, s)
			}
		}
		return list, nil
	case "ByteLevel":
		var words splitter
		if yes(p.UseRegex) {
			found, err := newRegex(gpt2Pattern)
			if err != nil {
				return nil, err
			}
			words = cut{found, isolated, false}
		}
		return byteLevel{yes(p.AddPrefixSpace), words}, nil
	case "Split":
		found, err := parsePattern(p.Pattern)
		if err != nil {
			return nil, fmt.Errorf("type Split: %w", err)
		}
		how, err := parseBehavior(p.Behavior)
		if err != nil {
			return nil, fmt.Errorf("type Split: %w", err)
		}
		return cut{found, how, p.Invert}, nil
	case "Metaspace":
		return newMetaspace(p.Replacement, p.PrependScheme, p.AddPrefixSpace, yes(p.Split))
	case "Digits":
		how := contiguous
		if p.IndividualDigits {
			how = isolated
		}
		return cut{eachRune(func(r rune) bool { return unicode.IsNumber(oldLike(r)) }), how, false}, nil
	case "Punctuation":
		how := isolated
		if p.Behavior != "" {
			if how, err = parseBehavior(p.Behavior); err != nil {
				return nil, fmt.Errorf("type Punctuation: %w", err)
			}
		}
		return cut{eachRune(isPunctuation), how, false}, nil
	case "Whitespace":
		return splitFunc(splitWords), nil
	case "WhitespaceSplit":
		return cut{eachRune(unicode.IsSpace), removed, false}, nil
	case "BertPreTokenizer":
		return splitters{
			cut{eachRune(unicode.IsSpace), removed, false},
			cut{eachRune(isPunctuation), isolated, false},
		}, nil
	case "CharDelimiterSplit":
		return cut{literal(p.Delimiter), removed, false}, nil
	}
	return nil, fmt.Errorf("the pre-tokenizer %q is not known", kind)
}

// behavior is what happens to the matches of a pattern at which a text is
// cut.
type behavior int

const (
	removed            behavior = iota // they are dropped
	isolated                           // they are pieces of their own
	mergedWithPrevious                 // they end the piece before them
	mergedWithNext                     // they begin the piece after them
	contiguous                         // runs of them are pieces
)

func parseBehavior(name string) (behavior, error) {
	switch name {
	case "Removed":
		return removed, nil
	case "Isolated":
		return isolated, nil
	case "MergedWithPrevious":
		return mergedWithPrevious, nil
	case "MergedWithNext":
		return mergedWithNext, nil
	case "Contiguous":
		return contiguous, nil
	}
	return 0, fmt.Errorf("the behavior %q is not known", name)
}

// cut cuts at the matches of a pattern, or with invert at what lies between
// them.
type cut struct {
	pattern pattern
	how     behavior
	invert  bool
}

func (c cut) split(pieces []text, t text, a *allowance) ([]text, error) {
	parts, err := c.pattern.find(t.s, a.clock)
	if err != nil {
		return nil, err
	}
	last := part{} // the piece that is being put together
	emit := func() {
		if last.to > last.from {
			pieces = append(pieces, t.slice(last.from, last.to))
		}
	}
	for i, next := range parts {
		joined := false // next belongs to the piece before it
		if i > 0 {
			before := parts[i-1].match != c.invert
			match := next.match != c.invert
			switch c.how {
			case mergedWithPrevious:
				joined = match && !before
			case mergedWithNext:
				joined = before && !match
			case contiguous:
				joined = match == before
			}
		}
		if joined {
			last.to = next.to
			continue
		}
		emit()
		last = next
		if c.how == removed && next.match != c.invert {
			last = part{next.to, next.to, true}
		}
	}
	emit()
	return pieces, nil
}

// splitWords keeps runs of word characters and runs of other characters
// that are no white space.
func splitWords(pieces []text, t text) ([]text, error) {
	class := func(r rune) int {
		switch {
		case isWord(r):
			return 1
		case unicode.IsSpace(r):
			return 0
		}
		return 2
	}
	from, current := 0, 0
	for i, r := range t.s {
		if c := class(r); c != current {
			if current != 0 {
				pieces = append(pieces, t.slice(from, i))
			}
			from, current = i, c
		}
	}
	if current != 0 {
		pieces = append(pieces, t.slice(from, len(t.s)))
	}
	return pieces, nil
}

// metaspace writes spaces as a visible character, SentencePiece's "▁", puts
// one before the text and cuts before each.
type metaspace struct {
	replacement string
	scheme      string // "always", "never", or "first": only where the original begins
	words       bool   // cut into words
}

func newMetaspace(replacement, scheme string, addPrefixSpace *bool, words bool) (splitter, error) {
	if utf8.RuneCountInString(replacement) != 1 {
		return nil, fmt.Errorf("type Metaspace: the replacement %q is not one character", replacement)
	}
	switch scheme {
	case "":
		scheme = "always"
		if addPrefixSpace != nil && !*addPrefixSpace {
			scheme = "never"
		}
	case "always", "never", "first":
	default:
		return nil, fmt.Errorf("type Metaspace: the prepend_scheme %q is not known", scheme)
	}
	return metaspace{replacement, scheme, words}, nil
}

func (m metaspace) split(pieces []text, t text, a *allowance) ([]text, error) {
	var err error
	if strings.Contains(t.s, " ") {
		if t, err = t.replace(literal(" "), m.replacement, a.stage()); err != nil {
			return nil, err
		}
	}
	prefix := ""
	if m.scheme != "never" && !strings.HasPrefix(t.s, m.replacement) &&
		(m.scheme == "always" || t.startsOriginal()) {
		prefix = m.replacement
	}
	if t, err = t.prepend(prefix, a); err != nil {
		return nil, err
	}
	if m.words {
		return cut{literal(m.replacement), mergedWithNext, false}.split(pieces, t, a)
	}
	return append(pieces, t), nil
}

// gpt2Pattern is GPT-2's cut into words, which the ByteLevel pre-tokenizer
// has built in.
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// byteLevel writes each byte as a printable character of its own, after a
// cut into words where there is one.
type byteLevel struct {
	prefixSpace bool
	words       splitter // nil: no cut
}

func (b byteLevel) split(pieces []text, t text, a *allowance) ([]text, error) {
	var err error
	if b.prefixSpace && !strings.HasPrefix(t.s, " ") {
		if t, err = t.prepend(" ", a.stage()); err != nil {
			return nil, err
		}
	}
	first := len(pieces)
	if b.words == nil {
		pieces = append(pieces, t)
	} else if pieces, err = b.words.split(pieces, t, a); err != nil {
		return nil, err
	}
	for i := range pieces[first:] {
		if pieces[first+i], err = a.taken(byteLevelText(pieces[first+i])); err != nil {
			return nil, err
		}
	}
	return pieces, nil
}

// byteLevelText writes each byte as the character that stands for it.
func byteLevelText(t text) text {
	plain := true
	for i := range len(t.s) {
		if byteRunes[t.s[i]] != rune(t.s[i]) || t.s[i] >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		return t
	}
	var b builder
	b.grow(2 * len(t.s))
	for i := range len(t.s) {
		b.add(byteRunes[t.s[i]], t.spans[i])
	}
	return b.text()
}

// byteRunes are the characters that stand for bytes in byte-level
// vocabularies, and runeBytes the way back: the visible characters of
// Latin-1 stand for themselves, all else for U+0100 and up (GPT-2's
// bytes_to_unicode).
var byteRunes, runeBytes = func() (runes [256]rune, bytes map[rune]byte) {
	bytes = map[rune]byte{}
	next := rune(0x100)
	for i := range 256 {
		r := rune(i)
		if !(r >= '!' && r <= '~' || r >= '¡' && r <= '¬' || r >= '®' && r <= 'ÿ') {
			r = next
			next++
		}
		runes[i], bytes[r] = r, byte(i)
	}
	return runes, bytes
}()
