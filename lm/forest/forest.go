// Package forest turns sequences of tokens into a prefix forest, in which each
// distinct prefix is one node, and schedules the nodes depth first as packed
// runs.
//
// The forest is never built as a tree: sorted sequences visit its nodes in
// depth-first order, and the length of the prefix that each shares with the one
// before says which of its nodes are new.
package forest

import (
	"cmp"
	"iter"
	"slices"
)

// Sequence is one path of the forest.
type Sequence struct {
	Tokens []int

	// Marks tell apart tokens that are computed differently although their prefix
	// is the same, as steered ones are; nil: all zero.
	Marks []uint32
}

func (s Sequence) mark(i int) uint32 {
	if s.Marks == nil {
		return 0
	}
	return s.Marks[i]
}

// Forest is an immutable schedule.
type Forest struct {
	sequences []Sequence
	order     []int // sequence numbers, sorted by tokens and marks
	shared    []int // [len(order)] length of the prefix shared with the one before
	nodes     int
}

// New sorts the sequences into a forest. It keeps the slices.
func New(sequences []Sequence) *Forest {
	f := &Forest{sequences: sequences, order: make([]int, len(sequences)), shared: make([]int, len(sequences))}
	for i := range f.order {
		f.order[i] = i
	}
	slices.SortStableFunc(f.order, func(a, b int) int {
		x, y := sequences[a], sequences[b]
		n := sharedPrefix(x, y)
		if n < len(x.Tokens) && n < len(y.Tokens) {
			return cmp.Or(cmp.Compare(x.Tokens[n], y.Tokens[n]), cmp.Compare(x.mark(n), y.mark(n)))
		}
		return cmp.Compare(len(x.Tokens), len(y.Tokens))
	})
	for i, s := range f.order {
		if i > 0 {
			f.shared[i] = sharedPrefix(sequences[f.order[i-1]], sequences[s])
		}
		f.nodes += len(sequences[s].Tokens) - f.shared[i]
	}
	return f
}

func sharedPrefix(x, y Sequence) int {
	n := min(len(x.Tokens), len(y.Tokens))
	for i := range n {
		if x.Tokens[i] != y.Tokens[i] || x.mark(i) != y.mark(i) {
			return i
		}
	}
	return n
}

// Nodes returns the number of distinct prefixes: the tokens that are computed.
func (f *Forest) Nodes() int { return f.nodes }

// Order returns the sequences' numbers in the order in which they are completed.
func (f *Forest) Order() []int { return f.order }

// Run is a packed run of nodes in depth-first order.
type Run struct {
	Segments []Segment

	// Keep is the number of positions of the last segment's path that later runs
	// build on; the keys and values of all other nodes may be forgotten.
	Keep int
}

// Nodes returns the number of nodes of the run.
func (r Run) Nodes() int {
	n := 0
	for _, s := range r.Segments {
		n += s.To - s.From
	}
	return n
}

// Shared returns the length of the prefix that the i-th sequence in order shares
// with the one before.
func (f *Forest) Shared(i int) int { return f.shared[i] }

// Segment is a chain of new nodes: the positions [From, To) of a sequence, whose
// earlier positions were computed as part of the paths before it. From may
// equal To where a sequence is a prefix of an earlier one.
type Segment struct {
	Sequence int
	From, To int
	Done     bool // To is the sequence's end
}

// Runs yields runs of at most limit nodes, in order. Every node is in exactly
// one.
func (f *Forest) Runs(limit int) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		var run Run
		room := limit
		for i, s := range f.order {
			from, end := f.shared[i], len(f.sequences[s].Tokens)
			for {
				to := min(end, from+room)
				run.Segments = append(run.Segments, Segment{s, from, to, to == end})
				room -= to - from
				from = to
				if room == 0 {
					run.Keep = from
					if from == end {
						run.Keep = 0
						if i+1 < len(f.order) {
							run.Keep = f.shared[i+1]
						}
					}
					if !yield(run) {
						return
					}
					run, room = Run{}, limit
				}
				if from == end {
					break
				}
			}
		}
		if len(run.Segments) > 0 {
			yield(run)
		}
	}
}
