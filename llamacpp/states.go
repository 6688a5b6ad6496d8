package llamacpp

import "slices"

// What llama.cpp remembers of a sequence beside its cells, as a state space does, is one
// state, past the last token: a sequence can be shared as a whole, and not be cut. The
// forest numbers states, and says from which one a segment goes on and which it leaves.
// So there is a sequence for each state, which ends where the state was left.

// goOn returns the sequence of the state that the part leaves, made a member of what
// came before; -1 where the rows that wait must be computed first.
func (s *sequences) goOn(p part) int {
	if len(s.rows) > 0 && s.together != p.to-p.from { // llama.cpp would order the rows otherwise
		return -1
	}
	s.together = p.to - p.from
	id := p.After - 1
	if p.After == 0 { // the state is there already, and only what it takes to read is computed
		id = slices.IndexFunc(s.list, func(q sequence) bool { return p.from > p.Position && len(q.slots) == p.from && q.passing > p.from })
		if id < 0 {
			id = s.lastUnused()
		}
	}
	if id < 0 || s.waits(id) || p.Before > 0 && s.waits(p.Before-1) {
		return -1
	}
	q := &s.list[id]
	if p.from > p.Position {
		return id
	}
	s.cut(id, 0) // what had the number before is gone
	if q.passing = 0; p.After == 0 {
		q.passing = p.Position + p.Nodes
	}
	if p.Before > 0 {
		s.memory.share(p.Before-1, id, 0, p.from)
		q.slots = appendSlots(q.slots, p.Path.Upto(p.from))
		q.computed = p.from
	}
	return id
}

// waits reports whether rows of a sequence are not computed yet.
func (s *sequences) waits(id int) bool {
	return slices.ContainsFunc(s.rows, func(r row) bool { return int(r.sequences[0]) == id })
}

// lastUnused returns a sequence without tokens that states are numbered like last, -1
// for none.
func (s *sequences) lastUnused() int {
	for id := len(s.list) - 1; id >= 0; id-- {
		if len(s.list[id].slots) == 0 {
			return id
		}
	}
	return -1
}

// leave lets go of a sequence whose state nobody numbers.
func (s *sequences) leave(id int) {
	s.list[id].again = [2]int{}
	if q := &s.list[id]; q.passing > 0 && len(q.slots) == q.passing {
		s.cut(id, 0)
	}
}
