package forest

import "fmt"

// A model's state is one for all tokens of a path, and lies where a run left it.
// It is kept at the ends of nodes: where a branch ends, where a path ends that
// nobody holds, where paths part, and where somebody says that they will
// ([Branch.Part]). Where they part at a token at whose end no state is kept, the
// tokens from the nearest one on are computed once more, which gives their bits
// again; from then on that place has its state.
//
// A state is never changed: a run reads the one that it goes on from and writes
// another, so that a run that fails has harmed nothing.

// states are numbered from 1; the lowest that are free are taken first.
type states struct {
	weight int // slots that each counts for; 0: there are none
	taken  []bool
	used   int
	lowest int // no state below is free

	given  []*node // that get a state with the run that is packed
	passed []*node // that a branch went on from
}

func (s *states) take() int {
	for s.lowest < len(s.taken) && s.taken[s.lowest] {
		s.lowest++
	}
	if s.lowest == len(s.taken) {
		s.taken = append(s.taken, false)
	}
	s.taken[s.lowest] = true
	s.used++
	return s.lowest + 1
}

// free lets go of a state; 0 is none.
func (s *states) free(state int) {
	if state == 0 {
		return
	}
	s.taken[state-1] = false
	s.used--
	s.lowest = min(s.lowest, state-1)
}

// last returns the state past the node's last token; 0: there is none.
func (n *node) last() int {
	if n.next == 0 && n.added == 0 {
		return n.state
	}
	return n.next
}

// resumable returns how many of the tokens the tree has, up to the last state.
func (b *Branch) resumable(s Sequence) int {
	far, at, n := 0, 0, b.end
	for at < len(s.Tokens) {
		if n = n.children[key{s.Tokens[at], s.mark(at)}]; n == nil {
			break
		}
		same := n.matches(s.From(at))
		if computed := len(n.tokens) - n.added; n.state != 0 && same >= computed {
			far = at + computed
		}
		if same < len(n.tokens) {
			break
		}
		if at += same; n.last() != 0 {
			far = at
		}
	}
	return far
}

// leave gives the end of a branch that went on from a node its state.
func (b *Branch) leave(from *node) {
	s := &b.tree.states
	if b.after = 0; b.end == b.tree.root || b.end.last() != 0 {
		return
	}
	b.end.next = s.take()
	b.after = b.end.next
	s.given = append(s.given, b.end)
	if from != b.tree.root {
		s.passed = append(s.passed, from)
	}
}

// Again returns how many tokens at the beginning of the last extension the tree had.
func (b *Branch) Again() int { return b.again }

// States returns the state that the last extension goes on from, and the one in
// which it ends. 0 before is the state of no tokens; 0 after means that the end has
// its state, from this run or an earlier one.
func (b *Branch) States() (before, after int) { return b.before, b.after }

// Part says that paths will part where the branch ends.
func (b *Branch) Part() { b.end.parts = true }

// keepStates lets the run's states take the place of those that it went on from.
func (t *Tree) keepStates() {
	s := &t.states
	for _, n := range t.added {
		s.free(n.state) // it lies inside the node now
		n.state = 0
	}
	for _, n := range s.given {
		n.state, n.next = n.next, 0
	}
	for _, n := range s.passed {
		if n.holders == 0 && len(n.children) == 1 && !n.parts {
			s.free(n.state)
			n.state = 0
		}
	}
	s.given, s.passed = s.given[:0], s.passed[:0]
}

// dropStates takes back the states that the run would have written.
func (t *Tree) dropStates() {
	s := &t.states
	for _, n := range s.given {
		s.free(n.next)
		n.next = 0
	}
	s.given, s.passed = s.given[:0], s.passed[:0]
}

// countStates notes the states of a node.
func (c *check) countStates(n *node) error {
	for _, state := range []int{n.state, n.next} {
		if state == 0 {
			continue
		}
		if c.states[state] {
			return fmt.Errorf("state %d belongs to two nodes", state)
		}
		c.states[state] = true
	}
	return nil
}

func (c *check) checkStates() error {
	s := &c.tree.states
	taken := 0
	for i, is := range s.taken {
		if is {
			taken++
		}
		if is != c.states[i+1] {
			return fmt.Errorf("state %d is taken: %v, and a node has it: %v", i+1, is, c.states[i+1])
		}
	}
	if taken != s.used {
		return fmt.Errorf("%d states are counted, %d are taken", s.used, taken)
	}
	for b := range c.tree.branches {
		if s.weight > 0 && b.end != c.tree.root && b.end.last() == 0 {
			return fmt.Errorf("a branch of %d tokens ends where no state is", b.length)
		}
	}
	return nil
}
