package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// postProcessor finishes an encoding of text. With special, it adds special
// tokens.
type postProcessor interface {
	process(e *Encoding, text string, vocab *vocabulary, special bool)
}

type postProcessors []postProcessor

func (list postProcessors) process(e *Encoding, text string, vocab *vocabulary, special bool) {
	for _, p := range list {
		p.process(e, text, vocab, special)
	}
}

// parsePostProcessor reads a post-processor; null is none.
func parsePostProcessor(data json.RawMessage, depth int) (postProcessor, error) {
	kind, err := componentType(data, depth)
	if kind == "" || err != nil {
		return nil, err
	}
	var p struct {
		Processors     []json.RawMessage
		AddPrefixSpace *bool `json:"add_prefix_space"`
		TrimOffsets    *bool `json:"trim_offsets"`
		Single         []struct {
			SpecialToken *struct{ ID string }
			Sequence     *struct{ ID string }
		}
		SpecialTokens map[string]struct{ IDs []int } `json:"special_tokens"`
		Sep, Cls      json.RawMessage
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("in %s: %w", kind, err)
	}
	yes := func(b *bool) bool { return b == nil || *b }
	switch kind {
	case "Sequence":
		var list postProcessors
		for _, one := range p.Processors {
			processor, err := parsePostProcessor(one, depth+1)
			if err != nil {
				return nil, err
			}
			if processor != nil {
				list = append(list, processor)
			}
		}
		return list, nil
	case "ByteLevel":
		if !yes(p.TrimOffsets) {
			return postProcessors{}, nil
		}
		return trimOffsets{yes(p.AddPrefixSpace)}, nil
	case "TemplateProcessing":
		var t template
		sequences := 0
		for _, part := range p.Single {
			switch {
			case part.SpecialToken != nil:
				token, ok := p.SpecialTokens[part.SpecialToken.ID]
				if !ok {
					return nil, fmt.Errorf("in TemplateProcessing: the token %q is not among its special_tokens", part.SpecialToken.ID)
				}
				if sequences == 0 {
					t.before = append(t.before, token.IDs...)
				} else {
					t.after = append(t.after, token.IDs...)
				}
			case part.Sequence != nil:
				sequences++
			}
		}
		if sequences != 1 {
			return nil, fmt.Errorf("in TemplateProcessing: the text stands %d times in the template", sequences)
		}
		return t, nil
	case "BertProcessing", "RobertaProcessing":
		cls, err := parseTokenPair(p.Cls)
		if err != nil {
			return nil, fmt.Errorf("in %s: cls: %w", kind, err)
		}
		sep, err := parseTokenPair(p.Sep)
		if err != nil {
			return nil, fmt.Errorf("in %s: sep: %w", kind, err)
		}
		around := template{[]int{cls}, []int{sep}}
		if kind == "RobertaProcessing" && yes(p.TrimOffsets) {
			return postProcessors{trimOffsets{yes(p.AddPrefixSpace)}, around}, nil
		}
		return around, nil
	}
	return nil, fmt.Errorf("the post-processor %q is not known", kind)
}

// parseTokenPair is the id of ["token", id].
func parseTokenPair(data json.RawMessage) (int, error) {
	var token string
	id := -1
	if err := json.Unmarshal(data, &[]any{&token, &id}); err != nil {
		return 0, err
	}
	if id < 0 {
		return 0, errors.New("no id")
	}
	return id, nil
}

// template puts special tokens around a sequence.
type template struct{ before, after []int }

func (t template) process(e *Encoding, _ string, _ *vocabulary, special bool) {
	if !special || len(t.before)+len(t.after) == 0 {
		return
	}
	var around Encoding
	add := func(ids []int) {
		for _, id := range ids {
			around.IDs = append(around.IDs, id)
			around.Offsets = append(around.Offsets, [2]int{})
			around.Special = append(around.Special, true)
		}
	}
	add(t.before)
	around.IDs = append(around.IDs, e.IDs...)
	around.Offsets = append(around.Offsets, e.Offsets...)
	around.Special = append(around.Special, e.Special...)
	add(t.after)
	*e = around
}

// trimOffsets takes the white space at the ends of tokens out of their
// offsets. With prefixSpace, a single space that begins the first token is
// taken to be the one that was put before the text, which is in no offsets.
type trimOffsets struct{ prefixSpace bool }

func (t trimOffsets) process(e *Encoding, text string, vocab *vocabulary, _ bool) {
	space := func(r rune) bool { return r == byteRunes[' '] || unicode.IsSpace(r) }
	for i, id := range e.IDs {
		from, to := e.Offsets[i][0], e.Offsets[i][1]
		token, _ := vocab.token(id)
		if vocab.added[id] { // may have taken in white space beside it
			token = text[from:to]
		}
		leading, trailing := 0, 0
		for _, r := range token {
			if !space(r) {
				break
			}
			leading++
		}
		for rest := token; rest != ""; trailing++ {
			r, size := utf8.DecodeLastRuneInString(rest)
			if !space(r) {
				break
			}
			rest = rest[:len(rest)-size]
		}
		if leading == 1 && t.prefixSpace && (i == 0 || from == 0) {
			leading = 0
		}
		for ; leading > 0 && from < to; leading-- {
			_, size := utf8.DecodeRuneInString(text[from:to])
			from += size
		}
		for ; trailing > 0 && from < to; trailing-- {
			_, size := utf8.DecodeLastRuneInString(text[from:to])
			to -= size
		}
		e.Offsets[i] = [2]int{from, to}
	}
}
