package tokenizer

import (
	"encoding/json"
	"fmt"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites a text before it is cut up.
type normalizer interface {
	normalize(t text, a *allowance) (text, error)
}

type normalizeFunc func(t text, a *allowance) (text, error)

func (f normalizeFunc) normalize(t text, a *allowance) (text, error) { return f(t, a) }

// total is a normalizer that cannot fail, and that grows a text to twice its
// size at most.
func total(f func(t text) text) normalizer {
	return normalizeFunc(func(t text, a *allowance) (text, error) { return a.taken(f(t)) })
}

type normalizers []normalizer

func (list normalizers) normalize(t text, a *allowance) (text, error) {
	for _, n := range list {
		var err error
		if t, err = n.normalize(t, a.stage()); err != nil {
			return text{}, err
		}
	}
	return t, nil
}

// parseNormalizer reads a normalizer; null is none.
func parseNormalizer(data json.RawMessage, depth int) (normalizer, error) {
	kind, err := componentType(data, depth)
	if kind == "" || err != nil {
		return nil, err
	}
	var p struct {
		Normalizers []json.RawMessage
		Prepend     string
		Pattern     json.RawMessage
		Content     string
		StripLeft   *bool `json:"strip_left"`
		StripRight  *bool `json:"strip_right"`

		CleanText          *bool  `json:"clean_text"`
		HandleChineseChars *bool  `json:"handle_chinese_chars"`
		StripAccents       *bool  `json:"strip_accents"`
		Lowercase          *bool  `json:"lowercase"`
		Charsmap           []byte `json:"precompiled_charsmap"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("in %s: %w", kind, err)
	}
	yes := func(b *bool) bool { return b == nil || *b }
	switch kind {
	case "Sequence":
		var list normalizers
		for _, one := range p.Normalizers {
			n, err := parseNormalizer(one, depth+1)
			if err != nil {
				return nil, err
			}
			if n != nil {
				list = append(list, n)
			}
		}
		return list, nil
	case "Prepend":
		return normalizeFunc(func(t text, a *allowance) (text, error) { return t.prepend(p.Prepend, a) }), nil
	case "Replace":
		found, err := parsePattern(p.Pattern)
		if err != nil {
			return nil, fmt.Errorf("type Replace: %w", err)
		}
		return normalizeFunc(func(t text, a *allowance) (text, error) { return t.replace(found, p.Content, a) }), nil
	case "NFC", "NFKC", "NFD", "NFKD":
		form := unicodeForm{
			decomposed: norm.NFD,
			composed:   norm.NFC,
			compose:    kind == "NFC" || kind == "NFKC",
		}
		if kind == "NFKC" || kind == "NFKD" {
			form.decomposed, form.composed = norm.NFKD, norm.NFKC
		}
		return form, nil
	case "Lowercase":
		return total(lowercase), nil
	case "Strip":
		return total(func(t text) text { return t.strip(yes(p.StripLeft), yes(p.StripRight)) }), nil
	case "StripAccents":
		return total(func(t text) text { return t.keep(func(r rune) bool { return !unicode.IsMark(r) }) }), nil
	case "Nmt":
		return total(nmt), nil
	case "ByteLevel":
		return total(byteLevelText), nil
	case "BertNormalizer":
		lower := yes(p.Lowercase)
		accents := lower
		if p.StripAccents != nil {
			accents = *p.StripAccents
		}
		var list normalizers
		if yes(p.CleanText) {
			list = append(list, total(cleanText))
		}
		if yes(p.HandleChineseChars) {
			list = append(list, total(spaceChinese))
		}
		if accents {
			list = append(list, unicodeForm{decomposed: norm.NFD}, total(func(t text) text {
				return t.keep(func(r rune) bool { return !unicode.Is(unicode.Mn, r) })
			}))
		}
		if lower {
			list = append(list, total(lowercase))
		}
		return list, nil
	}
	return nil, fmt.Errorf("the normalizer %q is not known", kind)
}

// unicodeForm is one of the four Unicode normalization forms.
type unicodeForm struct {
	decomposed, composed norm.Form
	compose              bool
}

// normalize brings a text into the form. It does so character by character
// only where the text is not in the form already, in order to know where
// each character comes from; the attribution is the reference's: a character
// that decomposes is followed by inserted ones, a composed one swallows
// those that it is made of.
func (f unicodeForm) normalize(t text, a *allowance) (text, error) {
	target := f.decomposed
	if f.compose {
		target = f.composed
	}
	if target.IsNormalString(t.s) {
		return a.taken(t)
	}
	changes, err := f.decompose(t.s, a)
	if err != nil {
		return text{}, err
	}
	if f.compose {
		changes = compose(changes)
	}
	return a.taken(t.rewrite(changes))
}

// decompose is the full decomposition in canonical order.
func (f unicodeForm) decompose(s string, a *allowance) ([]change, error) {
	var out []change
	pending := 0 // out[pending:] are marks that may still be reordered
	flush := func() {
		for i := pending + 1; i < len(out); i++ {
			for j := i; j > pending && combiningClass(out[j].r) < combiningClass(out[j-1].r); j-- {
				out[j], out[j-1] = out[j-1], out[j]
			}
		}
		pending = len(out)
	}
	for _, r := range s {
		if len(out) > a.left {
			return nil, a.take(len(out))
		}
		shift := 0
		for _, d := range f.decomposed.String(string(r)) {
			if combiningClass(d) == 0 {
				flush()
				out = append(out, change{d, shift})
				pending = len(out)
			} else {
				out = append(out, change{d, shift})
			}
			shift = 1
		}
	}
	flush()
	return out, nil
}

// compose is the canonical composition (Unicode, section 3.11, D117) of
// decomposed text.
func compose(in []change) []change {
	out := make([]change, 0, len(in))
	starter := -1 // in out
	last := 0     // combining class of what precedes in out, after the starter
	for _, c := range in {
		class := combiningClass(c.r)
		if starter >= 0 {
			adjacent := starter == len(out)-1
			if adjacent || last < class && last != 0 {
				if r, ok := composePair(out[starter].r, c.r); ok {
					out[starter] = change{r, out[starter].shift + c.shift - 1}
					continue
				}
			}
		}
		if class == 0 {
			starter = len(out)
		}
		last = class
		out = append(out, c)
	}
	return out
}

// composePair is the one character that a and b compose to.
func composePair(a, b rune) (rune, bool) {
	pair := string(a) + string(b)
	joined := []rune(norm.NFC.String(pair))
	if len(joined) == 1 {
		return joined[0], true
	}
	return 0, false
}

func combiningClass(r rune) int {
	if r < 0x300 {
		return 0
	}
	return int(norm.NFD.PropertiesString(string(r)).CCC())
}

func lowercase(t text) text {
	return t.each(func(b *builder, r rune, at span) {
		if r == 'İ' { // the only character whose lower case is two
			b.add('i', at)
			b.add('\u0307', at)
			return
		}
		b.add(unicode.ToLower(r), at)
	})
}

// nmt is SentencePiece's clean-up of control and space characters.
func nmt(t text) text {
	t = t.keep(func(r rune) bool {
		switch {
		case r >= 1 && r <= 8, r == 0xB, r >= 0xE && r <= 0x1F, r == 0x7F, r == 0x8F, r == 0x9F:
			return false
		}
		return true
	})
	return t.each(func(b *builder, r rune, at span) {
		switch {
		case r == '\t', r == '\n', r == '\f', r == '\r', r == 0x1680, r >= 0x200B && r <= 0x200F,
			r == 0x2028, r == 0x2029, r == 0x2581, r == 0xFEFF, r == 0xFFFD:
			r = ' '
		}
		b.add(r, at)
	})
}

// cleanText drops control characters and makes all white space plain, as
// BERT does.
func cleanText(t text) text {
	white := func(r rune) bool { return r == '\t' || r == '\n' || r == '\r' || unicode.IsSpace(r) }
	t = t.keep(func(r rune) bool {
		return r != 0 && r != 0xFFFD && (white(r) || !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs))
	})
	return t.each(func(b *builder, r rune, at span) {
		if white(r) {
			r = ' '
		}
		b.add(r, at)
	})
}

// spaceChinese puts spaces around ideographs.
func spaceChinese(t text) text {
	return t.each(func(b *builder, r rune, at span) {
		if !isIdeograph(r) {
			b.add(r, at)
			return
		}
		b.add(' ', at)
		b.add(r, at)
		b.add(' ', at)
	})
}

func isIdeograph(r rune) bool {
	for _, block := range [][2]rune{
		{0x4E00, 0x9FFF}, {0x3400, 0x4DBF}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
		{0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF}, {0x2F800, 0x2FA1F},
	} {
		if r >= block[0] && r <= block[1] {
			return true
		}
	}
	return false
}
