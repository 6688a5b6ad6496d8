package stories

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Begin and End are the tokens around every text, ids 0 and 1.
const (
	Begin = "<s>"
	End   = "</s>"
)

// Tokenizer learns byte pairs from texts (Sennrich et al. 2016) and returns a
// tokenizer.json with at most size tokens, in the form of GPT-2's.
func Tokenizer(texts []string, size int) []byte {
	counts := map[string]int{}
	for _, t := range texts {
		for _, word := range words.FindAllString(t, -1) {
			counts[word]++
		}
	}
	type word struct {
		parts []string
		count int
	}
	var all []word
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		var parts []string
		for _, b := range []byte(w) {
			parts = append(parts, visible(b))
		}
		all = append(all, word{parts, counts[w]})
	}

	vocabulary := []string{Begin, End}
	for b := range 256 {
		vocabulary = append(vocabulary, visible(byte(b)))
	}
	var merges [][2]string
	for len(vocabulary) < size {
		pairs := map[[2]string]int{}
		for _, w := range all {
			for i := range len(w.parts) - 1 {
				pairs[[2]string{w.parts[i], w.parts[i+1]}] += w.count
			}
		}
		if len(pairs) == 0 {
			break
		}
		best := slices.MaxFunc(slices.Collect(maps.Keys(pairs)), func(a, b [2]string) int {
			return cmp.Or(cmp.Compare(pairs[a], pairs[b]), cmp.Compare(b[0], a[0]), cmp.Compare(b[1], a[1]))
		})
		merges, vocabulary = append(merges, best), append(vocabulary, best[0]+best[1])
		for k, w := range all {
			var joined []string
			for i := 0; i < len(w.parts); i++ {
				if i+1 < len(w.parts) && w.parts[i] == best[0] && w.parts[i+1] == best[1] {
					joined = append(joined, best[0]+best[1])
					i++
				} else {
					joined = append(joined, w.parts[i])
				}
			}
			all[k].parts = joined
		}
	}
	ids := map[string]int{}
	for id, token := range vocabulary {
		ids[token] = id
	}
	return tokenizerJSON(ids, merges)
}

func tokenizerJSON(ids map[string]int, merges [][2]string) []byte {
	type object = map[string]any
	special := func(id int, content string) object {
		return object{"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
	}
	lines := make([]string, len(merges))
	for i, m := range merges {
		lines[i] = m[0] + " " + m[1]
	}
	bytes := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	data, err := json.Marshal(object{
		"version": "1.0", "truncation": nil, "padding": nil, "normalizer": nil,
		"added_tokens":  []object{special(0, Begin), special(1, End)},
		"pre_tokenizer": bytes,
		"post_processor": object{"type": "TemplateProcessing",
			"single":         []object{{"SpecialToken": object{"id": Begin, "type_id": 0}}, {"Sequence": object{"id": "A", "type_id": 0}}},
			"pair":           []object{{"Sequence": object{"id": "A", "type_id": 0}}, {"Sequence": object{"id": "B", "type_id": 1}}},
			"special_tokens": object{Begin: object{"id": Begin, "ids": []int{0}, "tokens": []string{Begin}}}},
		"decoder": bytes,
		"model":   object{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false, "vocab": ids, "merges": lines},
	})
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return data
}

// words splits as GPT-2 does the texts that the grammar makes: no digits, no
// contractions, single spaces.
var words = regexp.MustCompile(` ?[A-Za-z]+| ?[^\sA-Za-z]+|\s+`)

// visible stands for a byte in a byte-level vocabulary: itself if it is
// printable, else a letter from 256 on (GPT-2's bytes_to_unicode).
func visible(b byte) string { return strings.Split(alphabet, "")[b] }

var alphabet = func() string {
	var s strings.Builder
	next := rune(256)
	for b := range rune(256) {
		if b > ' ' && b < 0x7f || b > 0xa0 && b != 0xad {
			s.WriteRune(b)
		} else {
			s.WriteRune(next)
			next++
		}
	}
	return s.String()
}()
