package tokenizer

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// withParts is a tokenizer of single letters with the given components.
func withParts(t *testing.T, parts string) *Tokenizer {
	t.Helper()
	tok, err := Parse([]byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"<unk>":2},"merges":[],"unk_token":"<unk>"}`+parts+`}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// repeated is a sequence of n components.
func repeated(kind, list, component string, n int) string {
	return fmt.Sprintf(`,%q:{"type":"Sequence",%q:[%s]}`, kind, list, strings.TrimSuffix(strings.Repeat(component+",", n), ","))
}

func TestAFileCannotGrowATextWithoutMeasure(t *testing.T) {
	long, err := json.Marshal(strings.Repeat("a", 50000))
	if err != nil {
		t.Fatal(err)
	}
	doubling := `{"type":"Replace","pattern":{"String":"a"},"content":"aa"}`
	marks := `{"type":"Split","pattern":{"Regex":"."},"behavior":"Isolated"},{"type":"Metaspace","replacement":"a","split":false},{"type":"Split","pattern":{"Regex":"."},"behavior":"Isolated"},{"type":"Metaspace","replacement":"c","split":false}`
	for name, parts := range map[string]string{
		"normalizers that double":        repeated("normalizer", "normalizers", doubling, 40),
		"a nested one":                   `,"normalizer":{"type":"Sequence","normalizers":[` + strings.Repeat(`{"type":"Sequence","normalizers":[`+doubling+`,`+doubling+`,`+doubling+`]},`, 15) + doubling + `]}`,
		"a pattern that doubles":         repeated("normalizer", "normalizers", `{"type":"Replace","pattern":{"Regex":"."},"content":"aa"}`, 40),
		"a long replacement":             `,"normalizer":{"type":"Replace","pattern":{"String":"a"},"content":` + string(long) + `}`,
		"what is put before":             repeated("normalizer", "normalizers", `{"type":"Prepend","prepend":`+string(long)+`}`, 4),
		"byte-level text of itself":      repeated("normalizer", "normalizers", `{"type":"Prepend","prepend":"é"},{"type":"ByteLevel"}`, 40),
		"pre-tokenizers that mark":       repeated("pre_tokenizer", "pretokenizers", marks, 20),
		"pre-tokenizers that spell":      repeated("pre_tokenizer", "pretokenizers", `{"type":"ByteLevel","add_prefix_space":true,"use_regex":false}`, 40),
		"every segment's prefix":         `,"added_tokens":[{"id":3,"content":"b","special":true}],"normalizer":{"type":"Prepend","prepend":` + string(long) + `}`,
		"every segment's, pre-tokenized": `,"added_tokens":[{"id":3,"content":"b","special":true}],"pre_tokenizer":{"type":"Sequence","pretokenizers":[` + strings.TrimSuffix(strings.Repeat(marks+",", 12), ",") + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			tok := withParts(t, parts)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			e, err := tok.Encode(strings.Repeat("aé b", 1000), EncodeOptions{})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), "a text of 5000 bytes would become more than 145536") {
				t.Errorf("%d tokens, error %v", len(e.IDs), err)
			}
			if made := (after.TotalAlloc - before.TotalAlloc) >> 20; made > 400 {
				t.Errorf("allocated %d MB", made)
			}
		})
	}
	added := `,"added_tokens":[{"id":3,"content":"aaaa","normalized":true},{"id":4,"content":"aaaaa","normalized":true}],"normalizer":{"type":"Prepend","prepend":` + string(long) + `}`
	if _, err := Parse([]byte(`{"model":{"type":"WordLevel","vocab":{"<unk>":0},"unk_token":"<unk>"}`+added+`}`), nil); err == nil || !strings.Contains(err.Error(), "added_tokens: normalize") {
		t.Errorf("added tokens that grow together: %v", err)
	}
	for name, parts := range map[string]string{
		"each token": repeated("decoder", "decoders", doubling, 60),
		"fused":      `,"decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},` + strings.TrimSuffix(strings.Repeat(doubling+",", 60), ",") + `]}`,
	} {
		if text := withParts(t, parts).Decode([]int{0, 0, 1}, false); len(text) > 2*someGrowth || !strings.HasSuffix(text, "b") {
			t.Errorf("%s: decoded to %d bytes", name, len(text))
		}
	}
}

// The most that files in use ask for is well within the bounds.
func TestTextsGrowAsTheyShould(t *testing.T) {
	parts := `,"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"NFKD"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
		"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Metaspace","replacement":"▁"},{"type":"Digits"}]}`
	for _, text := range []string{"", "a", strings.Repeat("\ufdfa", 10000), strings.Repeat(" ", 10000)} {
		if _, err := withParts(t, parts).Encode(text, EncodeOptions{}); err != nil {
			t.Errorf("%.10q: %v", text, err)
		}
	}
}

// Each of many searches may take nearly the time of one; together they may not.
func TestSearchesAreBoundedTogether(t *testing.T) {
	was := searchTime
	searchTime = 300 * time.Millisecond
	defer func() { searchTime = was }()
	// Backtracks over 2^16 ways for every b.
	slow := `{"Regex":"(a+)+c|b"}`
	words := strings.Repeat(strings.Repeat("a", 16)+"b", 2000)
	for name, parts := range map[string]string{
		"pre-tokenizer": `,"pre_tokenizer":{"type":"Split","pattern":` + slow + `,"behavior":"Isolated"}`,
		"pieces":        `,"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"String":"b"},"behavior":"Isolated"},{"type":"Split","pattern":` + slow + `,"behavior":"Isolated"}]}`,
		"normalizer":    `,"normalizer":{"type":"Replace","pattern":` + slow + `,"content":""}`,
	} {
		tok := withParts(t, parts)
		begin := time.Now()
		if _, err := tok.Encode(words, EncodeOptions{}); err == nil || !strings.Contains(err.Error(), "search") {
			t.Errorf("%s: error %v", name, err)
		}
		if took := time.Since(begin); took > 20*searchTime {
			t.Errorf("%s: took %v", name, took)
		}
	}
	tok := withParts(t, `,"added_tokens":[{"id":3,"content":"`+strings.Repeat("a", 40)+`"}],"decoder":{"type":"Replace","pattern":{"Regex":"(a+)+c"},"content":""}`)
	begin := time.Now()
	ids := make([]int, 1000)
	for i := range ids {
		ids[i] = 3
	}
	if text := tok.Decode(ids, false); len(text) != 40000 {
		t.Errorf("decoded to %d bytes", len(text))
	}
	if took := time.Since(begin); took > 20*searchTime {
		t.Errorf("decoder: took %v", took)
	}
}
