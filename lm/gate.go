package lm

import (
	"slices"

	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// Evidence of a token is measured in the token's own pass and kept with its keys
// and values, as bits under its slot: the token that follows needs it where the
// evidence has to be released. A bit depends on the token's path alone, and so does
// what the token's edits do.

// gated is a row whose edits wait for evidence.
type gated struct {
	slot         int
	acting       *acting
	slotBefore   int
	actingBefore *acting // on the token before; nil: nothing that asks for evidence
}

// asked is evidence with the rows of which it is asked for, ascending.
type asked struct {
	*evidence
	rows []int
}

// gate notes where the evidence of a row is kept.
func (p *packed) gate(row, position int, path forest.Path, a, before *acting) {
	p.gated = append(p.gated, make([]gated, row+1-len(p.gated))...)
	g := gated{slot: path.Slot(position), acting: a}
	if before != nil && len(before.evidence) > 0 {
		g.slotBefore, g.actingBefore = path.Slot(position-1), before
	}
	p.gated[row] = g
	for _, e := range a.evidence {
		i := slices.IndexFunc(p.asked, func(other asked) bool { return other.digest == e.digest })
		if i < 0 {
			i = len(p.asked)
			p.asked = append(p.asked, asked{evidence: e})
		}
		p.asked[i].rows = append(p.asked[i].rows, row)
	}
}

// measure lists the taps that take the evidence. A row comes after the one of the
// token before, as taps are read in the order of rows.
func (p *packed) measure(s *store) {
	if n := s.tree.Slots(); len(p.asked) > 0 && len(s.evidence) < n {
		s.evidence = append(s.evidence, make([]uint64, n-len(s.evidence))...)
	}
	for _, e := range p.asked {
		p.run.Taps = append(p.run.Taps, engine.Tap{Layer: e.at.Layer, Site: e.at.Site, Rows: e.rows, Read: func(row int, activation []float32) {
			g := &p.gated[row]
			before := g.actingBefore.found(e.evidence, s.evidence[g.slotBefore])
			bit := uint64(1) << g.acting.bitOf(e.evidence)
			s.evidence[g.slot] &^= bit
			if e.holds(e.measure.of(activation, e.vector), before) {
				s.evidence[g.slot] |= bit
			}
		}})
	}
}

// acts says of rows whether a condition holds; nil: there is none.
func (p *packed) acts(c *condition, s *store) func(row int) bool {
	if c == nil {
		return nil
	}
	return func(row int) bool { return c.holds(s.evidence[p.gated[row].slot]) }
}

// found reports whether evidence is among what was found of a token.
func (a *acting) found(e *evidence, bits uint64) bool {
	if a == nil {
		return false
	}
	bit := a.bitOf(e)
	return bit >= 0 && bits>>bit&1 != 0
}

// bitOf returns the bit of a piece of evidence; -1: it is not asked for.
func (a *acting) bitOf(e *evidence) int {
	return slices.IndexFunc(a.evidence, func(other *evidence) bool { return other.digest == e.digest })
}
