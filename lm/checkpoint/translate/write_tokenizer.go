package translate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// maxTokenizer bounds the files of a tokenizer, in bytes.
const maxTokenizer = 128 << 20

// tokenizerFile is what is read of a tokenizer.json.
type tokenizerFile struct {
	Model struct {
		Type         string
		Vocab        json.RawMessage // of BPE token to id
		Merges       []json.RawMessage
		ByteFallback bool   `json:"byte_fallback"`
		IgnoreMerges bool   `json:"ignore_merges"`
		Unknown      string `json:"unk_token"`
	}
	Added []struct {
		ID      int
		Content string
		Special bool
	} `json:"added_tokens"`
	Normalizer any
	Cut        any `json:"pre_tokenizer"`
	Post       any `json:"post_processor"`
}

// readJSON reads a JSON file of the checkpoint, and says whether there is one.
func (w *writing) readJSON(name string, into any) bool {
	data, ok := w.read(name)
	if ok {
		if err := json.Unmarshal(data, into); err != nil {
			w.fail("%s: %w", name, err)
		}
	}
	return ok
}

func (w *writing) read(name string) ([]byte, bool) {
	f, err := w.from.FS().Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	if err != nil {
		w.fail("%s: %w", name, err)
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTokenizer+1))
	if err != nil || len(data) > maxTokenizer {
		w.fail("%s: it is longer than %d bytes, or cannot be read: %v", name, maxTokenizer, err)
		return nil, false
	}
	return data, true
}

// tokenizer writes the vocabulary, the special tokens and the chat template.
func (w *writing) tokenizer() {
	var parsed tokenizerFile
	config := object{}
	if !w.readJSON("tokenizer.json", &parsed) {
		w.fail("there is no tokenizer.json, of which the vocabulary would be made")
	}
	w.readJSON("tokenizer_config.json", &config)
	if w.err != nil {
		return
	}
	ids := map[string]int{}
	if parsed.Model.Type != "BPE" && parsed.Model.Type != "" || json.Unmarshal(parsed.Model.Vocab, &ids) != nil {
		w.fail("tokenizer.json: a vocabulary of type %q is not written as GGUF; of type BPE it is", parsed.Model.Type)
		return
	}
	if v, ok := w.vocabulary(&parsed, ids); ok {
		w.file.Set("tokenizer.ggml.tokens", v.tokens)
		kinds := make([]int32, len(v.kinds))
		for i, k := range v.kinds {
			kinds[i] = int32(k)
		}
		w.file.Set("tokenizer.ggml.token_type", kinds)
		if sentencePieces(&parsed) {
			w.pieces(&parsed, v, ids)
		} else {
			w.words(&parsed, v)
		}
	}
	w.specials(&parsed, config, ids)
	template := text(config["chat_template"])
	if list, ok := config["chat_template"].([]any); ok { // several, each with its name
		for _, one := range list {
			if named, ok := one.(object); ok && (template == "" || named["name"] == "default") {
				template = text(named["template"])
			}
		}
	}
	if own, ok := w.read("chat_template.jinja"); ok {
		template = string(own)
	}
	if template != "" {
		w.file.Set("tokenizer.chat_template", template)
	}
}

// vocabulary lists the tokens by their ids, as many as the embedding has rows.
func (w *writing) vocabulary(parsed *tokenizerFile, ids map[string]int) (*vocabulary, bool) {
	count := 0
	for _, t := range w.made {
		if t.Name == "token_embd.weight" && len(t.Shape) == 2 {
			count = t.Shape[0]
		}
	}
	within := func(token string, id int) bool {
		if id < 0 || id >= count {
			w.fail("tokenizer.json: token %.80q has id %d; the embedding has %d rows", token, id, count)
		}
		return w.err == nil
	}
	for token, id := range ids {
		if !within(token, id) {
			return nil, false
		}
	}
	for _, a := range parsed.Added {
		if ids[a.Content] = a.ID; !within(a.Content, a.ID) {
			return nil, false
		}
	}
	v := &vocabulary{tokens: make([]string, count), kinds: make([]int64, count)}
	for id := range v.tokens {
		v.tokens[id], v.kinds[id] = fmt.Sprintf("[PAD%d]", id), unusedToken
	}
	for token, id := range ids {
		v.tokens[id], v.kinds[id] = token, normalToken
		if parsed.Model.ByteFallback && strings.HasPrefix(token, "<0x") && len(token) == 6 {
			v.kinds[id] = byteToken
		}
	}
	for _, a := range parsed.Added {
		if v.kinds[a.ID] = userToken; a.Special {
			v.kinds[a.ID] = controlToken
		}
	}
	for rank, raw := range parsed.Model.Merges {
		var pair [2]string
		if json.Unmarshal(raw, &pair) != nil {
			var joined string
			if err := json.Unmarshal(raw, &joined); err != nil {
				w.fail("tokenizer.json: merge %d: %w", rank, err)
				return nil, false
			}
			pair[0], pair[1], _ = strings.Cut(joined, " ")
		}
		v.merges = append(v.merges, pair[0]+" "+pair[1])
	}
	return v, true
}

// sentencePieces reports whether a vocabulary is one of SentencePiece, whose tokens
// write a space as its mark.
func sentencePieces(parsed *tokenizerFile) bool {
	return parsed.Model.ByteFallback || strings.Contains(encoded(parsed.Normalizer), mark)
}

