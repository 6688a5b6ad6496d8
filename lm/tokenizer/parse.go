package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
)

// parse fills the tokenizer from tokenizer.json.
func (t *Tokenizer) parse(data []byte) error {
	var file struct {
		AddedTokens   []addedToken    `json:"added_tokens"`
		Normalizer    json.RawMessage `json:"normalizer"`
		PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
		Model         json.RawMessage `json:"model"`
		PostProcessor json.RawMessage `json:"post_processor"`
		Decoder       json.RawMessage `json:"decoder"`
	}
	err := json.Unmarshal(data, &file)
	if err != nil {
		return err
	}
	if t.normalizer, err = parseNormalizer(file.Normalizer, 0); err != nil {
		return fmt.Errorf("normalizer: %w", err)
	}
	if t.splitter, err = parseSplitter(file.PreTokenizer, 0); err != nil {
		return fmt.Errorf("pre_tokenizer: %w", err)
	}
	if t.post, err = parsePostProcessor(file.PostProcessor, 0); err != nil {
		return fmt.Errorf("post_processor: %w", err)
	}
	if t.decoder, err = parseDecoder(file.Decoder, 0); err != nil {
		return fmt.Errorf("decoder: %w", err)
	}
	if t.model, t.vocab, err = parseModel(file.Model); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if t.added, err = newAddedTokens(file.AddedTokens, t.vocab, t.normalizer); err != nil {
		return fmt.Errorf("added_tokens: %w", err)
	}
	return nil
}

// componentType is the type of a component, empty for a component that is
// null or absent. Components nest in sequences, but not without end.
func componentType(data json.RawMessage, depth int) (string, error) {
	if len(data) == 0 || string(data) == "null" {
		return "", nil
	}
	if depth > 20 {
		return "", errors.New("sequences are nested more than 20 deep")
	}
	var head struct{ Type string }
	if err := json.Unmarshal(data, &head); err != nil {
		return "", err
	}
	if head.Type == "" {
		return "", fmt.Errorf("a component without a type: %.80s", data)
	}
	return head.Type, nil
}

// model turns a piece of text into tokens.
type model interface {
	// tokenize appends the tokens of word to tokens. With plain, text that
	// looks like a special token does not become one.
	tokenize(tokens []piece, word string, plain bool) ([]piece, error)
}

// piece is a token for the bytes [from, to) of a word.
type piece struct {
	id       int32
	from, to int32
}

// parseModel reads the model and its vocabulary.
func parseModel(data json.RawMessage) (model, *vocabulary, error) {
	var head struct {
		Type       string
		Vocab      json.RawMessage
		Merges     json.RawMessage
		MaxPerWord *int `json:"max_input_chars_per_word"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, nil, err
	}
	if head.Type == "" { // files of old versions
		switch {
		case head.Merges != nil:
			head.Type = "BPE"
		case len(head.Vocab) > 0 && head.Vocab[0] == '[':
			head.Type = "Unigram"
		case head.MaxPerWord != nil:
			head.Type = "WordPiece"
		default:
			head.Type = "WordLevel"
		}
	}
	if head.Type == "Unigram" {
		return parseUnigram(data)
	}
	var ids map[string]int32
	if err := json.Unmarshal(head.Vocab, &ids); err != nil {
		return nil, nil, fmt.Errorf("vocab: %w", err)
	}
	vocab, err := newVocabulary(ids)
	if err != nil {
		return nil, nil, err
	}
	var m model
	switch head.Type {
	case "BPE":
		m, err = parseBPE(data, head.Merges, vocab)
	case "WordPiece", "WordLevel":
		m, err = parseWords(head.Type, data, vocab)
	default:
		err = fmt.Errorf("the model %q is not known", head.Type)
	}
	return m, vocab, err
}
