package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The references were rendered by jinja2 as transformers sets it up; null
// stands where jinja2 itself fails.
func TestChatEqualsJinja2OnPublicTemplates(t *testing.T) {
	root := shared(t, "chat-templates")
	var contexts []map[string]json.RawMessage
	readJSON(t, filepath.Join(root, "contexts.json"), &contexts)
	var expected map[string][]*string
	readJSON(t, filepath.Join(root, "expected.json"), &expected)
	tok := &Tokenizer{}
	for name, renders := range expected {
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range renders {
				variables := map[string]any{}
				for key, value := range contexts[i] {
					variables[key] = value
				}
				got, err := tok.Chat(nil, ChatOptions{
					Template:  string(source),
					Variables: variables,
					Now:       time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
				})
				switch {
				case want == nil && err == nil:
					t.Errorf("context %d: jinja2 fails, this gives %.200q", i, got)
				case want != nil && err != nil:
					t.Errorf("context %d: %v", i, err)
				case want != nil && got != *want:
					n := 0
					for n < min(len(got), len(*want)) && got[n] == (*want)[n] {
						n++
					}
					n = max(0, n-40)
					t.Errorf("context %d:\n got …%.160q\nwant …%.160q", i, got[n:], (*want)[n:])
				}
			}
		})
	}
}
