package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"
)

// shared is the folder with the reference data beside the repository; the
// test is skipped without it.
func shared(t testing.TB, path ...string) string {
	t.Helper()
	root := os.Getenv("STEER_SHARED")
	if root == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			if filepath.Dir(dir) == dir {
				t.Skip("no go.mod above the package, so no shared folder beside it")
			}
			dir = filepath.Dir(dir)
		}
		root = filepath.Join(dir, "..", "shared")
	}
	full := filepath.Join(append([]string{root}, path...)...)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("the reference data is not there: %v", err)
	}
	return full
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// inCharacters converts byte offsets to characters, as the reference counts.
func inCharacters(text string, offsets [][2]int) [][2]int {
	var out [][2]int
	for _, o := range offsets {
		out = append(out, [2]int{utf8.RuneCountInString(text[:o[0]]), utf8.RuneCountInString(text[:o[1]])})
	}
	return out
}

// reference is what the Rust library gives for one string.
type reference struct {
	IDs  []int    // with special tokens
	Mask []int    // special-token mask of IDs
	Raw  []int    // without special tokens
	Off  [][2]int // offsets of Raw in characters
	Dec  string   // Raw decoded with special tokens
	Decs string   // Raw decoded without special tokens
}

func short(value any) string {
	return fmt.Sprintf("%.300s", fmt.Sprint(value))
}

func checkReference(t *testing.T, tok *Tokenizer, text string, want reference) {
	t.Helper()
	with, err := tok.Encode(text, EncodeOptions{})
	if err != nil {
		t.Errorf("%.60q: %v", text, err)
		return
	}
	raw, err := tok.Encode(text, EncodeOptions{NoSpecialTokens: true})
	if err != nil {
		t.Errorf("%.60q: %v", text, err)
		return
	}
	mask := make([]int, len(with.Special))
	for i, special := range with.Special {
		if special {
			mask[i] = 1
		}
	}
	if !slices.Equal(with.IDs, want.IDs) {
		t.Errorf("%.60q: ids\n got %s\nwant %s", text, short(with.IDs), short(want.IDs))
	}
	if !slices.Equal(mask, want.Mask) {
		t.Errorf("%.60q: special-token mask %v, want %v", text, mask, want.Mask)
	}
	if !slices.Equal(raw.IDs, want.Raw) {
		t.Errorf("%.60q: ids without special tokens\n got %s\nwant %s", text, short(raw.IDs), short(want.Raw))
	}
	if got := inCharacters(text, raw.Offsets); !slices.Equal(got, want.Off) {
		t.Errorf("%.60q: offsets\n got %s\nwant %s", text, short(got), short(want.Off))
	}
	if got := tok.Decode(want.Raw, false); got != want.Dec {
		t.Errorf("%.60q: decoded %.200q, want %.200q", text, got, want.Dec)
	}
	if got := tok.Decode(want.Raw, true); got != want.Decs {
		t.Errorf("%.60q: decoded without special tokens %.200q, want %.200q", text, got, want.Decs)
	}
}

func TestEqualsRustOnPublicTokenizers(t *testing.T) {
	root := shared(t, "tokenizers")
	var texts []string
	readJSON(t, filepath.Join(root, "strings.json"), &texts)
	for _, name := range []string{"gpt2", "neox", "llama3", "qwen2", "llama2", "mistral", "gemma2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok, err := Load(os.DirFS(filepath.Join(root, name)))
			if err != nil {
				t.Fatal(err)
			}
			var want []reference
			readJSON(t, filepath.Join(root, name, "expected.json"), &want)
			for i, text := range texts {
				checkReference(t, tok, text, want[i])
			}
		})
	}
}
