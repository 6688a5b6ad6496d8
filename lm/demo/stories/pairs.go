package stories

import "strings"

// Pair is two stories that are the same up to where their moods show.
type Pair struct {
	Beginning          string
	Positive, Negative Continuation

	// PositiveStatement and NegativeStatement say how the character was, in
	// sentences that differ in their last word: with the beginning a pair to train
	// on, which holds none of a mood's other words.
	PositiveStatement, NegativeStatement string
}

// Continuation is what follows a beginning in one mood.
type Continuation struct {
	Event   string // what happened: it has none of the mood's words
	Feeling string // one sentence or two
	Ending  string
}

// String returns the whole continuation.
func (c Continuation) String() string { return c.Event + " " + c.Feeling + " " + c.Ending }

// Pair writes a story in two moods.
func (w *Writer) Pair(positive, negative string) Pair {
	rest := func(s Story) Continuation {
		last := len(s.Rest) - 1
		return Continuation{s.Rest[0], strings.Join(s.Rest[1:last], " "), s.Rest[last]}
	}
	first := w.Story(positive)
	was := w.fill("{name} was very ")
	return Pair{first.Beginning, rest(first), rest(w.Again(negative)), was + positive + ".", was + negative + "."}
}

// Pairs writes n pairs from a seed.
func Pairs(seed uint64, n int, positive, negative string) []Pair {
	w := NewWriter(seed)
	pairs := make([]Pair, n)
	for i := range pairs {
		pairs[i] = w.Pair(positive, negative)
	}
	return pairs
}

// Share returns the share of a text's words that show a mood, its own name left
// out: words that the statements of pairs do not have.
func Share(text, mood string) float64 {
	shown, all := 0, 0
	known := map[string]bool{}
	for _, word := range Words(mood) {
		known[word] = word != mood
	}
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return r < 'a' || r > 'z' }) {
		all++
		if known[word] {
			shown++
		}
	}
	return float64(shown) / float64(max(all, 1))
}
