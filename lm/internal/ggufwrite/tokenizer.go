package ggufwrite

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Tokenizer writes a folder's tokenizer.json into the metadata: a vocabulary
// with byte fallback as SentencePiece's, any other as byte-level, cut into words
// as pre says.
func Tokenizer(f *File, folder fs.FS, pre string) error {
	var parsed struct {
		Model struct {
			Vocab        map[string]int
			Merges       []json.RawMessage
			ByteFallback bool `json:"byte_fallback"`
		}
		Added []struct {
			ID      int
			Content string
			Special bool
		} `json:"added_tokens"`
		Normalizer json.RawMessage
		Pre        json.RawMessage `json:"pre_tokenizer"`
		Post       json.RawMessage `json:"post_processor"`
	}
	data, err := fs.ReadFile(folder, "tokenizer.json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &parsed); err != nil {
		return err
	}
	var config map[string]any
	data, err = fs.ReadFile(folder, "tokenizer_config.json")
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ids := parsed.Model.Vocab
	for _, a := range parsed.Added {
		ids[a.Content] = a.ID
	}
	count := 0
	for _, id := range ids {
		count = max(count, id+1)
	}
	tokens, kinds, scores := make([]string, count), make([]int32, count), make([]float32, count)
	for i := range tokens {
		tokens[i], kinds[i], scores[i] = fmt.Sprintf("[PAD%d]", i), 5, -1e4
	}
	for token, id := range ids {
		tokens[id], kinds[id] = token, 1
		if parsed.Model.ByteFallback && strings.HasPrefix(token, "<0x") && len(token) == 6 {
			kinds[id] = 6
		}
	}
	for _, a := range parsed.Added {
		if kinds[a.ID] = 4; a.Special {
			kinds[a.ID] = 3
		}
	}
	var merges []string
	for rank, raw := range parsed.Model.Merges {
		var pair [2]string
		if json.Unmarshal(raw, &pair) != nil {
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return err
			}
			left, right, _ := strings.Cut(text, " ")
			pair = [2]string{left, right}
		}
		merges = append(merges, pair[0]+" "+pair[1])
		if id := ids[pair[0]+pair[1]]; scores[id] == -1e4 {
			scores[id] = -float32(rank)
		}
	}
	text := func(key string) string {
		switch v := config[key].(type) {
		case string:
			return v
		case map[string]any:
			return v["content"].(string)
		}
		return ""
	}
	if parsed.Model.ByteFallback || strings.Contains(string(parsed.Normalizer), "▁") {
		f.Set("tokenizer.ggml.model", "llama")
		f.Set("tokenizer.ggml.scores", scores)
		f.Set("tokenizer.ggml.add_space_prefix", strings.Contains(string(parsed.Normalizer), "Prepend") || strings.Contains(string(parsed.Pre), "Metaspace"))
		if id, ok := ids[text("unk_token")]; ok {
			kinds[id] = 2
		}
	} else {
		f.Set("tokenizer.ggml.model", "gpt2")
		f.Set("tokenizer.ggml.pre", pre)
		f.Set("tokenizer.ggml.merges", merges)
	}
	f.Set("tokenizer.ggml.tokens", tokens)
	f.Set("tokenizer.ggml.token_type", kinds)
	for key, name := range map[string]string{"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"} {
		if id, ok := ids[text(key)]; ok {
			f.Set("tokenizer.ggml."+name+"_token_id", uint32(id))
		}
	}
	f.Set("tokenizer.ggml.add_bos_token", text("bos_token") != "" && strings.Contains(string(parsed.Post), text("bos_token")))
	if template := text("chat_template"); template != "" {
		f.Set("tokenizer.chat_template", template)
	}
	return nil
}
