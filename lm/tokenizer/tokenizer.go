// Package tokenizer turns text into token ids and back exactly as the Hugging
// Face tokenizer of a checkpoint does, and renders its chat template.
//
// It reads tokenizer.json: byte-level and SentencePiece-style BPE, Unigram,
// WordPiece and WordLevel models with their normalizers, pre-tokenizers,
// added tokens, post-processors and decoders. A component of a type that it
// does not know is an error that names the type, never a silent guess. The
// file's truncation and padding settings are ignored: how long a prompt may
// be is its caller's decision.
package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// Tokenizer is a loaded tokenizer. It is immutable and safe for concurrent
// use.
type Tokenizer struct {
	added      *addedTokens
	normalizer normalizer // nil: none
	splitter   splitter   // nil: none
	model      model
	post       postProcessor // nil: none
	decoder    []decoder     // nil: tokens are joined by spaces

	vocab  *vocabulary
	config config
}

// Load reads tokenizer.json from a checkpoint folder and, where present,
// tokenizer_config.json, special_tokens_map.json and chat_template.jinja (or
// chat_template.json). Without tokenizer.json the error wraps fs.ErrNotExist.
func Load(fsys fs.FS) (*Tokenizer, error) {
	main, err := fs.ReadFile(fsys, "tokenizer.json")
	if err != nil {
		return nil, fmt.Errorf("read the tokenizer: %w", err)
	}
	optional := func(name string) ([]byte, error) {
		data, err := fs.ReadFile(fsys, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the tokenizer: %w", err)
		}
		return data, nil
	}
	settings, err := optional("tokenizer_config.json")
	if err != nil {
		return nil, err
	}
	t, err := Parse(main, settings)
	if err != nil {
		return nil, err
	}
	special, err := optional("special_tokens_map.json")
	if err != nil {
		return nil, err
	}
	if err := t.config.addSpecialTokens(special); err != nil {
		return nil, err
	}
	// A template in a file of its own wins over one in tokenizer_config.json,
	// as in transformers.
	for _, name := range []string{"chat_template.json", "chat_template.jinja"} {
		data, err := optional(name)
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		if name == "chat_template.jinja" {
			t.config.setTemplate(string(data))
			continue
		}
		var file struct {
			Template templates `json:"chat_template"`
		}
		if err := json.Unmarshal(data, &file); err != nil {
			return nil, fmt.Errorf("parse %s: %w", name, err)
		}
		if len(file.Template) > 0 {
			t.config.Templates = file.Template
		}
	}
	return t, nil
}

// Parse builds a tokenizer from the bytes of tokenizer.json and of
// tokenizer_config.json, which may be nil.
func Parse(tokenizerJSON, tokenizerConfigJSON []byte) (*Tokenizer, error) {
	t := &Tokenizer{}
	if err := t.parse(tokenizerJSON); err != nil {
		return nil, fmt.Errorf("parse tokenizer.json: %w", err)
	}
	if tokenizerConfigJSON != nil {
		if err := json.Unmarshal(tokenizerConfigJSON, &t.config); err != nil {
			return nil, fmt.Errorf("parse tokenizer_config.json: %w", err)
		}
	}
	return t, nil
}

// VocabSize is one more than the highest id, added tokens included, so that
// every id lies in [0, VocabSize). A checkpoint's embedding may have more
// rows.
func (t *Tokenizer) VocabSize() int { return len(t.vocab.tokens) }

// Token is the token with the given id as it is written in the vocabulary
// (such as "Ġworld" or "▁world"); false when there is none.
func (t *Tokenizer) Token(id int) (string, bool) { return t.vocab.token(id) }

// ID is the id of a token as it is written in the vocabulary; false when
// there is none.
func (t *Tokenizer) ID(token string) (int, bool) {
	id, ok := t.vocab.ids[token]
	return int(id), ok
}

// IsSpecial says whether an id is one of the special added tokens, such as
// the begin and end of the text: those that Decode can skip.
func (t *Tokenizer) IsSpecial(id int) bool { return t.vocab.isSpecial(id) }

// BOS is the id of the token that tokenizer_config.json names as the
// beginning of a sequence; false when it names none.
func (t *Tokenizer) BOS() (int, bool) { return t.ID(t.config.BOS.Content) }

// EOS is the id of the token that tokenizer_config.json names as the end of
// a sequence; false when it names none.
func (t *Tokenizer) EOS() (int, bool) { return t.ID(t.config.EOS.Content) }

// Pad is the id of the token that tokenizer_config.json names for padding;
// false when it names none.
func (t *Tokenizer) Pad() (int, bool) { return t.ID(t.config.Pad.Content) }

// Unknown is the id of the token that tokenizer_config.json names for
// unknown text; false when it names none.
func (t *Tokenizer) Unknown() (int, bool) { return t.ID(t.config.Unknown.Content) }

// vocabulary holds the tokens of the model and the added ones.
type vocabulary struct {
	ids     map[string]int32
	tokens  []string // by id; present says which are there
	present []bool
	added   []bool
	special []bool
}

func (v *vocabulary) token(id int) (string, bool) {
	if id < 0 || id >= len(v.tokens) || !v.present[id] {
		return "", false
	}
	return v.tokens[id], true
}

func (v *vocabulary) isSpecial(id int) bool {
	return id >= 0 && id < len(v.special) && v.special[id]
}

// newVocabulary lays out the tokens of ids by id.
func newVocabulary(ids map[string]int32) (*vocabulary, error) {
	v := &vocabulary{ids: ids}
	for token, id := range ids {
		if err := v.put(token, id, len(ids)); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// put records that id stands for token. The table of tokens grows to the
// highest id, so ids far beyond the number of tokens are refused.
func (v *vocabulary) put(token string, id int32, count int) error {
	if id < 0 || int(id) > 16*count+1<<16 {
		return fmt.Errorf("token %q: id %d is out of range for a vocabulary of %d tokens", token, id, count)
	}
	for need := int(id) + 1 - len(v.tokens); need > 0; need = 0 {
		v.tokens = append(v.tokens, make([]string, need)...)
		v.present = append(v.present, make([]bool, need)...)
		v.added = append(v.added, make([]bool, need)...)
		v.special = append(v.special, make([]bool, need)...)
	}
	v.tokens[id], v.present[id] = token, true
	return nil
}
