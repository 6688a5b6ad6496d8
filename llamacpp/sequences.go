package llamacpp

import (
	"slices"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// llama.cpp's memory holds tokens in cells. A cell has a position and belongs to
// sequences, and a token sees the cells of its own sequence. The forest has slots in
// place of cells and paths in place of sequences. So there is a sequence for each end
// of a path; a token belongs to the sequences of all paths that pass through it, and
// where a path parts from others, a new sequence is made a member of its ancestors.

// memory is llama.cpp's, of sequences by their numbers; positions are from … to-1.
type memory interface {
	share(with, sequence, from, to int) // what the one has of these becomes the other's too
	remove(sequence, from, to int)      // cells that are nobody's are free
}

// sequences say which path each sequence of a memory has.
type sequences struct {
	memory memory
	list   []sequence
	rows   []row // that are not computed yet
	inside []int // that may end inside others since the run, which may be taken back

	// A cell that is nobody's but one sequence's, and has left that one's window, counts as
	// free to llama.cpp, though paths may part before it. Where there are windows, every
	// cell belongs to this sequence too; 0: there are none.
	keeper int

	// stateful memory has one state for a whole sequence, besides the cells: see
	// states.go.
	stateful bool
	together int // nodes of each part that is among the rows
}

// sequence is a path. It is in use if it has tokens.
type sequence struct {
	slots    []int  // [positions]
	computed int    // positions that are in memory
	before   int    // positions that it had before the run
	again    [2]int // positions from … to-1, which another sequence has too, in cells of this one's own
	passing  int    // positions after which it goes, as no state is kept of it; 0: it stays
}

// row is a token of the batch that is being made.
type row struct {
	node      int // row of the run
	token     int
	position  int
	sequences []llama.SeqId // the first is the one whose cells it sees
	output    bool
}

// part is some nodes of a segment.
type part struct {
	*engine.Segment
	from, to int // positions
}

// before returns the slot of the last node before the part.
func (p part) before() int { return p.Path.Slot(p.from - 1) }

// begin notes where sequences end, to which they return if the run fails.
func (s *sequences) begin() {
	for _, id := range s.inside {
		s.drop(id)
	}
	s.inside = s.inside[:0]
	for i := range s.list {
		s.list[i].before = len(s.list[i].slots)
	}
}

// place gives the nodes of a part, from a node of the run on, a sequence and adds a row
// for each. It reports whether there was a sequence left.
func (s *sequences) place(p part, node int, tokens []int, output []bool) bool {
	var id int
	if s.stateful {
		if id = s.goOn(p); id < 0 {
			return false
		}
	} else if id = s.ending(p); id < 0 {
		if id = s.unused(); id < 0 {
			return false
		}
		s.part(id, p)
	}
	q := &s.list[id]
	if computed := p.Position + p.Again; p.from < computed {
		q.again = [2]int{p.from, min(computed, p.to)}
	}
	q.slots = appendSlots(q.slots, p.Path.Part(p.from, p.to-p.from))
	for position := p.from; position < p.to; position++ {
		s.rows = append(s.rows, row{node: node, token: tokens[node], position: position, sequences: []llama.SeqId{llama.SeqId(id)}, output: output[node]})
		node++
	}
	return true
}

// appendSlots lists the slots of a path.
func appendSlots(slots []int, path forest.Path) []int {
	for _, span := range path {
		for i := range span.Len {
			slots = append(slots, span.Slot+i)
		}
	}
	return slots
}

// ending returns the sequence that ends where the part begins, -1 for none.
func (s *sequences) ending(p part) int {
	if p.from == 0 {
		return -1
	}
	before := p.before()
	return slices.IndexFunc(s.list, func(q sequence) bool { return len(q.slots) == p.from && q.slots[p.from-1] == before })
}

// unused returns a sequence without tokens, -1 for none.
func (s *sequences) unused() int {
	return slices.IndexFunc(s.list, func(q sequence) bool { return len(q.slots) == 0 })
}

// part makes a free sequence a member of what comes before the part.
func (s *sequences) part(id int, p part) {
	if p.from == 0 {
		return
	}
	from := s.through(p.before(), p.from-1, id)
	parent := &s.list[from]
	shared := min(p.from, parent.computed)
	if shared > 0 {
		s.memory.share(from, id, 0, shared)
	}
	for i := range s.rows {
		if r := &s.rows[i]; shared <= r.position && r.position < p.from && slices.Contains(r.sequences, llama.SeqId(from)) {
			r.sequences = append(r.sequences, llama.SeqId(id))
		}
	}
	s.list[id].slots = appendSlots(s.list[id].slots, p.Path.Upto(p.from))
	s.list[id].computed = shared
}

// through returns a sequence that passes through a slot at a position, rather one
// that has it in memory; -1: none but the one that is excepted does.
func (s *sequences) through(slot, position, except int) int {
	found := -1
	for id, q := range s.list {
		if id == except || len(q.slots) <= position || q.slots[position] != slot {
			continue
		}
		if found = id; position < q.computed {
			break
		}
	}
	return found
}

// computed says that the rows are in memory.
func (s *sequences) computed() {
	for i := range s.rows {
		for _, id := range s.rows[i].sequences {
			q := &s.list[id]
			if s.keeper > 0 && q.computed < len(q.slots) {
				s.memory.share(int(id), s.keeper, q.computed, len(q.slots))
			}
			q.computed = len(q.slots)
		}
	}
	for i := range s.rows {
		if id := int(s.rows[i].sequences[0]); s.stateful {
			s.leave(id)
		} else {
			s.unite(id)
		}
	}
	s.rows = s.rows[:0]
}

// unite gives a sequence the cells of another for nodes that were computed before,
// and lets go of it where it ends inside another.
func (s *sequences) unite(id int) {
	q := &s.list[id]
	if from, to := q.again[0], q.again[1]; from < to {
		q.again = [2]int{}
		if other := s.through(q.slots[to-1], to-1, id); other >= 0 && len(q.slots) > to {
			s.remove(id, from, to)
			s.memory.share(other, id, from, to)
			s.inside = append(s.inside, other)
		}
	}
	s.drop(id)
}

// drop lets go of a sequence that ends inside another one.
func (s *sequences) drop(id int) {
	if last := len(s.list[id].slots) - 1; last >= 0 && s.through(s.list[id].slots[last], last, id) >= 0 {
		s.cut(id, 0)
	}
}

// cut ends a sequence after some positions.
func (s *sequences) cut(id, length int) {
	q := &s.list[id]
	if len(q.slots) <= length {
		return
	}
	s.remove(id, length, len(q.slots))
	q.slots = q.slots[:length]
	if q.again[1] > length {
		q.again = [2]int{}
	}
	q.computed = min(q.computed, length)
	q.before = min(q.before, length)
}

// remove takes positions from a sequence. The keeper lets go of what is nobody's then.
func (s *sequences) remove(id, from, to int) {
	s.memory.remove(id, from, to)
	if s.keeper == 0 {
		return
	}
	s.memory.remove(s.keeper, from, to)
	for other := range s.list {
		if other != id && len(s.list[other].slots) > from {
			s.memory.share(other, s.keeper, from, to)
		}
	}
}

// forget takes slots out of all paths. No slot behind one of them on a path stays.
func (s *sequences) forget(freed []forest.Span) {
	if len(freed) == 0 {
		return
	}
	gone := map[int]bool{}
	for _, span := range freed {
		for i := range span.Len {
			gone[span.Slot+i] = true
		}
	}
	var shortened []int
	for id, q := range s.list {
		if length := len(q.slots); length > 0 && gone[q.slots[length-1]] {
			for length > 0 && gone[q.slots[length-1]] {
				length--
			}
			if s.stateful {
				length = 0
			}
			s.cut(id, length)
			shortened = append(shortened, id)
		}
	}
	if s.stateful {
		return
	}
	for _, id := range shortened {
		s.drop(id)
	}
}

// takeBack ends all sequences where they ended before the run.
func (s *sequences) takeBack() {
	s.rows = s.rows[:0]
	for id := range s.list {
		s.list[id].again = [2]int{}
		s.cut(id, s.list[id].before)
	}
}
