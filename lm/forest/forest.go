// Package forest keeps sequences of tokens as a prefix forest, in which each
// distinct prefix is one node, and gives every node a slot for its keys and
// values.
//
// [Sort] orders sequences so that neighbours share the longest prefixes: visited
// in that order a forest is visited depth first. A [Tree] holds the nodes that
// are computed, for one call or for many; [Pages] count who needs which slots.
package forest

import (
	"bytes"
	"cmp"
	"slices"
)

// Mark tells apart tokens that are computed differently although their prefix
// is the same, as steered ones are: a digest of what acts on the token. Zero
// means that nothing does.
type Mark [16]byte

// Sequence is one path of the forest.
type Sequence struct {
	Tokens []int
	Marks  []Mark // [len(Tokens)]; nil: all zero
}

func (s Sequence) mark(i int) Mark {
	if s.Marks == nil {
		return Mark{}
	}
	return s.Marks[i]
}

// From returns the sequence without its first n tokens.
func (s Sequence) From(n int) Sequence {
	s.Tokens = s.Tokens[n:]
	if s.Marks != nil {
		s.Marks = s.Marks[n:]
	}
	return s
}

// Upto returns the first n tokens of the sequence.
func (s Sequence) Upto(n int) Sequence {
	s.Tokens = s.Tokens[:n]
	if s.Marks != nil {
		s.Marks = s.Marks[:n]
	}
	return s
}

// Order is an order of sequences in which each distinct prefix comes once.
type Order struct {
	Sequences []int // their numbers, by tokens and marks
	Shared    []int // the length of the prefix that each shares with the one before
	Nodes     int   // distinct prefixes
}

// Sort orders the sequences.
func Sort(sequences []Sequence) Order {
	o := Order{Sequences: make([]int, len(sequences)), Shared: make([]int, len(sequences))}
	for i := range o.Sequences {
		o.Sequences[i] = i
	}
	slices.SortStableFunc(o.Sequences, func(a, b int) int {
		x, y := sequences[a], sequences[b]
		n := SharedPrefix(x, y)
		if n < len(x.Tokens) && n < len(y.Tokens) {
			mx, my := x.mark(n), y.mark(n)
			return cmp.Or(cmp.Compare(x.Tokens[n], y.Tokens[n]), bytes.Compare(mx[:], my[:]))
		}
		return cmp.Compare(len(x.Tokens), len(y.Tokens))
	})
	for i, s := range o.Sequences {
		if i > 0 {
			o.Shared[i] = SharedPrefix(sequences[o.Sequences[i-1]], sequences[s])
		}
		o.Nodes += len(sequences[s].Tokens) - o.Shared[i]
	}
	return o
}

// SharedPrefix returns how many nodes from the root two sequences have in common.
func SharedPrefix(x, y Sequence) int {
	n := min(len(x.Tokens), len(y.Tokens))
	for i := range n {
		if x.Tokens[i] != y.Tokens[i] || x.mark(i) != y.mark(i) {
			return i
		}
	}
	return n
}
