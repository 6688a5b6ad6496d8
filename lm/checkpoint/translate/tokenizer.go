package translate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Kinds of tokens, as tokenizer.ggml.token_type numbers them.
const (
	normalToken  = 1
	unknownToken = 2
	controlToken = 3
	userToken    = 4
	unusedToken  = 5
	byteToken    = 6
)

// vocabulary is what the metadata says of the tokenizer.
type vocabulary struct {
	tokens []string
	kinds  []int64   // of each token; nil: all normal
	scores []float64 // of each token, the higher the earlier merged; nil: none
	merges []string
}

// tokenizer puts tokenizer.json and tokenizer_config.json into files, where the
// metadata holds a vocabulary.
func (t *translation) tokenizer(files map[string][]byte) error {
	get := func(key string) any { return t.file.Value("tokenizer.ggml." + key) }
	kind, _ := get("model").(string)
	if kind == "" || kind == "none" || kind == "no_vocab" {
		return nil
	}
	var v vocabulary
	v.tokens, _ = get("tokens").([]string)
	v.merges, _ = get("merges").([]string)
	v.scores, _ = get("scores").([]float64)
	switch kinds := get("token_type").(type) {
	case []int64:
		v.kinds = kinds
	case []uint64:
		for _, k := range kinds {
			v.kinds = append(v.kinds, int64(min(k, 1<<31)))
		}
	}
	n := len(v.tokens)
	if n == 0 || v.kinds != nil && len(v.kinds) != n || v.scores != nil && len(v.scores) != n {
		return fmt.Errorf("metadata tokenizer.ggml: %d tokens, %d types and %d scores", n, len(v.kinds), len(v.scores))
	}
	// Tokens that the metadata names by their ids; "" where it does not.
	token := func(key string) string {
		if id, ok := get(key).(uint64); ok && id < uint64(n) {
			return v.tokens[id]
		}
		return ""
	}
	var parsed object
	var addBOS bool
	var err error
	switch kind {
	case "gpt2":
		pre := text(get("pre"))
		if pre == "" || pre == "default" { // files from before the key was there
			pre = t.arch.words
		}
		parsed, addBOS, err = v.byteLevel(pre)
	case "llama":
		prefix, ok := get("add_space_prefix").(bool)
		addBOS = true
		parsed, err = v.sentencePiece(prefix || !ok, token("unknown_token_id"))
	default:
		err = fmt.Errorf("metadata tokenizer.ggml.model is %q, which is not supported; known are gpt2 and llama", kind)
	}
	if err != nil {
		return err
	}
	if add, ok := get("add_bos_token").(bool); ok {
		addBOS = add
	}
	addEOS, _ := get("add_eos_token").(bool)
	parsed["post_processor"] = v.around(addBOS, token("bos_token_id"), addEOS, token("eos_token_id"), get)
	parsed["added_tokens"] = v.added(kind == "llama")
	config := object{}
	for field, key := range map[string]string{
		"bos_token": "bos_token_id", "eos_token": "eos_token_id", "unk_token": "unknown_token_id", "pad_token": "padding_token_id",
	} {
		if s := token(key); s != "" {
			config[field] = s
		}
	}
	if template := text(t.file.Value("tokenizer.chat_template")); template != "" {
		config["chat_template"] = template
	}
	for name, content := range map[string]object{"tokenizer.json": parsed, "tokenizer_config.json": config} {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(content); err != nil {
			return fmt.Errorf("metadata tokenizer.ggml: %w", err)
		}
		files[name] = out.Bytes()
	}
	return nil
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

func (v *vocabulary) kind(id int) int64 {
	if v.kinds == nil {
		return normalToken
	}
	return v.kinds[id]
}

// ids returns the tokens that text can become, without those that only fill up
// the table. Of a token that comes twice the first counts.
func (v *vocabulary) ids() map[string]int {
	ids := make(map[string]int, len(v.tokens))
	for id, token := range v.tokens {
		if _, twice := ids[token]; !twice && v.kind(id) != unusedToken && utf8.ValidString(token) {
			ids[token] = id
		}
	}
	return ids
}

// added lists the tokens that are found in a text before it is cut into words.
func (v *vocabulary) added(unknown bool) []object {
	out := []object{}
	for id, token := range v.tokens {
		kind := v.kind(id)
		special := kind == controlToken || unknown && kind == unknownToken
		if (special || kind == userToken) && token != "" && utf8.ValidString(token) {
			out = append(out, object{
				"id": id, "content": token, "special": special,
				"single_word": false, "lstrip": false, "rstrip": false,
				"normalized": kind == userToken && strings.Contains(token, mark),
			})
		}
	}
	return out
}

// around puts the beginning and the end of a text around it.
func (v *vocabulary) around(begin bool, bos string, end bool, eos string, get func(string) any) any {
	single := []object{{"Sequence": object{"id": "A", "type_id": 0}}}
	specials := object{}
	special := func(token, key string) object {
		specials[token] = object{"id": token, "ids": []any{get(key)}, "tokens": []string{token}}
		return object{"SpecialToken": object{"id": token, "type_id": 0}}
	}
	if begin && bos != "" {
		single = slices.Insert(single, 0, special(bos, "bos_token_id"))
	}
	if end && eos != "" {
		single = append(single, special(eos, "eos_token_id"))
	}
	if len(specials) == 0 {
		return nil
	}
	return object{"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": specials}
}

// byteLevel is the tokenizer of a vocabulary whose tokens are bytes written as
// visible characters, merged in the order of a list.
func (v *vocabulary) byteLevel(pre string) (parsed object, addBOS bool, err error) {
	words, ok := cuts[pre]
	if !ok {
		return nil, false, fmt.Errorf("metadata tokenizer.ggml.pre is %q, which is not supported; known are %s", pre, strings.Join(slices.Sorted(maps.Keys(cuts)), ", "))
	}
	return object{
		"normalizer":    words.normalizer,
		"pre_tokenizer": object{"type": "Sequence", "pretokenizers": words.steps},
		"decoder":       object{"type": "ByteLevel"},
		"model": object{
			"type": "BPE", "vocab": v.ids(), "merges": nonNil(v.merges), "ignore_merges": words.ignoreMerges,
			"byte_fallback": false, "fuse_unk": false,
		},
	}, words.addBOS, nil
}

// mark is SentencePiece's sign for a space.
const mark = "▁"

// sentencePiece is the tokenizer of a vocabulary whose tokens are merged by
// their scores, and whose other characters fall back to bytes. Where prefix is
// set a text begins with a space.
func (v *vocabulary) sentencePiece(prefix bool, unknown string) (object, error) {
	ids := v.ids()
	merges, err := v.mergesByScore(ids)
	if err != nil {
		return nil, err
	}
	model := object{
		"type": "BPE", "vocab": ids, "merges": merges,
		"byte_fallback": true, "fuse_unk": true, "ignore_merges": false,
	}
	if _, ok := ids[unknown]; ok {
		model["unk_token"] = unknown
	}
	normalizers := []object{{"type": "Replace", "pattern": object{"String": " "}, "content": mark}}
	decoders := []object{
		{"type": "Replace", "pattern": object{"String": mark}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
	}
	if prefix {
		normalizers = slices.Insert(normalizers, 0, object{"type": "Prepend", "prepend": mark})
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	return object{
		"normalizer": object{"type": "Sequence", "normalizers": normalizers},
		"decoder":    object{"type": "Sequence", "decoders": decoders},
		"model":      model,
	}, nil
}

// mergesByScore lists every way in which two tokens make a third, in the order
// of the third's score: that is how SentencePiece's merging by score becomes a
// list of merges.
func (v *vocabulary) mergesByScore(ids map[string]int) ([][2]string, error) {
	type way struct {
		score           float64
		id              int
		left, right     string
		leftID, rightID int
	}
	var ways []way
	merges := func(id int) bool { return v.kind(id) == normalToken || v.kind(id) == userToken }
	for id, token := range v.tokens {
		if !merges(id) || ids[token] != id || !utf8.ValidString(token) {
			continue
		}
		var score float64
		if v.scores != nil {
			score = v.scores[id]
		}
		for at := range token {
			left, ok := ids[token[:at]]
			right, also := ids[token[at:]]
			if len(ways) == maxWays {
				return nil, fmt.Errorf("metadata tokenizer.ggml.tokens: their tokens make each other in more than %d ways", maxWays)
			}
			if ok && also && merges(left) && merges(right) {
				ways = append(ways, way{score, id, token[:at], token[at:], left, right})
			}
		}
	}
	slices.SortFunc(ways, func(a, b way) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id), cmp.Compare(a.leftID, b.leftID), cmp.Compare(a.rightID, b.rightID))
	})
	out := make([][2]string, len(ways))
	for i, w := range ways {
		out[i] = [2]string{w.left, w.right}
	}
	return out, nil
}

// maxWays bounds what a vocabulary can make us hold; one of 256,000 tokens has
// some 600,000.
const maxWays = 1 << 24

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
