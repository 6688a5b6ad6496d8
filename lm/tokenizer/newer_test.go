package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// The classes are those of the Rust tokenizers for every character there is.
func TestClassesEqualTheRustTokenizers(t *testing.T) {
	var classes map[string]json.RawMessage
	readJSON(t, "testdata/unicode.json", &classes)
	var everything strings.Builder
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r != '\n' && (r < 0xd800 || r > 0xdfff) {
			everything.WriteRune(r)
			everything.WriteByte('\n')
		}
	}
	for class, data := range classes {
		if class == "source" {
			continue
		}
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			var gaps []rune // before each range, and its length, in turn
			if err := json.Unmarshal(data, &gaps); err != nil {
				t.Fatal(err)
			}
			want := make([]bool, unicode.MaxRune+1)
			end := rune(0)
			for i := 0; i < len(gaps); i += 2 {
				begin := end + gaps[i]
				end = begin + gaps[i+1]
				for r := begin; r < end; r++ {
					want[r] = true
				}
			}
			re, err := newRegex(class)
			if err != nil {
				t.Fatal(err)
			}
			text := everything.String()
			parts, err := re.find(text, &clock{limit: searchTime})
			if err != nil {
				t.Fatal(err)
			}
			got := make([]bool, unicode.MaxRune+1)
			for _, p := range parts {
				if p.match {
					for _, r := range text[p.from:p.to] {
						got[r] = true
					}
				}
			}
			wrong := 0
			for r := range want {
				if r != '\n' && got[r] != want[r] {
					if wrong++; wrong <= 5 {
						t.Errorf("%U: %v, want %v", r, got[r], want[r])
					}
				}
			}
			if wrong > 5 {
				t.Errorf("and %d others", wrong-5)
			}
		})
	}
}

// Characters that came with Unicode 15.1 and 16 are cut as others of their kind,
// at their own bytes.
func TestNewerCharactersAreCutAsOthersOfTheirKind(t *testing.T) {
	const llama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	re, err := newRegex(llama3)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"a\U00010d4ab \U0002ebf0\U0002ebf1":        "[a\U00010d4ab]\u0020[ \U0002ebf0\U0002ebf1]",
		"\U00010d40\U00010d41\U00010d42\U00010d43": "[\U00010d40\U00010d41\U00010d42] [\U00010d43]",
		"x\u1b4e\u1c89":         "[x] [\u1b4e\u1c89]",
		"plain é 漢":             "[plain] [ é] [ 漢]",
		"\U0001f8b2\U0001f8b3!": "[\U0001f8b2\U0001f8b3!]",
	} {
		parts, err := re.find(text, &clock{limit: searchTime})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range parts {
			got = append(got, "["+text[p.from:p.to]+"]")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q is cut into %q, want %q", text, got, want)
		}
	}
}

// What stands in for a character is of Go's tables, and nothing stands in for
// it in turn.
func TestStandInsAreOld(t *testing.T) {
	for i, n := range newer {
		if oldLike(n.like) != n.like || n.first > n.last || i > 0 && newer[i-1].last >= n.first {
			t.Errorf("%v", n)
		}
		if fmt.Sprint(unicode.IsLetter(n.first), unicode.IsNumber(n.first)) != "false false" && oldLike(n.first) == n.first {
			t.Errorf("%U is left as it is", n.first)
		}
	}
}
