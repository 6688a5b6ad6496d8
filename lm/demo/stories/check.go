package stories

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Check counts the sentences of a text, and those of them that the grammar can
// make. Whether names and things stay the same from sentence to sentence it does
// not ask.
func Check(text string) (sentences, known int) {
	for sentence := range strings.SplitSeq(strings.TrimSpace(text), ". ") {
		sentences++
		if sentencePattern().MatchString(strings.TrimSuffix(sentence, ".")) {
			known++
		}
	}
	return sentences, known
}

// sentencePattern matches every sentence of a story.
var sentencePattern = sync.OnceValue(func() *regexp.Regexp {
	g := maps.Clone(grammar())
	g["he"], g["him"], g["his"] = []string{"he", "she"}, []string{"him", "her"}, []string{"his", "her"}
	g["mood"] = Moods()
	g["name"] = slices.Concat(g["boys"], g["girls"])
	g["friend"], g["animal"], g["place"], g["thing"] = g["name"], g["animals"], g["places"], g["things"]
	var expand func(line string) string
	expand = func(line string) string {
		return slot.ReplaceAllStringFunc(line, func(s string) string {
			choices := mapped(g[s[1:len(s)-1]], func(choice string) string { return expand(strings.TrimSuffix(choice, ".")) })
			return "(?:" + strings.Join(choices, "|") + ")"
		})
	}
	seen := map[string]bool{}
	for heading, lines := range g {
		story := heading == "opening" || heading == "second" || heading == "statement" || heading == "weather" ||
			slices.ContainsFunc([]string{" event", " feeling", " ending"}, func(end string) bool { return strings.HasSuffix(heading, end) })
		if !story {
			continue
		}
		for _, line := range lines {
			// A slot for the weather is a sentence of its own, and stands before the next.
			line = strings.ReplaceAll(line, "{weather} ", "")
			for sentence := range strings.SplitSeq(strings.TrimSuffix(line, "."), ". ") {
				seen[strings.ReplaceAll(expand(sentence), " a ", " an? ")] = true
			}
		}
	}
	all := slices.Sorted(maps.Keys(seen))
	for i, s := range all {
		if rest, ok := strings.CutPrefix(s, "A "); ok {
			all[i] = "An? " + rest
		}
	}
	return regexp.MustCompile("(?i)^(?:" + strings.Join(all, "|") + ")$")
})
