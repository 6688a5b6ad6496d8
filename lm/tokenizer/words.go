package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// parseWords reads a WordPiece or a WordLevel model.
func parseWords(kind string, data json.RawMessage, vocab *vocabulary) (model, error) {
	var file struct {
		UnkToken   *string `json:"unk_token"`
		Prefix     *string `json:"continuing_subword_prefix"`
		MaxPerWord *int    `json:"max_input_chars_per_word"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	unknown := int32(-1)
	if file.UnkToken != nil {
		if id, ok := vocab.ids[*file.UnkToken]; ok {
			unknown = id
		}
	}
	if kind == "WordLevel" {
		return wordLevel{vocab, unknown}, nil
	}
	m := wordPiece{vocab: vocab, unknown: unknown, prefix: "##", longest: 100}
	if file.Prefix != nil {
		m.prefix = *file.Prefix
	}
	if file.MaxPerWord != nil {
		m.longest = *file.MaxPerWord
	}
	for token := range vocab.ids {
		m.longestToken = max(m.longestToken, len(token))
	}
	if m.unknown < 0 {
		return nil, errors.New("the unknown token is not in the vocabulary")
	}
	if m.longest < 0 {
		return nil, fmt.Errorf("max_input_chars_per_word is %d", m.longest)
	}
	return m, nil
}

// wordLevel knows whole words only.
type wordLevel struct {
	vocab   *vocabulary
	unknown int32
}

func (m wordLevel) tokenize(tokens []piece, word string, plain bool) ([]piece, error) {
	id, ok := m.vocab.ids[word]
	if !ok || plain && m.vocab.isSpecial(int(id)) {
		if id = m.unknown; id < 0 {
			return nil, errNoUnknown
		}
	}
	return append(tokens, piece{id, 0, int32(len(word))}), nil
}

// wordPiece takes the longest token that a word begins with, again and
// again; a word that does not come out is unknown as a whole.
type wordPiece struct {
	vocab        *vocabulary
	unknown      int32
	prefix       string // of tokens that do not begin a word
	longest      int    // characters of a word; longer ones are unknown
	longestToken int    // bytes
}

func (m wordPiece) tokenize(tokens []piece, word string, plain bool) ([]piece, error) {
	whole := piece{m.unknown, 0, int32(len(word))}
	if utf8.RuneCountInString(word) > m.longest {
		return append(tokens, whole), nil
	}
	first := len(tokens)
	for from := 0; from < len(word); {
		prefix := ""
		if from > 0 {
			prefix = m.prefix
		}
		to := min(len(word), from+m.longestToken)
		id, ok := int32(0), false
		for ; to > from; to-- {
			if to < len(word) && !utf8.RuneStart(word[to]) {
				continue
			}
			id, ok = m.vocab.ids[prefix+word[from:to]]
			if ok && !(plain && m.vocab.isSpecial(int(id))) {
				break
			}
			ok = false
		}
		if !ok {
			return append(tokens[:first], whole), nil
		}
		tokens = append(tokens, piece{id, int32(from), int32(to)})
		from = to
	}
	return tokens, nil
}
