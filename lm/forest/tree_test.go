package forest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// writer stands for an engine: it remembers what was written into each slot and
// each state, and a branch must find in its slots what it was extended by, and in
// the state that it goes on from the path that led there.
type writer struct {
	*testing.T
	slots, states map[int]string
	added, left   map[int]string // by the run that is packed: slots, states
	taken         map[int]bool   // slots, as far as it was told
}

func (w *writer) extend(b *Branch, path, more Sequence) {
	from := b.Len()
	b.Extend(more, 64*(len(more.Tokens)%2))
	if n := b.Len() - from; n < len(more.Tokens) {
		defer w.extend(b, joined(path, more.Upto(n)), more.From(n))
		more = more.Upto(n)
	}
	for i := range more.Tokens {
		slot := b.Path().Slot(from + i)
		if text := fmt.Sprint(more.Tokens[i], more.mark(i)); w.slots[slot] != text {
			w.added[slot] = text
		}
	}
	if b.tree.states.weight == 0 {
		return
	}
	before, after := b.States()
	text, is := w.left[before]
	if !is {
		text = w.states[before]
	}
	if want := inWords(path); before == 0 && len(path.Tokens) > 0 || before != 0 && text != want {
		w.Fatalf("a branch goes on from state %d, %q, after %s", before, text, want)
	}
	if after != 0 {
		w.left[after] = inWords(joined(path, more))
	}
}

// inWords is a path as a text.
func inWords(s Sequence) string {
	var text []byte
	for i, token := range s.Tokens {
		text = append(text, byte('0'+token), byte('a'+s.mark(i)[0]))
	}
	return string(text)
}

func joined(a, b Sequence) Sequence {
	return Sequence{slices.Concat(a.Tokens, b.Tokens), slices.Concat(a.Marks, b.Marks)}
}

func (w *writer) commit(t *Tree) {
	w.tell(t)
	maps.Copy(w.slots, w.added)
	maps.Copy(w.states, w.left)
	w.discard()
	t.Commit()
}

// tell takes the slots that are added as an engine that computes them does.
func (w *writer) tell(t *Tree) {
	if len(t.added) == 0 {
		return
	}
	for _, s := range t.Freed() {
		for slot := s.Slot; slot < s.Slot+s.Len; slot++ {
			delete(w.taken, slot)
		}
	}
	for slot := range w.added {
		if w.taken[slot] {
			w.Errorf("slot %d is taken again, and nobody said that it was freed", slot)
		}
		w.taken[slot] = true
	}
}

func (w *writer) discard() {
	clear(w.added)
	clear(w.left)
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
		capacity, weight := []int{0, 64, 400}[seed%3], []int{0, 1, 0, 20}[seed%4]
		tree := NewTree(capacity, weight, []int{0, 16}[seed%2])
		w := &writer{t, map[int]string{}, map[int]string{}, map[int]string{}, map[int]string{}, map[int]bool{}}
		type held struct {
			branch   *Branch
			s        Sequence
			computed int // tokens at the last commit
		}
		var open []held
		for step := range 400 {
			switch n := random.IntN(10); {
			case n < 3:
				h := held{branch: tree.Branch()}
				if len(open) > 0 { // along another
					s := open[random.IntN(len(open))].s
					s = s.Upto(random.IntN(len(s.Tokens) + 1))
					h.s = s.Upto(h.branch.Follow(s))
				}
				open = append(open, h)
			case n < 7 && len(open) > 0:
				h := &open[random.IntN(len(open))]
				more := randomSequence(random, []int{2, 4, 40}[random.IntN(3)])
				if len(more.Tokens) > 0 {
					w.extend(h.branch, h.s, more)
					h.s = joined(h.s, more)
				}
				if random.IntN(4) == 0 {
					h.branch.Part()
				}
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
				w.tell(tree)
				w.discard()
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
	tree := NewTree(1000, 0, 0)
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
	tree := NewTree(4*PageSlots, 0, 0)
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