// pieces writes what is SentencePiece's: the earlier a merge, the higher the score of
// what it makes.
func (w *writing) pieces(parsed *tokenizerFile, v *vocabulary, ids map[string]int) {
	const none = -1e4
	scores := make([]float32, len(v.tokens))
	for i := range scores {
		scores[i] = none
	}
	for rank, merge := range v.merges {
		left, right, _ := strings.Cut(merge, " ")
		if id, ok := ids[left+right]; ok && scores[id] == none {
			scores[id] = -float32(rank)
		}
	}
	if id, ok := ids[parsed.Model.Unknown]; ok && parsed.Model.Unknown != "" {
		kinds, _ := w.file.Value("tokenizer.ggml.token_type").([]int32)
		kinds[id] = unknownToken
	}
	w.file.Set("tokenizer.ggml.model", "llama")
	w.file.Set("tokenizer.ggml.scores", scores)
	prefix := strings.Contains(encoded(parsed.Normalizer), `"Prepend"`)
	for _, step := range steps(parsed.Cut) {
		prefix = prefix || step["type"] == "Metaspace" && step["prepend_scheme"] != "never" && step["add_prefix_space"] != false
	}
	w.file.Set("tokenizer.ggml.add_space_prefix", prefix)
}

// words writes what is of a vocabulary of bytes, and the name of how it cuts words:
// the architecture's own where that means the same, else the first that does.
func (w *writing) words(parsed *tokenizerFile, v *vocabulary) {
	normalizer, own := steps(parsed.Normalizer), steps(parsed.Cut)
	same := func(name string) bool {
		c, ok := cuts[name]
		return ok && c.ignoreMerges == parsed.Model.IgnoreMerges && slices.Equal(spelled(steps(c.normalizer)), spelled(normalizer)) &&
			slices.Equal(spelled(steps(c.steps)), spelled(own))
	}
	names := append([]string{w.arch.words, "gpt-2", "llama-bpe", "qwen2"}, slices.Sorted(maps.Keys(cuts))...)
	i := slices.IndexFunc(names, same)
	if i < 0 {
		w.fail("tokenizer.json cuts words, or prepares them, in a way that GGUF has no name for: %.300s, %.300s", spelled(own), spelled(normalizer))
		return
	}
	w.file.Set("tokenizer.ggml.model", "gpt2")
	w.file.Set("tokenizer.ggml.pre", names[i])
	w.file.Set("tokenizer.ggml.merges", nonNil(v.merges))
}

// steps lists the parts of a tokenizer.json's sequence, or the one that there is.
func steps(of any) (all []object) {
	switch of := of.(type) {
	case object:
		for _, key := range []string{"pretokenizers", "normalizers", "processors"} {
			if inner, ok := of[key]; ok {
				return steps(inner)
			}
		}
		return []object{of}
	case []any:
		for _, one := range of {
			all = append(all, steps(one)...)
		}
	}
	return all
}

// spelled writes steps such that equal ones are equal: what they leave out as it is
// then, and without what does not change words.
func spelled(all []object) (out []string) {
	for _, step := range all {
		step = maps.Clone(step)
		delete(step, "trim_offsets")
		if step["type"] == "ByteLevel" {
			for key, usual := range map[string]any{"use_regex": true, "add_prefix_space": true} {
				if _, ok := step[key]; !ok {
					step[key] = usual
				}
			}
		}
		out = append(out, encoded(step))
	}
	return out
}

// specials writes the ids of the tokens that begin and end texts and turns.
func (w *writing) specials(parsed *tokenizerFile, config object, ids map[string]int) {
	named := func(key string) (token string, id uint32, ok bool) {
		switch value := config[key].(type) {
		case string:
			token = value
		case object:
			token = text(value["content"])
		}
		n, ok := ids[token]
		return token, uint32(n), ok && token != ""
	}
	ends, err := w.from.EndTokens()
	if err != nil {
		w.fail("%w", err)
	}
	if len(ends) > 3 {
		w.fail("%d tokens end a text; the format has room for three", len(ends))
	}
	if w.err != nil {
		return
	}
	// That of the tokenizer comes first, if it is one.
	endToken, id, ok := named("eos_token")
	if at := slices.Index(ends, int(id)); ok && at >= 0 {
		ends = append([]int{int(id)}, slices.Delete(slices.Clone(ends), at, at+1)...)
	} else if ok && len(ends) == 0 {
		ends = []int{int(id)}
	}
	for i, end := range ends {
		w.file.Set("tokenizer.ggml."+[]string{"eos", "eot", "eom"}[i]+"_token_id", uint32(end))
	}
	for _, special := range []struct{ key, name string }{{"bos_token", "bos"}, {"unk_token", "unknown"}, {"pad_token", "padding"}} {
		if _, id, ok := named(special.key); ok {
			w.file.Set("tokenizer.ggml."+special.name+"_token_id", id)
		}
	}
	begin, _, begins := named("bos_token")
	w.file.Set("tokenizer.ggml.add_bos_token", begins && around(parsed.Post, begin))
	w.file.Set("tokenizer.ggml.add_eos_token", len(ends) > 0 && around(parsed.Post, endToken))
}

// around reports whether a token is put before or behind every text.
func around(post any, token string) bool {
	for _, step := range steps(post) {
		single, _ := step["single"].([]any)
		for _, one := range single {
			part, _ := one.(object)
			if special, ok := part["SpecialToken"].(object); ok && special["id"] == token {
				return true
			}
		}
	}
	return false
}
