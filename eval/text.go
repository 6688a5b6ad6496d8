package eval

import (
	"strings"

	"github.com/steervec/steer/pairs"
)

// TextOf returns the prompts of items as a text to measure the cost on, where no
// other neutral text is at hand: each once, a paragraph each.
func TextOf(items []pairs.Item) string {
	var text []string
	seen := map[string]bool{"": true}
	for _, item := range items {
		prompt := item.Options[0].Question
		if prompt == "" {
			prompt = item.Options[0].Prompt
		}
		if !seen[prompt] {
			seen[prompt] = true
			text = append(text, strings.ReplaceAll(prompt, "\n\n", "\n"))
		}
	}
	return strings.Join(text, "\n\n")
}
