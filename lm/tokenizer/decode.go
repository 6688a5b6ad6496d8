package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Decode is the text of token ids; ids that no token has are passed over.
// With skipSpecial, special tokens leave no text.
func (t *Tokenizer) Decode(ids []int, skipSpecial bool) string {
	s := t.NewStream(skipSpecial)
	for _, id := range ids {
		s.push(id)
	}
	return s.Flush()
}

// Stream decodes tokens as they come. The texts of all Push calls and of
// Flush make up what Decode gives for the same ids. It belongs to one
// goroutine.
type Stream struct {
	tokenizer   *Tokenizer
	skipSpecial bool
	allowed     *allowance // grows with what is decoded
	out         []byte
	steps       []step
	emit        []func(string) // into steps[i]; the last one into out
}

// NewStream begins an incremental Decode.
func (t *Tokenizer) NewStream(skipSpecial bool) *Stream {
	s := &Stream{tokenizer: t, skipSpecial: skipSpecial}
	s.reset()
	return s
}

func (s *Stream) reset() {
	s.out = nil
	s.allowed = &allowance{left: someGrowth}
	s.steps = s.steps[:0]
	for _, d := range s.tokenizer.decoder {
		s.steps = append(s.steps, d(s.allowed))
	}
	s.emit = make([]func(string), len(s.steps)+1)
	s.emit[len(s.steps)] = func(text string) { s.out = append(s.out, text...) }
	for i := len(s.steps) - 1; i >= 0; i-- {
		s.emit[i] = func(text string) { s.steps[i].push(text, s.emit[i+1]) }
	}
}

// Push takes the next id and returns the text that is certain by now: whole
// characters, and possibly none.
func (s *Stream) Push(id int) string {
	s.push(id)
	text := string(s.out)
	s.out = s.out[:0]
	return text
}

func (s *Stream) push(id int) {
	token, ok := s.tokenizer.vocab.token(id)
	if !ok || s.skipSpecial && s.tokenizer.vocab.isSpecial(id) {
		return
	}
	s.allowed.left += mostGrowth * len(token)
	s.emit[0](token)
}

// Flush ends the stream and returns the text that was still held back. The
// stream is then as new.
func (s *Stream) Flush() string {
	for i, step := range s.steps {
		step.flush(s.emit[i+1])
	}
	text := string(s.out)
	s.reset()
	return text
}

// decoder makes the step of a new stream that decodes.
type decoder func(a *allowance) step

// step is a stage of decoding. It takes tokens as they come and emits what
// they become as soon as that is certain. After a step that fuses tokens
// into one, what comes are pieces of this one.
type step interface {
	push(token string, emit func(string))
	flush(emit func(string))
}

// eachToken is a step that maps every token by itself.
type eachToken func(token string) string

func (f eachToken) push(token string, emit func(string)) { emit(f(token)) }
func (f eachToken) flush(func(string))                   {}

// each is the decoder for a step without state.
func each(f func(token string) string) decoder {
	return func(*allowance) step { return eachToken(f) }
}

// parseDecoder reads a decoder as the steps that it consists of. null means
// that tokens are joined by spaces.
func parseDecoder(data json.RawMessage, depth int) ([]decoder, error) {
	list, _, err := appendDecoder(nil, data, depth, false)
	if err == nil && list == nil && (len(data) == 0 || string(data) == "null") {
		list = []decoder{func(*allowance) step { return &spaced{} }}
	}
	return list, err
}

