package tokenizer

import (
	"encoding/json"
	"os"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzParse(f *testing.F) {
	main, err := os.ReadFile("testdata/small/tokenizer.json")
	if err != nil {
		f.Fatal(err)
	}
	settings, err := os.ReadFile("testdata/small/tokenizer_config.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(main, settings, "Hello world")
	for _, c := range components(f) {
		var model map[string]json.RawMessage
		if err := json.Unmarshal(c.File["model"], &model); err != nil {
			f.Fatal(err)
		}
		if len(c.File["model"]) > 20000 {
			c.File["model"] = []byte(`{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"▁":3,"<unk>":4},"merges":[["a","b"]],"unk_token":"<unk>"}`)
		}
		data, err := json.Marshal(c.File)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte(`{"chat_template":[{"name":"default","template":"{{ 1 }}"}]}`), "ab a b")
	}
	growing := func(component string) []byte {
		return []byte(`{"model":{"type":"WordLevel","vocab":{"<unk>":0,"a":1},"unk_token":"<unk>"},` + component + `}`)
	}
	f.Add(growing(`"normalizer":{"type":"Sequence","normalizers":[{"type":"Replace","pattern":{"String":"a"},"content":"aaa"},{"type":"Prepend","prepend":"é"},{"type":"NFKD"},{"type":"ByteLevel"}]}`), []byte(`{}`), "a\ufdfa\u1c89")
	f.Add(growing(`"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\w"},"behavior":"Isolated"},{"type":"Metaspace","replacement":"a"},{"type":"ByteLevel"}]},"decoder":{"type":"Replace","pattern":{"Regex":"."},"content":"aaaa"}`), []byte(`{}`), "ab \U00010d40")
	f.Fuzz(func(t *testing.T, main, settings []byte, text string) {
		tok, err := Parse(main, settings)
		if err != nil {
			return
		}
		begin := time.Now()
		e, err := tok.Encode(text, EncodeOptions{})
		if took := time.Since(begin); took > 3*searchTime {
			t.Errorf("took %v", took)
		}
		if err != nil {
			return
		}
		checkEncoding(t, text, e)
		checkStream(t, tok, e.IDs, true)
	})
}

func checkEncoding(t *testing.T, text string, e Encoding) {
	t.Helper()
	if len(e.Offsets) != len(e.IDs) || len(e.Special) != len(e.IDs) {
		t.Fatalf("%d ids, %d offsets, %d marks", len(e.IDs), len(e.Offsets), len(e.Special))
	}
	for i, o := range e.Offsets {
		if o[0] < 0 || o[1] > len(text) || o[0] > o[1] {
			t.Fatalf("token %d of %q stands for %v", i, text, o)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, text := range []string{"", " ", "Hello world", "don't  stop\n\n", "é漢🙂\u200d", "<|endoftext|>", "\xff\xc3"} {
		f.Add(text)
	}
	tok := small(f)
	var others []*Tokenizer
	for _, c := range components(f) {
		others = append(others, c.parse(f))
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := tok.Encode(text, EncodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		checkEncoding(t, text, e)
		if got := tok.Decode(e.IDs, false); utf8.ValidString(text) && got != text {
			t.Fatalf("%q decodes to %q", text, got)
		}
		for _, other := range others {
			for _, options := range []EncodeOptions{{}, {SpecialAsText: true}} {
				e, err := other.Encode(text, options)
				if err != nil {
					continue
				}
				checkEncoding(t, text, e)
				checkStream(t, other, e.IDs, options.SpecialAsText)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 255})
	var all []*Tokenizer
	for _, c := range components(f) {
		all = append(all, c.parse(f))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ids := make([]int, len(data))
		for _, tok := range all {
			for i, b := range data {
				ids[i] = int(b)*tok.VocabSize()/256 - 1
			}
			checkStream(t, tok, ids, false)
			checkStream(t, tok, ids, true)
		}
	})
}

func FuzzChat(f *testing.F) {
	for _, source := range chatSeeds {
		f.Add(source, "user", "Hello, \"you\"\n")
	}
	tok := small(f)
	f.Fuzz(func(t *testing.T, source, role, content string) {
		begin := time.Now()
		_, _ = tok.Chat(t.Context(), []Message{{role, content}, {"assistant", "fine"}}, ChatOptions{Template: source})
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
