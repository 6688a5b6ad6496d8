package tokenizer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

func small(t testing.TB) *Tokenizer {
	t.Helper()
	tok, err := Load(os.DirFS("testdata/small"))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// smallCase is a text with its ids; checked against the Rust library.
type smallCase struct {
	Text string
	IDs  []int
}

func TestMergesInBothSerialisations(t *testing.T) {
	var cases []smallCase
	readJSON(t, "testdata/small/cases.json", &cases)
	var file map[string]any
	readJSON(t, "testdata/small/tokenizer.json", &file)
	asStrings, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	model := file["model"].(map[string]any)
	merges := model["merges"].([]any)
	for i, line := range merges {
		left, right, _ := strings.Cut(line.(string), " ")
		merges[i] = []string{left, right}
	}
	asPairs, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"strings": asStrings, "pairs": asPairs} {
		t.Run(name, func(t *testing.T) {
			tok, err := Parse(data, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range cases {
				e, err := tok.Encode(c.Text, EncodeOptions{})
				if err != nil || !slices.Equal(e.IDs, c.IDs) {
					t.Errorf("%q: %v, %v, want %v", c.Text, e.IDs, err, c.IDs)
				}
			}
		})
	}
}

func TestLoadWithoutTokenizer(t *testing.T) {
	if _, err := Load(fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

func TestSpecialTokensComeFromTheConfigurationFiles(t *testing.T) {
	main, err := os.ReadFile("testdata/small/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Load(fstest.MapFS{
		"tokenizer.json":          {Data: main},
		"tokenizer_config.json":   {Data: []byte(`{"bos_token":"a","eos_token":{"content":"<|endoftext|>"},"pad_token":null}`)},
		"special_tokens_map.json": {Data: []byte(`{"bos_token":"b","pad_token":"c"}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		id    func() (int, bool)
		token string
	}{{"BOS", tok.BOS, "a"}, {"EOS", tok.EOS, "<|endoftext|>"}, {"Pad", tok.Pad, "c"}} {
		want, _ := tok.ID(test.token)
		if got, ok := test.id(); !ok || got != want {
			t.Errorf("%s is %d, %v, want %d", test.name, got, ok, want)
		}
	}
	if _, ok := tok.Unknown(); ok {
		t.Error("there is an unknown token, which nothing names")
	}
	if eos, _ := tok.EOS(); !tok.IsSpecial(eos) || tok.IsSpecial(0) || tok.IsSpecial(-1) || tok.IsSpecial(1<<30) {
		t.Error("only the end of the text should be special")
	}
	if tok.VocabSize() != 512 {
		t.Errorf("VocabSize is %d", tok.VocabSize())
	}
}

func TestSpecialAsTextNeverGivesSpecialTokens(t *testing.T) {
	for name, c := range components(t) {
		tok := c.parse(t)
		unknown := map[int]bool{}
		for _, token := range []string{"<unk>", "[UNK]"} {
			if id, ok := tok.ID(token); ok {
				unknown[id] = true
			}
		}
		for id := range tok.VocabSize() {
			token, _ := tok.Token(id)
			if !tok.IsSpecial(id) {
				continue
			}
			for _, text := range []string{token, "the " + token + " world", token + token} {
				e, err := tok.Encode(text, EncodeOptions{NoSpecialTokens: true, SpecialAsText: true})
				if err != nil {
					continue // a model without an unknown token
				}
				for _, got := range e.IDs {
					if tok.IsSpecial(got) && !unknown[got] {
						t.Errorf("%s: %q gives the special token %d", name, text, got)
					}
				}
			}
		}
	}
}

func TestInvalidTextIsReadAsReplacementCharacters(t *testing.T) {
	tok := small(t)
	broken, err := tok.Encode("a\xff\xe2\x82b", EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := tok.Encode("a\uFFFD\uFFFD\uFFFDb", EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(broken.IDs, whole.IDs) {
		t.Errorf("ids %v, want %v", broken.IDs, whole.IDs)
	}
	if last := broken.Offsets[len(broken.Offsets)-1]; last != [2]int{4, 5} {
		t.Errorf("the last token stands for the bytes %v of 5", last)
	}
}

func TestModelsBesideTheProjectRoundTrip(t *testing.T) {
	root := shared(t, "models")
	text := ordinaryText(t)[:4000]
	text = text[:strings.LastIndexByte(text, ' ')]
	for _, name := range []string{"babyllama105", "stories260k", "story656k"} {
		t.Run(name, func(t *testing.T) {
			tok, err := Load(os.DirFS(filepath.Join(root, name)))
			if err != nil {
				t.Fatal(err)
			}
			text := text
			if name == "babyllama105" { // has no bytes to fall back on
				text = strings.Map(func(r rune) rune {
					if _, ok := tok.ID(string(r)); ok || r == ' ' {
						return r
					}
					return -1
				}, text)
			}
			e, err := tok.Encode(text, EncodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if bos, ok := tok.BOS(); !ok || e.IDs[0] != bos || !e.Special[0] {
				t.Errorf("the text begins with %d, not with the beginning of a sequence", e.IDs[0])
			}
			if got := tok.Decode(e.IDs, true); got != text {
				t.Errorf("decoded %.200q, want %.200q", got, text)
			}
		})
	}
}

// checkStream fails the test when the pieces of a stream are not what Decode
// gives or cut a character.
func checkStream(t *testing.T, tok *Tokenizer, ids []int, skipSpecial bool) {
	t.Helper()
	s := tok.NewStream(skipSpecial)
	for range 2 { // Flush leaves the stream as new
		var got strings.Builder
		for _, id := range ids {
			text := s.Push(id)
			if !utf8.ValidString(text) {
				t.Fatalf("ids %v: %q is not UTF-8", ids, text)
			}
			got.WriteString(text)
		}
		got.WriteString(s.Flush())
		if want := tok.Decode(ids, skipSpecial); got.String() != want {
			t.Fatalf("ids %v: the stream gives %q, Decode %q", ids, got.String(), want)
		}
	}
}

func TestStreamEqualsDecode(t *testing.T) {
	for name, c := range components(t) {
		t.Run(name, func(t *testing.T) {
			tok := c.parse(t)
			for _, one := range c.Cases {
				checkStream(t, tok, one.IDs, false)
				checkStream(t, tok, one.IDs, true)
				backwards := slices.Clone(one.Raw)
				slices.Reverse(backwards)
				checkStream(t, tok, backwards, false)
			}
		})
	}
}

func TestStreamGivesTextAsSoonAsItIsCertain(t *testing.T) {
	tok := small(t)
	s := tok.NewStream(true)
	e, err := tok.Encode("Hi é!", EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pieces []string
	for _, id := range e.IDs {
		pieces = append(pieces, s.Push(id))
	}
	if got, want := strings.Join(pieces, "|"), "H|i| ||é|!"; got != want {
		t.Errorf("the pieces are %s, want %s", got, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	tok := small(t)
	var cases []smallCase
	readJSON(t, "testdata/small/cases.json", &cases)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				for _, c := range cases {
					e, err := tok.Encode(c.Text, EncodeOptions{})
					if err != nil || !slices.Equal(e.IDs, c.IDs) {
						t.Errorf("%q: %v, %v, want %v", c.Text, e.IDs, err, c.IDs)
					}
					tok.Decode(e.IDs, true)
				}
			}
		})
	}
	group.Wait()
}

func TestPossessiveQuantifiersAreTranslated(t *testing.T) {
	for _, test := range []struct{ oniguruma, dotnet string }{
		{`a?+b*+c++`, `(?>a?)(?>b*)(?>c+)`},
		{`[^\r\n\p{L}]?+\p{L}++`, `(?>[^\r\n\p{L}]?)(?>\p{L}+)`},
		{`(?:ab|c)++d`, `(?>(?:ab|c)+)d`},
		{`\p{N}{1,3}+`, `(?:\p{N}{1,3})+`},
		{`a+?b{2}c{1,}?`, `a+?b{2}c{1,}?`},
		{`\++x[\]+]+`, `\++x[\]+]+`},
		{`漢++`, `(?>漢+)`},
	} {
		if got, err := translateRegex(test.oniguruma); err != nil || got != test.dotnet {
			t.Errorf("%s became %s, %v, want %s", test.oniguruma, got, err, test.dotnet)
		}
	}
}
