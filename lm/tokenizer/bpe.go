package tokenizer

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// bpe is byte-pair encoding: a word begins as its characters, and the pair
// of neighbours that stands first in the list of merges becomes one token
// until no pair is in the list.
type bpe struct {
	vocab        *vocabulary
	merges       map[uint64]merge // by the pair's ids, left<<32 | right
	unknown      int32            // -1: unknown characters are dropped
	fuseUnknown  bool
	bytes        *[256]int32 // ids of <0x00>..<0xFF>, -1 where absent; nil: no byte fallback
	ignoreMerges bool        // a word that is a token is that token
	prefix       string      // of characters that do not begin a word
	suffix       string      // of characters that end a word

	ascii [utf8.RuneSelf]int32 // ids of ASCII characters, -1 where absent
	// mark is SentencePiece's "▁" where no merge joins it to another
	// character before it, so that a text without a pre-tokenizer can be cut
	// before each run of it all the same; else empty.
	mark string

	cache [2]wordCache // by plain
}

// merge is a pair's place in the list of merges and the token that it gives.
type merge struct{ rank, id int32 }

func parseBPE(data, merges json.RawMessage, vocab *vocabulary) (model, error) {
	var file struct {
		Dropout      *float64
		UnkToken     *string `json:"unk_token"`
		Prefix       *string `json:"continuing_subword_prefix"`
		Suffix       *string `json:"end_of_word_suffix"`
		FuseUnknown  bool    `json:"fuse_unk"`
		ByteFallback bool    `json:"byte_fallback"`
		IgnoreMerges bool    `json:"ignore_merges"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	if file.Dropout != nil && *file.Dropout != 0 {
		return nil, fmt.Errorf("a dropout of %g makes tokens random", *file.Dropout)
	}
	m := &bpe{vocab: vocab, unknown: -1, fuseUnknown: file.FuseUnknown, ignoreMerges: file.IgnoreMerges}
	if file.Prefix != nil {
		m.prefix = *file.Prefix
	}
	if file.Suffix != nil {
		m.suffix = *file.Suffix
	}
	if file.UnkToken != nil {
		id, ok := vocab.ids[*file.UnkToken]
		if !ok {
			return nil, fmt.Errorf("the unknown token %q is not in the vocabulary", *file.UnkToken)
		}
		m.unknown = id
	}
	if file.ByteFallback {
		m.bytes = byteTokens(vocab)
	}
	for b := range m.ascii {
		m.ascii[b] = -1
		if id, ok := vocab.ids[string(rune(b))]; ok {
			m.ascii[b] = id
		}
	}
	pairs, err := parseMerges(merges)
	if err != nil {
		return nil, fmt.Errorf("merges: %w", err)
	}
	m.merges = make(map[uint64]merge, len(pairs))
	inside := false // some merge puts the mark after another character
	for rank, pair := range pairs {
		left, ok := vocab.ids[pair[0]]
		if !ok {
			return nil, fmt.Errorf("merge %d: %q is not in the vocabulary", rank, pair[0])
		}
		right, ok := vocab.ids[pair[1]]
		if !ok {
			return nil, fmt.Errorf("merge %d: %q is not in the vocabulary", rank, pair[1])
		}
		joined := pair[0] + strings.TrimPrefix(pair[1], m.prefix)
		id, ok := vocab.ids[joined]
		if !ok {
			return nil, fmt.Errorf("merge %d: %q is not in the vocabulary", rank, joined)
		}
		m.merges[uint64(left)<<32|uint64(right)] = merge{int32(rank), id}
		inside = inside || wordStart(joined, mark) > 0
	}
	_, known := vocab.ids[mark]
	if known && !inside && m.unknown >= 0 && !m.ignoreMerges && m.prefix == "" && m.suffix == "" {
		m.mark = mark
	}
	return m, nil
}

// parseMerges reads a list of "left right" or of ["left", "right"].
func parseMerges(data json.RawMessage) ([][2]string, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var lines []string
	if err := json.Unmarshal(data, &lines); err == nil {
		pairs := make([][2]string, len(lines))
		for i, line := range lines {
			left, right, ok := strings.Cut(line, " ")
			if !ok || strings.Contains(right, " ") {
				return nil, fmt.Errorf("merge %d: %q is not two tokens", i, line)
			}
			pairs[i] = [2]string{left, right}
		}
		return pairs, nil
	}
	var lists [][]string
	if err := json.Unmarshal(data, &lists); err != nil {
		return nil, err
	}
	pairs := make([][2]string, len(lists))
	for i, list := range lists {
		if len(list) != 2 {
			return nil, fmt.Errorf("merge %d: %q is not two tokens", i, list)
		}
		pairs[i] = [2]string{list[0], list[1]}
	}
	return pairs, nil
}

// byteTokens are the ids of the tokens <0x00> to <0xFF>, -1 where absent.
func byteTokens(vocab *vocabulary) *[256]int32 {
	var ids [256]int32
	for b := range ids {
		ids[b] = -1
		if id, ok := vocab.ids[fmt.Sprintf("<0x%02X>", b)]; ok {
			ids[b] = id
		}
	}
	return &ids
}

func (m *bpe) tokenize(tokens []piece, word string, plain bool) ([]piece, error) {
	if m.ignoreMerges {
		if id, ok := m.vocab.ids[word]; ok && !(plain && m.vocab.isSpecial(int(id))) {
			return append(tokens, piece{id, 0, int32(len(word))}), nil
		}
	}
	if m.mark == "" {
		return m.tokenizeWord(tokens, word, plain), nil
	}
	// The parts of such a cut do not merge with each other, nor do unknown
	// characters fuse across it, the mark being known.
	for at := 0; at < len(word); {
		end := len(word)
		if n := wordStart(word[at:], m.mark); n > 0 {
			end = at + n
		}
		first := len(tokens)
		tokens = m.tokenizeWord(tokens, word[at:end], plain)
		for i := range tokens[first:] {
			tokens[first+i].from += int32(at)
			tokens[first+i].to += int32(at)
		}
		at = end
	}
	return tokens, nil
}

// mark stands for a space in SentencePiece's vocabularies.
const mark = "▁"

// wordStart is where the first run of marks after another character begins,
// 0 when there is none.
func wordStart(s, mark string) int {
	at := 0
	for strings.HasPrefix(s[at:], mark) {
		at += len(mark)
	}
	if next := strings.Index(s[at:], mark); next > 0 {
		return at + next
	}
	return 0
}

func (m *bpe) tokenizeWord(tokens []piece, word string, plain bool) []piece {
	cache := &m.cache[0]
	if plain {
		cache = &m.cache[1]
	}
	if cached, ok := cache.get(word); ok {
		return append(tokens, cached...)
	}
	first := len(tokens)
	tokens = m.merge(m.characters(tokens, word), first, plain)
	cache.put(word, tokens[first:])
	return tokens
}

// characters appends the tokens of the single characters of word. Like the
// reference, it lays the tokens out one after the other by their lengths,
// although characters without a token are dropped, and those that are
// unknown come after byte tokens that follow them.
func (m *bpe) characters(tokens []piece, word string) []piece {
	place := int32(0)
	add := func(id int32, length int) {
		tokens = append(tokens, piece{id, place, place + int32(length)})
		place += int32(length)
	}
	unknown := 0 // length of the unknown characters that are not added yet
	flush := func() {
		if unknown > 0 {
			add(m.unknown, unknown)
			unknown = 0
		}
	}
	for from := 0; from < len(word); {
		_, size := utf8.DecodeRuneInString(word[from:])
		to := from + size
		id, ok := m.character(word, from, to)
		switch {
		case ok:
			flush()
			add(id, size)
		case m.hasBytes(word[from:to]):
			for i := from; i < to; i++ {
				add(m.bytes[word[i]], 1)
			}
		case m.unknown >= 0 && m.fuseUnknown:
			unknown += size
		case m.unknown >= 0:
			flush()
			unknown = size
		}
		from = to
	}
	flush()
	return tokens
}

// character is the id of the character word[from:to].
func (m *bpe) character(word string, from, to int) (int32, bool) {
	s := word[from:to]
	first, last := from == 0, to == len(word)
	if (first || m.prefix == "") && (!last || m.suffix == "") {
		if to-from == 1 {
			id := m.ascii[s[0]]
			return id, id >= 0
		}
		id, ok := m.vocab.ids[s]
		return id, ok
	}
	if !first {
		s = m.prefix + s
	}
	if last {
		s += m.suffix
	}
	id, ok := m.vocab.ids[s]
	return id, ok
}

func (m *bpe) hasBytes(s string) bool {
	if m.bytes == nil {
		return false
	}
	for i := range len(s) {
		if m.bytes[s[i]] < 0 {
			return false
		}
	}
	return true
}

// merge merges the tokens from first on. The neighbours form a linked list;
// the pairs that can merge wait in a heap by rank, then by place, so n
// characters take O(n log n).
func (m *bpe) merge(tokens []piece, first int, plain bool) []piece {
	word := tokens[first:]
	n := len(word)
	if n < 2 {
		return tokens
	}
	var buffer [2 * 64]int32
	links := buffer[:]
	if 2*n > len(links) {
		links = make([]int32, 2*n)
	}
	before, after := links[:n], links[n:2*n] // -1: none
	var pairs [64]candidate
	queue := heap(pairs[:0])
	push := func(at int32) {
		next := after[at]
		if next < 0 {
			return
		}
		left, right := word[at].id, word[next].id
		if found, ok := m.merges[uint64(left)<<32|uint64(right)]; ok &&
			!(plain && m.vocab.isSpecial(int(found.id))) {
			queue.push(candidate{found.rank, at, left, right, found.id})
		}
	}
	for i := range word {
		before[i], after[i] = int32(i)-1, int32(i)+1
	}
	after[n-1] = -1
	for i := range word {
		push(int32(i))
	}
	const merged = -2 // the id of a token that has gone into the one before it
	for len(queue) > 0 {
		c := queue.pop()
		next := after[c.at]
		if word[c.at].id != c.left || next < 0 || word[next].id != c.right {
			continue // one of the two has merged with another since
		}
		word[c.at].id, word[c.at].to = c.id, word[next].to
		word[next].id = merged
		after[c.at] = after[next]
		if after[next] >= 0 {
			before[after[next]] = c.at
		}
		if before[c.at] >= 0 {
			push(before[c.at])
		}
		push(c.at)
	}
	kept := tokens[:first]
	for _, token := range word {
		if token.id != merged {
			kept = append(kept, token)
		}
	}
	return kept
}

// candidate is a pair of neighbours that can merge, with the ids that it had
// when it was found.
type candidate struct {
	rank, at        int32
	left, right, id int32
}

func (c candidate) before(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.at < d.at
}

// heap is a binary heap of candidates, the first to merge on top.
type heap []candidate

func (h *heap) push(c candidate) {
	*h = append(*h, c)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !c.before(s[parent]) {
			break
		}
		s[i], s[parent] = s[parent], c
		i = parent
	}
}

func (h *heap) pop() candidate {
	s := *h
	top, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	*h = s
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(s) {
			if len(s) > 0 {
				s[i] = last
			}
			return top
		}
		if child+1 < len(s) && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(last) {
			s[i] = last
			return top
		}
		s[i] = s[child]
		i = child
	}
}

// wordCache remembers the tokens of short words, one per slot, so that its
// size is bounded and readers need no lock.
type wordCache struct {
	slots [1 << 14]atomic.Pointer[cachedWord]
}

type cachedWord struct {
	word   string
	tokens []piece
}

// cachedLength is the longest word, in bytes, that is worth remembering.
const cachedLength = 48

var cacheSeed = maphash.MakeSeed()

func (c *wordCache) slot(word string) *atomic.Pointer[cachedWord] {
	return &c.slots[maphash.String(cacheSeed, word)%uint64(len(c.slots))]
}

func (c *wordCache) get(word string) ([]piece, bool) {
	if len(word) > cachedLength {
		return nil, false
	}
	if entry := c.slot(word).Load(); entry != nil && entry.word == word {
		return entry.tokens, true
	}
	return nil, false
}

func (c *wordCache) put(word string, tokens []piece) {
	if len(word) <= cachedLength {
		c.slot(word).Store(&cachedWord{strings.Clone(word), append([]piece(nil), tokens...)})
	}
}