// appendDecoder appends the steps of a decoder. fused says whether tokens
// come as one from the steps before, and in return after.
func appendDecoder(list []decoder, data json.RawMessage, depth int, fused bool) ([]decoder, bool, error) {
	kind, err := componentType(data, depth)
	if kind == "" || err != nil {
		return list, fused, err
	}
	var p struct {
		Decoders       []json.RawMessage
		Pattern        json.RawMessage
		Content        string
		Start, Stop    int
		Replacement    string
		PrependScheme  string `json:"prepend_scheme"`
		AddPrefixSpace *bool  `json:"add_prefix_space"`
		Prefix         *string
		Suffix         *string
		Cleanup        *bool
		PadToken       *string `json:"pad_token"`
		WordDelimiter  *string `json:"word_delimiter_token"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fused, fmt.Errorf("in %s: %w", kind, err)
	}
	yes := func(b *bool) bool { return b == nil || *b }
	or := func(s *string, byDefault string) string {
		if s == nil {
			return byDefault
		}
		return *s
	}
	var d decoder
	switch kind {
	case "Sequence":
		for _, one := range p.Decoders {
			if list, fused, err = appendDecoder(list, one, depth+1, fused); err != nil {
				return nil, fused, err
			}
		}
		if list == nil {
			list = []decoder{}
		}
		return list, fused, nil
	case "Fuse":
		if list == nil {
			list = []decoder{}
		}
		return list, true, nil
	case "Strip":
		content, size := utf8.DecodeRuneInString(p.Content)
		if size == 0 || size != len(p.Content) || p.Start < 0 || p.Stop < 0 {
			return nil, fused, fmt.Errorf("type Strip: content %q, start %d, stop %d", p.Content, p.Start, p.Stop)
		}
		if fused {
			return append(list, func(*allowance) step {
				return &stripFused{content: p.Content, start: p.Start, stop: p.Stop}
			}), fused, nil
		}
		d = each(func(token string) string {
			for i := 0; i < p.Start && strings.HasPrefix(token, string(content)); i++ {
				token = token[size:]
			}
			for i := 0; i < p.Stop && strings.HasSuffix(token, string(content)); i++ {
				token = token[:len(token)-size]
			}
			return token
		})
	case "Replace":
		found, err := parsePattern(p.Pattern)
		if err != nil {
			return nil, fused, fmt.Errorf("type Replace: %w", err)
		}
		d = func(a *allowance) step { return &replacing{pattern: found, content: p.Content, allowed: a} }
	case "ByteLevel":
		if fused {
			list = append(list, func(*allowance) step { return &gather{then: &bytesOfRunes{}} })
		} else {
			list = append(list, func(*allowance) step { return &bytesOfRunes{} })
		}
		return list, true, nil
	case "ByteFallback":
		d = func(*allowance) step { return &byteRun{} }
	case "Metaspace":
		scheme, err := newMetaspace(p.Replacement, p.PrependScheme, p.AddPrefixSpace, false)
		if err != nil {
			return nil, fused, err
		}
		prefixed := scheme.(metaspace).scheme != "never"
		d = func(*allowance) step { return &unmetaspace{replacement: p.Replacement, first: prefixed} }
	case "WordPiece":
		prefix, cleanup := or(p.Prefix, "##"), yes(p.Cleanup)
		d = func(*allowance) step { return &joinPieces{prefix: prefix, cleanup: cleanup, first: true} }
	case "BPEDecoder":
		suffix := or(p.Suffix, "</w>")
		d = func(*allowance) step { return &wordEnds{suffix: suffix} }
	case "CTC":
		pad, delimiter, cleanup := or(p.PadToken, "<pad>"), or(p.WordDelimiter, "|"), yes(p.Cleanup)
		d = func(*allowance) step { return &ctc{pad: pad, delimiter: delimiter, cleanup: cleanup} }
	default:
		return nil, fused, fmt.Errorf("the decoder %q is not known", kind)
	}
	if fused {
		inner := d
		d = func(a *allowance) step { return &gather{then: inner(a)} }
	}
	return append(list, d), fused, nil
}

// spaced joins tokens by spaces.
type spaced struct{ begun bool }

func (s *spaced) push(token string, emit func(string)) {
	if s.begun {
		emit(" ")
	}
	s.begun = true
	emit(token)
}

func (s *spaced) flush(func(string)) {}

// gather holds the pieces of a fused token back until it is complete.
type gather struct {
	text []byte
	then step
}

func (g *gather) push(piece string, _ func(string)) { g.text = append(g.text, piece...) }

func (g *gather) flush(emit func(string)) {
	g.then.push(string(g.text), emit)
	g.then.flush(emit)
}

// replacing replaces the matches of a pattern in every token. A token that
// would make the text grow beyond measure stays as it is, and so do those that
// come after searches have taken too long: there is nobody to take an error.
type replacing struct {
	pattern pattern
	content string
	allowed *allowance    // what all steps may add to all tokens
	spent   time.Duration // on searches, in all tokens
}

func (r *replacing) push(token string, emit func(string)) { emit(r.replace(token)) }
func (r *replacing) flush(func(string))                   {}

func (r *replacing) replace(token string) string {
	parts, err := r.find(token)
	size := replacedSize(parts, len(r.content))
	more := max(size-len(token), 0)
	if err != nil || more > r.allowed.left {
		return token
	}
	r.allowed.left -= more
	var out strings.Builder
	out.Grow(size)
	for _, part := range parts {
		if part.match {
			out.WriteString(r.content)
		} else {
			out.WriteString(token[part.from:part.to])
		}
	}
	return out.String()
}

func (r *replacing) find(token string) ([]part, error) {
	if _, quick := r.pattern.(literal); quick {
		return r.pattern.find(token, nil)
	}
	if r.spent > searchTime {
		return nil, errSearchTime
	}
	c := &clock{limit: searchTime - r.spent}
	defer c.stop()
	begin := time.Now()
	parts, err := r.pattern.find(token, c)
	r.spent += time.Since(begin)
	return parts, err
}

// stripFused takes characters off the ends of a fused token.
type stripFused struct {
	content     string // one character
	start, stop int    // how many may still go at either end
	held        int    // characters at the end that may have to go
}

func (s *stripFused) push(text string, emit func(string)) {
	for s.start > 0 && text != "" {
		if !strings.HasPrefix(text, s.content) {
			s.start = 0
			break
		}
		text = text[len(s.content):]
		s.start--
	}
	if text == "" {
		return
	}
	if s.stop == 0 {
		emit(text)
		return
	}
	text = strings.Repeat(s.content, s.held) + text
	s.held = 0
	for s.held < s.stop && strings.HasSuffix(text, s.content) {
		text = text[:len(text)-len(s.content)]
		s.held++
	}
	if text != "" {
		emit(text)
	}
}

func (s *stripFused) flush(func(string)) {}

// bytesOfRunes reads byte-level tokens: every character stands for a byte. A
// token with other characters in it is meant as it is written. Tokens may
// end inside of characters; what is no UTF-8 in the end becomes U+FFFD.
type bytesOfRunes struct {
	pending []byte
}

func (b *bytesOfRunes) push(token string, emit func(string)) {
	before := len(b.pending)
	for _, r := range token {
		c, ok := runeBytes[r]
		if !ok {
			b.pending = append(b.pending[:before], token...)
			break
		}
		b.pending = append(b.pending, c)
	}
	b.drain(false, emit)
}

func (b *bytesOfRunes) flush(emit func(string)) { b.drain(true, emit) }

// drain emits the pending bytes up to a character that is not complete yet,
// or with end all of them. Each longest beginning of a character that does
// not go on as it should, and each stray byte, becomes one U+FFFD (Unicode,
// section 3.9, "maximal subparts").
func (b *bytesOfRunes) drain(end bool, emit func(string)) {
	var out []byte
	rest := b.pending
	for len(rest) > 0 {
		r, size := utf8.DecodeRune(rest)
		if r != utf8.RuneError || size > 1 {
			out = append(out, rest[:size]...)
			rest = rest[size:]
			continue
		}
		if !utf8.FullRune(rest) && !end {
			break
		}
		size = 1
		for size < len(rest) && !utf8.FullRune(rest[:size+1]) {
			size++
		}
		out = append(out, "\uFFFD"...)
		rest = rest[size:]
	}
	b.pending = append(b.pending[:0], rest...)
	if len(out) > 0 {
		emit(string(out))
	}
}

// byteRun reads runs of tokens <0x00>..<0xFF>. A run that is no UTF-8 as a
// whole becomes one U+FFFD per byte, so it is held back until it ends.
type byteRun struct{ run []byte }

func (b *byteRun) push(token string, emit func(string)) {
	if len(token) == 6 && strings.HasPrefix(token, "<0x") && token[5] == '>' {
		if value, err := strconv.ParseUint(token[3:5], 16, 8); err == nil {
			b.run = append(b.run, byte(value))
			return
		}
	}
	b.flush(emit)
	emit(token)
}

func (b *byteRun) flush(emit func(string)) {
	switch {
	case len(b.run) == 0:
		return
	case utf8.Valid(b.run):
		emit(string(b.run))
	default:
		for range b.run {
			emit("\uFFFD")
		}
	}
	b.run = b.run[:0]
}

// unmetaspace writes spaces as spaces again. In the first token they stand
// for the one that was put before the text, where there was one.
type unmetaspace struct {
	replacement string
	first       bool
}

func (m *unmetaspace) push(token string, emit func(string)) {
	space := " "
	if m.first {
		space = ""
	}
	m.first = false
	emit(strings.ReplaceAll(token, m.replacement, space))
}

func (m *unmetaspace) flush(func(string)) {}

// joinPieces joins WordPiece tokens: those with the prefix to the one
// before, others after a space.
type joinPieces struct {
	prefix  string
	cleanup bool
	first   bool
}

func (j *joinPieces) push(token string, emit func(string)) {
	if !j.first {
		if rest, ok := strings.CutPrefix(token, j.prefix); ok {
			token = rest
		} else {
			token = " " + token
		}
	}
	j.first = false
	if j.cleanup {
		token = cleanUp(token)
	}
	emit(token)
}

func (j *joinPieces) flush(func(string)) {}

// cleanUp takes out the spaces before English punctuation and contractions.
func cleanUp(s string) string {
	for _, pair := range [][2]string{
		{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
		{" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
	} {
		s = strings.ReplaceAll(s, pair[0], pair[1])
	}
	return s
}

// wordEnds writes the suffix that ends a word as a space, and as nothing in
// the last token, which is held back for that.
type wordEnds struct {
	suffix string
	held   string
	begun  bool
}

func (w *wordEnds) push(token string, emit func(string)) {
	if w.begun {
		emit(strings.ReplaceAll(w.held, w.suffix, " "))
	}
	w.held, w.begun = token, true
}

func (w *wordEnds) flush(emit func(string)) {
	if w.begun {
		emit(strings.ReplaceAll(w.held, w.suffix, ""))
	}
}

// ctc drops repetitions and the padding between them.
type ctc struct {
	pad, delimiter string
	cleanup        bool
	last           string
	begun          bool
}

func (c *ctc) push(token string, emit func(string)) {
	if c.begun && token == c.last {
		return
	}
	c.last, c.begun = token, true
	token = strings.ReplaceAll(token, c.pad, "")
	if c.cleanup {
		token = strings.ReplaceAll(cleanUp(token), c.delimiter, " ")
	}
	if token != "" {
		emit(token)
	}
}

func (c *ctc) flush(func(string)) {}
