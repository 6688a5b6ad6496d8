package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

//go:generate sh -c "go run ./internal/newer package >newer_table.go"

// The Rust tokenizers (0.23.2) match their patterns by Unicode 16.0, Go's tables
// are those of 15.0. newer holds the characters that have come since, each with
// an older one of its category: what asks for a category asks for that one.
type newerRange struct{ first, last, like rune }

// newerPages are the pages of 256 characters that hold newer ones.
var newerPages = func() (pages [(utf8.MaxRune + 1) >> 8]bool) {
	for _, n := range newer {
		for page := n.first >> 8; page <= n.last>>8; page++ {
			pages[page] = true
		}
	}
	return pages
}()

// oldLike is r, or for a newer character the old one that stands in for it.
func oldLike(r rune) rune {
	if !newerPages[r>>8] {
		return r
	}
	i, ok := slices.BinarySearchFunc(newer, r, func(n newerRange, r rune) int {
		switch {
		case n.last < r:
			return -1
		case n.first > r:
			return 1
		}
		return 0
	})
	if ok {
		return newer[i].like
	}
	return r
}

// inOldCharacters is the text with newer characters replaced; it has as many
// characters, but not always as many bytes.
func inOldCharacters(s string) string {
	for i, r := range s {
		if r >= utf8.RuneSelf && oldLike(r) != r {
			return s[:i] + strings.Map(oldLike, s[i:])
		}
	}
	return s
}
