package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token beside the model's own: its text is found before
// the model sees it.
type addedToken struct {
	ID         int32
	Content    string
	SingleWord bool `json:"single_word"` // only where no word goes on at either side
	Lstrip     bool // takes in the white space before it
	Rstrip     bool // takes in the white space after it
	Normalized bool // is looked for in the normalized text
	Special    bool
}

// addedTokens finds added tokens: those with Normalized in the normalized
// text, the others before.
type addedTokens struct {
	tokens          []addedToken
	raw, normalized trie // values index tokens
}

func newAddedTokens(tokens []addedToken, vocab *vocabulary, n normalizer) (*addedTokens, error) {
	a := &addedTokens{}
	count := len(vocab.ids) + len(tokens)
	// Like the reference, this numbers the tokens that the model lacks in
	// their order from the end of its vocabulary on and disregards the ids
	// that the file gives them.
	following := int32(len(vocab.ids))
	length := 0
	for _, token := range tokens {
		length += len(token.Content)
	}
	allowed := newAllowance(length) // for all together
	defer allowed.clock.stop()
	for _, token := range tokens {
		if token.Content == "" {
			continue
		}
		if id, ok := vocab.ids[token.Content]; ok {
			token.ID = id
			following = max(following, id+1)
		} else {
			token.ID = following
			following++
		}
		if err := vocab.put(token.Content, token.ID, count); err != nil {
			return nil, err
		}
		vocab.ids[token.Content] = token.ID
		vocab.added[token.ID] = true
		vocab.special[token.ID] = vocab.special[token.ID] || token.Special
		index := int32(len(a.tokens))
		a.tokens = append(a.tokens, token)
		if !token.Normalized {
			a.raw.add(token.Content, index)
			continue
		}
		content := newText(token.Content)
		if n != nil {
			var err error
			if content, err = n.normalize(content, allowed.stage()); err == nil {
				err = allowed.take(len(content.s))
			}
			if err != nil {
				return nil, fmt.Errorf("normalize %.80q: %w", token.Content, err)
			}
		}
		a.normalized.add(content.s, index)
	}
	return a, nil
}

// segment is a stretch of text, or an added token (id >= 0) in it.
type segment struct {
	text text
	id   int32
}

// cut appends the segments of t, none of them empty. With plain, special
// tokens are not looked for.
func (a *addedTokens) cut(segments []segment, t text, in *trie, plain bool) []segment {
	done := 0
	emit := func(to int) {
		if to > done {
			segments = append(segments, segment{t.slice(done, to), -1})
			done = to
		}
	}
	for at := 0; at < len(t.s); {
		if in.first[t.s[at]] == 0 {
			at++
			continue
		}
		index, length := in.longest(t.s[at:])
		if index < 0 {
			at++
			continue
		}
		token := a.tokens[index]
		from, to := at, at+length
		at = to
		if plain && token.Special || token.SingleWord && !standsAlone(t.s, from, to) || from < done {
			continue
		}
		if token.Lstrip {
			from = max(done, len(strings.TrimRightFunc(t.s[:from], unicode.IsSpace)))
		}
		if token.Rstrip {
			to = len(t.s) - len(strings.TrimLeftFunc(t.s[to:], unicode.IsSpace))
		}
		emit(from)
		segments = append(segments, segment{t.slice(from, to), token.ID})
		done = to
	}
	emit(len(t.s))
	return segments
}

// standsAlone says whether no word goes on at either side of s[from:to].
func standsAlone(s string, from, to int) bool {
	before, size := utf8.DecodeLastRuneInString(s[:from])
	if size > 0 && isWord(before) {
		return false
	}
	after, size := utf8.DecodeRuneInString(s[to:])
	return size == 0 || !isWord(after)
}
