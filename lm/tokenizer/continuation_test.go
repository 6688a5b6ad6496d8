package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A SentencePiece tokenizer puts a space before a text. A continuation is not
// the beginning of a text.
func TestAContinuationGetsNoSpaceOfItsOwn(t *testing.T) {
	tok, err := Parse([]byte(`{
		"normalizer": {"type": "Sequence", "normalizers": [
			{"type": "Prepend", "prepend": "▁"},
			{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
		"model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
			"vocab": {"<unk>": 0, "<0x0A>": 1, "▁": 2, "o": 3, "n": 4, "▁o": 5, "on": 6, "▁on": 7},
			"merges": ["▁ o", "o n", "▁o n"]}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		text string
		want []int
	}{
		{" on", []int{7}},
		{"on", []int{6}},
		{"n", []int{4}},
		{" ", []int{2}},
		{"\n", []int{1}},
		{"\non", []int{1, 6}},
	} {
		if got, err := tok.EncodeContinuation(test.text); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q: %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

func TestPromptAndContinuationReadAsOneText(t *testing.T) {
	folders, err := filepath.Glob(shared(t, "tokenizers", "*", "tokenizer.json"))
	if err != nil || len(folders) == 0 {
		t.Skip("there are no tokenizers beside the project")
	}
	for _, file := range folders {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			tok, err := Load(os.DirFS(dir))
			if err != nil {
				t.Fatal(err)
			}
			const prompt = "The sky is"
			e, err := tok.Encode(prompt, EncodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, continuation := range []string{" blue", "n't", ".", "\nNo", "\n\nNo", " (A)", "  two", "é", " 12"} {
				ids, err := tok.EncodeContinuation(continuation)
				if err != nil {
					t.Fatal(err)
				}
				if got := tok.Decode(slices.Concat(e.IDs, ids), true); got != prompt+continuation {
					t.Errorf("%q became %q", prompt+continuation, got)
				}
			}
		})
	}
}
