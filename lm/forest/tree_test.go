package forest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// writer stands for an engine: it remembers what was written into each slot, and
// a branch must find in its slots what it was extended by.
type writer struct {
	slots map[int]string
	added map[int]string // by the run that is packed
}

func (w *writer) extend(b *Branch, s Sequence) {
	from := b.Len()
	b.Extend(s, 64*(len(s.Tokens)%2))
	for i := range s.Tokens {
		slot := b.Path().Slot(from + i)
		if text := fmt.Sprint(s.Tokens[i], s.mark(i)); w.slots[slot] != text {
			w.added[slot] = text
		}
	}
}

func (w *writer) commit(t *Tree) {
	for slot, text := range w.added {
		w.slots[slot] = text
	}
	clear(w.added)
	t.Commit()
}

func (w *writer) verify(b *Branch, s Sequence) error {
	if b.Len() != len(s.Tokens) || b.Path().Len() != len(s.Tokens) {
		return fmt.Errorf("a branch of %d tokens has %d in %d slots", len(s.Tokens), b.Len(), b.Path().Len())
	}
	for i := range s.Tokens {
		slot := b.Path().Slot(i)
		text := w.slots[slot]
		if added, ok := w.added[slot]; ok {
			text = added
		}
		if text != fmt.Sprint(s.Tokens[i], s.mark(i)) {
			return fmt.Errorf("position %d lies in slot %d, where %q was written", i, slot, text)
		}
	}
	return nil
}

// Whatever is added, released, committed and taken back, every branch finds its
// own tokens, every page knows who needs it, and at the end nothing is left.
func TestTheTreeKeepsWhatBranchesHold(t *testing.T) {
	for seed := range uint64(24) {
		random := rand.New(rand.NewPCG(seed, 5))
		capacity := []int{0, 64, 400}[seed%3]
		tree := NewTree(capacity)
		w := &writer{map[int]string{}, map[int]string{}}
		type held struct {
			branch   *Branch
			s        Sequence
			computed int // tokens at the last commit
		}
		var open []held
		for step := range 400 {
			switch n := random.IntN(10); {
			case n < 3:
				open = append(open, held{branch: tree.Branch()})
			case n < 7 && len(open) > 0:
				h := &open[random.IntN(len(open))]
				more := randomSequence(random, []int{2, 4, 40}[random.IntN(3)])
				w.extend(h.branch, more)
				h.s = Sequence{slices.Concat(h.s.Tokens, more.Tokens), slices.Concat(h.s.Marks, more.Marks)}
			case n < 8 && len(open) > 0:
				i := random.IntN(len(open))
				open[i].branch.Release()
				open = slices.Delete(open, i, i+1)
			case n < 9:
				w.commit(tree)
				for i := range open {
					open[i].computed = len(open[i].s.Tokens)
				}
			default: // a run that failed
				clear(w.added)
				tree.Discard()
				for i := range open {
					h := &open[i]
					if h.branch.Len() < h.computed || h.branch.Len() > len(h.s.Tokens) {
						t.Fatalf("seed %d, step %d: a branch of %d tokens, %d of them computed, retreats to %d", seed, step, len(h.s.Tokens), h.computed, h.branch.Len())
					}
					h.s = h.s.Upto(h.branch.Len())
				}
			}
			if err := tree.Check(); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
			for _, h := range open {
				if err := w.verify(h.branch, h.s); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
			}
		}
		for _, h := range open {
			h.branch.Release()
		}
		w.commit(tree)
		if err := tree.Check(); err != nil {
			t.Fatal(err)
		}
		if tree.Used() > capacity {
			t.Errorf("%d slots are in use where nobody holds any, of at most %d", tree.Used(), capacity)
		}
		if capacity == 0 && tree.Tokens() > 0 {
			t.Errorf("%d tokens are left", tree.Tokens())
		}
	}
}

func TestWhatWasComputedIsFoundAgain(t *testing.T) {
	tree := NewTree(1000)
	prompt := Sequence{Tokens: []int{1, 2, 3, 4, 5}}
	add := func(s Sequence) int {
		b := tree.Branch()
		defer b.Release()
		return b.Extend(s, 0)
	}
	add(prompt)
	tree.Commit()
	for _, test := range []struct {
		name string
		s    Sequence
		had  int
	}{
		{"the same", prompt, 5},
		{"a beginning of it", Sequence{Tokens: []int{1, 2}}, 2},
		{"another ending", Sequence{Tokens: []int{1, 2, 3, 9}}, 3},
		{"steered from its third token on", Sequence{Tokens: []int{1, 2, 3, 4}, Marks: []Mark{{}, {}, {1}, {1}}}, 2},
		{"steered so before", Sequence{Tokens: []int{1, 2, 3, 4}, Marks: []Mark{{}, {}, {1}, {1}}}, 4},
		{"steered otherwise", Sequence{Tokens: []int{1, 2, 3, 4}, Marks: []Mark{{}, {}, {2}, {2}}}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			if had := add(test.s); had != test.had {
				t.Errorf("the tree had %d, want %d", had, test.had)
			}
			tree.Commit()
		})
	}
}

func TestTheLeastRecentlyUsedLeavesLeave(t *testing.T) {
	tree := NewTree(4 * PageSlots)
	one := func(first int) Sequence {
		s := Sequence{Tokens: make([]int, PageSlots)}
		s.Tokens[0] = first
		return s
	}
	had := func(first int) int {
		b := tree.Branch()
		n := b.Extend(one(first), 0)
		b.Release()
		tree.Commit()
		return n
	}
	for first := range 4 {
		had(first)
	}
	had(0) // used again: 1 is the oldest now
	had(4)
	if had(0) == 0 || had(2) == 0 {
		t.Error("what was used lately has left")
	}
	b := tree.Branch()
	if b.Follow(one(1)) > 0 {
		t.Error("the least recently used is still there")
	}
	b.Release()
}
