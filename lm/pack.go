package lm

import (
	"context"
	"slices"
	"sync"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// store is where the keys and values of one call lie, or of all calls on a
// cached view of a model. A run is packed, computed and committed under its lock.
type store struct {
	sync.Mutex
	tree    *forest.Tree
	session engine.Session

	evidence []uint64 // [slots] what was found of each token, as bits of what acts on it
}

func (m *Model) newStore(slots int) *store {
	return &store{tree: forest.NewTree(slots, m.Decoder().StateWeight(), m.engine.Limits().Ends), session: m.engine.NewSession()}
}

// close ends a call's use of its store.
func (m *Model) close(s *store) {
	if s != m.cache {
		s.session.Close()
	}
}

// store returns the view's persistent store, or one for a single call.
func (m *Model) store() *store {
	if m.cache != nil {
		return m.cache
	}
	return m.newStore(0)
}

// packed is a run under construction: the one place where nodes become rows.
// Readers are numbers that mean something to who packs.
type packed struct {
	run       engine.Run
	positions []int     // [rows]
	owners    []int     // [rows] who packed it
	readers   [][]int   // [rows]
	changed   []*change // in the order in which their first rows were packed
	changes   map[forest.Mark]*change
	gated     []gated // [rows] whose edits have conditions; shorter where the last ones have none
	asked     []asked
	failed    []int // rows of which something is not finite, once each
}

// change is rows on which the same edits act.
type change struct {
	*acting
	rows []int
}

func newPacked() *packed {
	return &packed{changes: map[forest.Mark]*change{}}
}

// reset empties the run; its memory is used again.
func (p *packed) reset() {
	p.run = engine.Run{Tokens: p.run.Tokens[:0], Segments: p.run.Segments[:0], Edits: p.run.Edits[:0], Taps: p.run.Taps[:0], LogitRows: p.run.LogitRows[:0], Residual: p.run.Residual[:0]}
	p.positions, p.owners, p.changed, p.failed = p.positions[:0], p.owners[:0], p.changed[:0], p.failed[:0]
	p.readers, p.gated, p.asked = p.readers[:0], p.gated[:0], p.asked[:0]
	clear(p.changes)
}

// rows returns how many rows are packed.
func (p *packed) rows() int { return len(p.run.Tokens) }

// add packs the positions from … to-1 of a sequence, whose slots the path has, and
// returns the first row.
func (p *packed) add(s *sequence, owner, from, to, variant int, path forest.Path) (first int) {
	first = p.rows()
	p.run.Segments = append(p.run.Segments, engine.Segment{Nodes: to - from, Position: from, Path: path, Length: len(s.tokens)})
	p.run.Tokens = append(p.run.Tokens, s.tokens[from:to]...)
	var before *acting
	if from > 0 {
		before = s.at(from-1, variant)
	}
	for position := from; position < to; position++ {
		row := len(p.positions)
		p.positions = append(p.positions, position)
		p.owners = append(p.owners, owner)
		if len(p.readers) < cap(p.readers) {
			p.readers = p.readers[:len(p.readers)+1]
			p.readers[row] = p.readers[row][:0]
		} else {
			p.readers = append(p.readers, nil)
		}
		a := s.at(position, variant)
		if a != nil && len(a.edits) > 0 {
			p.change(a, row)
			if len(a.evidence) > 0 {
				p.gate(row, position, path, a, before)
			}
		}
		before = a
	}
	return first
}

// goOn says of the segment that was added last from which state it goes on, which it
// leaves, and which of its nodes were computed before.
func (p *packed) goOn(branch *forest.Branch) {
	s := &p.run.Segments[len(p.run.Segments)-1]
	s.Before, s.After = branch.States()
	s.Again = branch.Again()
}

func (p *packed) change(a *acting, row int) {
	c := p.changes[a.mark]
	if c == nil {
		c = &change{acting: a}
		p.changes[a.mark] = c
		p.changed = append(p.changed, c)
	}
	c.rows = append(c.rows, row)
}

// read lists the rows that somebody reads, ascending.
func (p *packed) read() []int {
	var rows []int
	for row, readers := range p.readers {
		if len(readers) > 0 {
			rows = append(rows, row)
		}
	}
	return rows
}

// tap reads the activations at an address of some rows.
func (p *packed) tap(at Address, rows []int, read func(row int, activation []float32)) {
	p.run.Taps = append(p.run.Taps, engine.Tap{Layer: at.Layer, Site: at.Site, Rows: rows, Read: func(row int, activation []float32) {
		if p.sound(row, activation) {
			read(row, activation)
		}
	}})
}

// logits reads the logits of some rows.
func (p *packed) logits(rows []int, read func(row int, logits []float32)) {
	p.run.LogitRows = append(p.run.LogitRows, rows...)
	p.run.Logits = func(row int, logits []float32) {
		if p.sound(row, logits) {
			read(row, logits)
		}
	}
}

// sound reports whether values are finite and notes the row where they are not.
func (p *packed) sound(row int, values []float32) bool {
	if finite.All(values) {
		return true
	}
	if !slices.Contains(p.failed, row) {
		p.failed = append(p.failed, row)
	}
	return false
}

// compute computes the run and makes its nodes part of the store's tree. After
// an error the tree must discard them.
func (p *packed) compute(ctx context.Context, s *store) error {
	p.run.Slots, p.run.States, p.run.Freed = s.tree.Slots(), s.tree.States(), s.tree.Freed()
	p.measure(s)
	for _, c := range p.changed {
		p.run.Edits = c.addTo(p.run.Edits, c.rows, func(condition *condition) func(row int) bool { return p.acts(condition, s) })
	}
	if p.rows() > 0 {
		if err := s.session.Run(ctx, &p.run); err != nil {
			return err
		}
	}
	s.tree.Commit()
	return nil
}
