package eval

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Written is a text that a model wrote, and what it was asked.
type Written struct{ Question, Concept, Text string }

// Scorer scores texts. It is called by several goroutines.
type Scorer interface {
	// Name names the scorer where it has failed.
	Name() string

	// Score returns figures of a text by the name of the metric, or an error where
	// there are none, which is counted and shown. When ctx ends it returns soon.
	Score(ctx context.Context, w Written) (map[string]float64, error)
}

// WordList scores by the share of a text's words that are in a list, whatever
// their case.
func WordList(words []string) Scorer {
	list := map[string]bool{}
	for _, w := range words {
		list[strings.ToLower(w)] = true
	}
	return scorer{Words, func(w Written) float64 {
		all, in := wordsOf(w.Text), 0
		for _, word := range all {
			if list[word] {
				in++
			}
		}
		return float64(in) / float64(max(len(all), 1))
	}}
}

// Matching scores a text 1 where an expression matches it, and 0 where not.
func Matching(expression *regexp.Regexp) Scorer {
	return scorer{Pattern, func(w Written) float64 {
		if expression.MatchString(w.Text) {
			return 1
		}
		return 0
	}}
}

// distinct is the share of different ones among a text's pairs of neighbouring
// words (Li et al. 2016, distinct-2): 1 for a text that never repeats itself, near 0
// for one that does nothing else. A text of less than two words has none.
func distinct(text string) float64 {
	words := wordsOf(text)
	if len(words) < 2 {
		return 1
	}
	seen := map[[2]string]bool{}
	for i := range len(words) - 1 {
		seen[[2]string{words[i], words[i+1]}] = true
	}
	return float64(len(seen)) / float64(len(words)-1)
}

func wordsOf(text string) []string {
	return slices.Collect(strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'' }))
}

// scorer is a scorer with one figure.
type scorer struct {
	name   string
	figure func(w Written) float64
}

func (s scorer) Name() string { return s.name }

func (s scorer) Score(_ context.Context, w Written) (map[string]float64, error) {
	return map[string]float64{s.name: s.figure(w)}, nil
}
