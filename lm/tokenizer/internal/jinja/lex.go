package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	tokenEnd        tokenKind = iota
	tokenText                 // what stands outside of tags
	tokenBlockBegin           // {%
	tokenBlockEnd             // %}
	tokenPrintBegin           // {{
	tokenPrintEnd             // }}
	tokenName
	tokenString
	tokenInt
	tokenFloat
	tokenOperator
)

type token struct {
	kind tokenKind
	text string
	line int
}

func (t token) String() string {
	if t.kind == tokenEnd {
		return "end of the template"
	}
	return fmt.Sprintf("%.40q", t.text)
}

// lexer cuts the source into tokens, with white space around tags taken out
// as jinja2's lexer does with trim_blocks and lstrip_blocks.
type lexer struct {
	source string
	at     int
	line   int
	tokens []token
	// lineStart says whether the last thing taken in ended with a line break.
	lineStart bool
}

func lex(source string) []token {
	source = strings.ReplaceAll(source, "\r\n", "\n")
	source = strings.ReplaceAll(source, "\r", "\n")
	l := &lexer{source: strings.TrimSuffix(source, "\n"), line: 1, lineStart: true}
	for l.at < len(l.source) {
		l.text()
	}
	l.add(tokenEnd, "")
	return l.tokens
}

func (l *lexer) add(kind tokenKind, text string) {
	l.tokens = append(l.tokens, token{kind, text, l.line})
}

func (l *lexer) fail(format string, values ...any) {
	fail("line %d: %s", l.line, fmt.Sprintf(format, values...))
}

// take moves on by n bytes.
func (l *lexer) take(n int) string {
	taken := l.source[l.at : l.at+n]
	l.at += n
	l.line += strings.Count(taken, "\n")
	if n > 0 {
		l.lineStart = taken[n-1] == '\n'
	}
	return taken
}

// text takes in text up to a tag, and the tag.
func (l *lexer) text() {
	rest := l.source[l.at:]
	begin := -1
	for i := 0; i+1 < len(rest); i++ {
		if rest[i] == '{' && (rest[i+1] == '{' || rest[i+1] == '%' || rest[i+1] == '#') {
			begin = i
			break
		}
	}
	if begin < 0 {
		l.add(tokenText, l.take(len(rest)))
		return
	}
	text, kind := rest[:begin], rest[begin+1]
	sign := byte(0)
	if begin+2 < len(rest) && (rest[begin+2] == '-' || rest[begin+2] == '+') {
		sign = rest[begin+2]
	}
	switch {
	case sign == '-':
		text = strings.TrimRightFunc(text, unicode.IsSpace)
	case sign == 0 && kind != '{':
		line := strings.LastIndexByte(text, '\n') + 1
		if (line > 0 || l.lineStart) && strings.TrimSpace(text[line:]) == "" {
			text = text[:line]
		}
	}
	if text != "" {
		l.add(tokenText, text)
	}
	l.take(begin + 2)
	if sign != 0 {
		l.take(1)
	}
	switch kind {
	case '#':
		end := strings.Index(l.source[l.at:], "#}")
		if end < 0 {
			l.fail("a comment does not end")
		}
		minus := end > 0 && l.source[l.at+end-1] == '-'
		plus := end > 0 && l.source[l.at+end-1] == '+'
		l.take(end + 2)
		l.trimAfter(minus, plus)
	case '%':
		if l.raw() {
			return
		}
		l.add(tokenBlockBegin, "{%")
		l.inside('%')
	case '{':
		l.add(tokenPrintBegin, "{{")
		l.inside('}')
	}
}

// trimAfter takes out the white space after a block or a comment: all of it
// after "-%}", else one line break, after "+%}" none.
func (l *lexer) trimAfter(minus, plus bool) {
	rest := l.source[l.at:]
	switch {
	case minus:
		l.take(len(rest) - len(strings.TrimLeftFunc(rest, unicode.IsSpace)))
	case !plus && strings.HasPrefix(rest, "\n"):
		l.take(1)
	}
}

// raw takes in a whole {% raw %} block as text.
func (l *lexer) raw() bool {
	word := func(s, word string) (end int, minus, plus, ok bool) {
		rest := strings.TrimLeftFunc(s, unicode.IsSpace)
		rest, ok = strings.CutPrefix(rest, word)
		if !ok {
			return 0, false, false, false
		}
		rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
		if rest, minus = strings.CutPrefix(rest, "-"); !minus {
			rest, plus = strings.CutPrefix(rest, "+")
		}
		rest, ok = strings.CutPrefix(rest, "%}")
		return len(s) - len(rest), minus, plus, ok
	}
	n, minus, plus, ok := word(l.source[l.at:], "raw")
	if !ok {
		return false
	}
	l.take(n)
	l.trimAfter(minus, plus)
	for i := l.at; ; i++ {
		begin := strings.Index(l.source[i:], "{%")
		if begin < 0 {
			l.fail("a raw block does not end")
		}
		i += begin
		tag := l.source[i+2:]
		skip := 2
		strip := strings.HasPrefix(tag, "-")
		if strip || strings.HasPrefix(tag, "+") {
			tag = tag[1:]
			skip = 3
		}
		n, minus, plus, ok := word(tag, "endraw")
		if !ok {
			continue
		}
		text := l.source[l.at:i]
		if strip {
			text = strings.TrimRightFunc(text, unicode.IsSpace)
		} else if skip == 2 {
			if line := strings.LastIndexByte(text, '\n') + 1; line > 0 && strings.TrimSpace(text[line:]) == "" {
				text = text[:line]
			}
		}
		l.add(tokenText, text)
		l.take(i - l.at + skip + n)
		l.trimAfter(minus, plus)
		return true
	}
}

