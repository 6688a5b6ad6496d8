package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// unigram cuts a word into the tokens whose scores (log probabilities) have
// the largest sum, found by dynamic programming (Kudo 2018, section 3).
type unigram struct {
	vocab   *vocabulary
	scores  []float64 // by id
	trie    trie
	unknown int32       // -1: text without tokens is an error
	bytes   *[256]int32 // as in bpe
	penalty float64     // the score of an unknown character
}

// unknownPenalty is how much worse than the worst token an unknown character
// is: SentencePiece's kUnkPenalty.
const unknownPenalty = 10

func parseUnigram(data json.RawMessage) (model, *vocabulary, error) {
	var file struct {
		Vocab        []json.RawMessage
		UnkID        *int `json:"unk_id"`
		ByteFallback bool `json:"byte_fallback"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, nil, err
	}
	m := &unigram{unknown: -1}
	ids := make(map[string]int32, len(file.Vocab))
	worst := math.Inf(1)
	for id, entry := range file.Vocab {
		var token string
		var score float64
		if err := json.Unmarshal(entry, &[]any{&token, &score}); err != nil {
			return nil, nil, fmt.Errorf("vocab: entry %d: %w", id, err)
		}
		ids[token] = int32(id)
		m.scores = append(m.scores, score)
		m.trie.add(token, int32(id))
		worst = min(worst, score)
	}
	m.penalty = worst - unknownPenalty
	vocab, err := newVocabulary(ids)
	if err != nil {
		return nil, nil, err
	}
	for id, entry := range file.Vocab { // tokens that occur twice have two ids
		var token string
		if err := json.Unmarshal(entry, &[]any{&token}); err == nil {
			if err := vocab.put(token, int32(id), len(file.Vocab)); err != nil {
				return nil, nil, err
			}
		}
	}
	if file.UnkID != nil {
		if *file.UnkID < 0 || *file.UnkID >= len(file.Vocab) {
			return nil, nil, fmt.Errorf("the unk_id %d is not in the vocabulary of %d tokens", *file.UnkID, len(file.Vocab))
		}
		m.unknown = int32(*file.UnkID)
	}
	if file.ByteFallback {
		m.bytes = byteTokens(vocab)
	}
	m.vocab = vocab
	return m, vocab, nil
}

var errNoUnknown = errors.New("the model has no token for it and no unknown token")

func (m *unigram) tokenize(tokens []piece, word string, plain bool) ([]piece, error) {
	// best[i] is the best way to cut word[:i]: its last token and the score.
	type path struct {
		score float64
		from  int32
		id    int32
	}
	best := make([]path, len(word)+1)
	for i := range best {
		best[i].from = -1
	}
	reach := func(from, to int, id int32, score float64) {
		if p := &best[to]; p.from < 0 || score > p.score {
			*p = path{score, int32(from), id}
		}
	}
	for from := 0; from < len(word); {
		_, size := utf8.DecodeRuneInString(word[from:])
		base := best[from].score
		single := false // whether the character by itself is a token
		for node, to := int32(0), from; to < len(word); {
			node = m.trie.next(node, word[to])
			if node < 0 {
				break
			}
			to++
			if id := m.trie.value(node); id >= 0 && !(plain && m.vocab.isSpecial(int(id))) {
				reach(from, to, id, base+m.scores[id])
				single = single || to-from == size
			}
		}
		if !single {
			if m.unknown < 0 {
				return nil, errNoUnknown
			}
			reach(from, from+size, m.unknown, base+m.penalty)
		}
		from += size
	}

	// Walk back, joining neighbours that are unknown.
	var backwards []piece
	for to := len(word); to > 0; {
		p := best[to]
		if n := len(backwards); n > 0 && p.id == m.unknown && backwards[n-1].id == m.unknown {
			backwards[n-1].from = p.from
		} else {
			backwards = append(backwards, piece{p.id, p.from, int32(to)})
		}
		to = int(p.from)
	}
	for i := len(backwards) - 1; i >= 0; i-- {
		token := backwards[i]
		if token.id == m.unknown {
			tokens = m.spell(tokens, token, word[token.from:token.to], plain)
		} else {
			tokens = append(tokens, token)
		}
	}
	return tokens, nil
}

// spell appends what becomes of an unknown stretch: the token that it
// happens to be as a whole, its bytes where the model has tokens for them,
// or the unknown token.
func (m *unigram) spell(tokens []piece, unknown piece, s string, plain bool) []piece {
	if id, ok := m.vocab.ids[s]; ok && !(plain && m.vocab.isSpecial(int(id))) {
		unknown.id = id
		return append(tokens, unknown)
	}
	if m.bytes == nil {
		return append(tokens, unknown)
	}
	for i := range len(s) {
		if m.bytes[s[i]] < 0 {
			return append(tokens, unknown)
		}
	}
	for i := range len(s) {
		tokens = append(tokens, piece{m.bytes[s[i]], unknown.from, unknown.to})
	}
	return tokens
}
