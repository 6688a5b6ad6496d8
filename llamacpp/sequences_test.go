package llamacpp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// cells are a memory as llama.cpp keeps it, in which a cell says of what path it is.
type cells struct {
	t    *testing.T
	list []*cell
}

type cell struct {
	position  int
	path      string // tokens from the root
	sequences map[int]bool
}

func (c *cells) share(with, sequence, from, to int) {
	for _, cell := range c.list {
		if cell.sequences[with] && from <= cell.position && cell.position < to {
			cell.sequences[sequence] = true
		}
	}
}

func (c *cells) remove(sequence, from, to int) {
	for _, cell := range c.list {
		if from <= cell.position && cell.position < to {
			delete(cell.sequences, sequence)
		}
	}
	c.list = slices.DeleteFunc(c.list, func(cell *cell) bool { return len(cell.sequences) == 0 })
}

// compute adds a cell for each row, whose token must see its ancestors, and nothing else.
func (c *cells) compute(rows []row, paths map[int]string) {
	c.t.Helper()
	for _, r := range rows {
		sees := map[int]string{}
		for _, cell := range c.list {
			if cell.sequences[int(r.sequences[0])] && cell.position < r.position {
				if _, twice := sees[cell.position]; twice {
					c.t.Fatalf("a token sees two at position %d", cell.position)
				}
				sees[cell.position] = cell.path
			}
		}
		path := paths[r.node]
		for position := range r.position {
			if want := path[:position+1]; sees[position] != want {
				c.t.Fatalf("the token %q sees %q at position %d, not %q", path, sees[position], position, want)
			}
		}
		added := &cell{r.position, path, map[int]bool{}}
		for _, id := range r.sequences {
			added.sequences[int(id)] = true
		}
		c.list = append(c.list, added)
	}
}

// Whatever parts, goes on, fails and is forgotten: a token sees the tokens of its path.
func TestTokensSeeTheirPath(t *testing.T) {
	for _, test := range []struct {
		name     string
		stateful bool
		keeper   int
	}{{"cells", false, 0}, {"cells that a keeper has too", false, 40}, {"states", true, 0}} {
		for seed := range uint64(60) {
			t.Run(fmt.Sprintf("%s/%d", test.name, seed), func(t *testing.T) {
				soak(t, test.stateful, test.keeper, rand.New(rand.NewPCG(seed, 5)))
			})
		}
	}
}

func soak(t *testing.T, stateful bool, keeper int, random *rand.Rand) {
	const ends = 6
	weight := 0
	if stateful {
		weight = 4
	}
	tree := forest.NewTree(random.IntN(60), weight, ends)
	memory := &cells{t: t}
	s := &sequences{memory: memory, stateful: stateful, keeper: keeper, list: make([]sequence, 40)}
	type open struct {
		*forest.Branch
		tokens []int
	}
	var branches []open
	for range 80 {
		var segments []engine.Segment
		var tokens []int
		paths := map[int]string{}
		for range 1 + random.IntN(4) {
			if tree.Full() {
				break
			}
			var b open
			if len(branches) > 0 && random.IntN(2) == 0 {
				b = branches[random.IntN(len(branches))]
			} else {
				b = open{Branch: tree.Branch()}
			}
			if slices.ContainsFunc(branches, func(o open) bool { return o.Branch == b.Branch }) && b.Len() != len(b.tokens) {
				continue
			}
			branches = slices.DeleteFunc(branches, func(o open) bool { return o.Branch == b.Branch })
			more := make([]int, 1+random.IntN(5))
			for i := range more {
				more[i] = random.IntN(2)
			}
			b.tokens = append(slices.Clone(b.tokens), more...)
			if b.Len() == 0 && random.IntN(2) == 0 { // all but the last token may be there already
				b.Follow(forest.Sequence{Tokens: b.tokens[:len(b.tokens)-1]})
			}
			from := b.Len()
			b.Extend(forest.Sequence{Tokens: b.tokens[from:]}, 0)
			b.tokens = b.tokens[:b.Len()]
			branches = append(branches, b)
			segment := engine.Segment{Nodes: b.Len() - from, Position: from, Path: slices.Clone(b.Path()), Again: b.Again()}
			segment.Before, segment.After = b.States()
			if segment.Nodes == 0 {
				continue
			}
			for i := from; i < b.Len(); i++ {
				paths[len(tokens)] = key(b.tokens[:i+1])
				tokens = append(tokens, b.tokens[i])
			}
			segments = append(segments, segment)
		}
		fails := random.IntN(6) == 0
		s.forget(tree.Freed())
		s.begin()
		if !pack(t, s, memory, segments, tokens, paths, fails, random) {
			s.takeBack()
			tree.Discard()
			for i := range branches {
				branches[i].tokens = branches[i].tokens[:branches[i].Len()]
			}
		} else {
			tree.Commit()
		}
		for i := 0; i < len(branches); i++ {
			if random.IntN(4) == 0 {
				branches[i].Release()
				branches = slices.Delete(branches, i, i+1)
			}
		}
		for _, cell := range memory.list {
			if keeper > 0 && (!cell.sequences[keeper] || len(cell.sequences) == 1) {
				t.Fatalf("the keeper has %v of the cell %q", cell.sequences, cell.path)
			}
		}
		if used := slices.DeleteFunc(slices.Clone(s.list), func(q sequence) bool { return len(q.slots) == 0 }); !stateful && len(used) > 2*ends {
			t.Fatalf("%d sequences are in use for %d paths", len(used), ends)
		}
	}
}

func key(tokens []int) string {
	text := ""
	for _, token := range tokens {
		text += string(rune('a' + token))
	}
	return text
}

// pack computes the segments in batches of a few rows, and reports whether the run
// went to its end.
func pack(t *testing.T, s *sequences, memory *cells, segments []engine.Segment, tokens []int, paths map[int]string, fails bool, random *rand.Rand) bool {
	node := 0
	flush := func() {
		memory.compute(s.rows, paths)
		s.computed()
	}
	for i := range segments {
		p := part{Segment: &segments[i]}
		for p.from = p.Position; p.from < p.Position+p.Nodes; p.from = p.to {
			p.to = min(p.Position+p.Nodes, p.from+1+random.IntN(4))
			if !s.place(p, node, tokens, make([]bool, len(tokens))) {
				if len(s.rows) == 0 {
					t.Fatal("no sequence is left")
				}
				flush()
				p.to = p.from
				continue
			}
			if node += p.to - p.from; len(s.rows) > 6 || p.to < p.Position+p.Nodes {
				flush()
			}
			if fails && random.IntN(3) == 0 {
				return false
			}
		}
	}
	flush()
	return true
}

// slots is the path of n slots from 0 on.
func slots(n int) forest.Path { return forest.Path{{Slot: 0, Len: n}} }