var operators = []string{
	"==", "!=", "<=", ">=", "**", "//",
	"+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ".", ":", "|", ";",
}

// inside takes in the tokens of a tag up to its end: "%}" or "}}", closer is
// the first character of it.
func (l *lexer) inside(closer byte) {
	depth := 0 // of open brackets: "}}" may also end two dictionaries
	for {
		rest := l.source[l.at:]
		trimmed := strings.TrimLeftFunc(rest, unicode.IsSpace)
		l.take(len(rest) - len(trimmed))
		rest = trimmed
		if rest == "" {
			l.fail("a tag does not end")
		}
		end := string([]byte{closer, '}'})
		sign := rest[0]
		if depth == 0 && (strings.HasPrefix(rest, end) ||
			(sign == '-' || sign == '+' && closer == '%') && strings.HasPrefix(rest[1:], end)) {
			signed := !strings.HasPrefix(rest, end)
			size := 2
			if signed {
				size = 3
			}
			l.take(size)
			if closer == '%' {
				l.add(tokenBlockEnd, end)
				l.trimAfter(signed && sign == '-', signed && sign == '+')
			} else {
				l.add(tokenPrintEnd, end)
				if signed {
					l.trimAfter(true, false)
				}
			}
			return
		}
		switch c := rest[0]; {
		case c == '\'' || c == '"':
			l.quoted(rest, c)
		case c >= '0' && c <= '9':
			l.number(rest)
		default:
			if n := nameLength(rest); n > maxName {
				l.fail("a name of %d bytes is over %d bytes", n, maxName)
			} else if n > 0 {
				l.add(tokenName, l.take(n))
				continue
			}
			l.operator(rest, &depth)
		}
	}
}

func nameLength(s string) int {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return i
		}
	}
	return len(s)
}

func (l *lexer) operator(rest string, depth *int) {
	for _, operator := range operators {
		if !strings.HasPrefix(rest, operator) {
			continue
		}
		switch operator {
		case "(", "[", "{":
			*depth++
		case ")", "]", "}":
			if *depth--; *depth < 0 {
				l.fail("unexpected %q", operator)
			}
		}
		l.add(tokenOperator, l.take(len(operator)))
		return
	}
	l.fail("unexpected character %.4q", rest)
}

func (l *lexer) number(rest string) {
	digits := func(s string) int {
		n := 0
		for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '_' && n > 0) {
			n++
		}
		return n
	}
	n := digits(rest)
	kind := tokenInt
	if n+1 < len(rest) && rest[n] == '.' && digits(rest[n+1:]) > 0 {
		kind = tokenFloat
		n += 1 + digits(rest[n+1:])
	}
	if n < len(rest) && (rest[n] == 'e' || rest[n] == 'E') {
		m := n + 1
		if m < len(rest) && (rest[m] == '+' || rest[m] == '-') {
			m++
		}
		if d := digits(rest[m:]); d > 0 {
			kind = tokenFloat
			n = m + d
		}
	}
	l.add(kind, strings.ReplaceAll(rest[:n], "_", ""))
	l.take(n)
}

// quoted takes in a string with Python's escapes.
func (l *lexer) quoted(rest string, quote byte) {
	var out strings.Builder
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == quote:
			l.add(tokenString, out.String())
			l.take(i + 1)
			return
		case c == '\\' && i+1 < len(rest):
			i++
			i += unescape(&out, rest[i:]) - 1
		default:
			out.WriteByte(c)
		}
	}
	l.fail("a string does not end")
}

// unescape writes what the escape stands for whose text after the backslash
// begins s, and returns the length of it.
func unescape(out *strings.Builder, s string) int {
	simple := map[byte]string{
		'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': "\"",
		'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '\n': "",
	}
	if text, ok := simple[s[0]]; ok {
		out.WriteString(text)
		return 1
	}
	hex := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
	if hex > 0 && len(s) > hex {
		if value, err := strconv.ParseUint(s[1:1+hex], 16, 32); err == nil {
			out.WriteRune(rune(value))
			return 1 + hex
		}
	}
	n := 0
	for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	if n > 0 {
		value, _ := strconv.ParseUint(s[:n], 8, 32)
		out.WriteRune(rune(value))
		return n
	}
	_, size := utf8.DecodeRuneInString(s)
	out.WriteString("\\" + s[:size])
	return size
}
