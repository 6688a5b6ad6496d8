package forest

import "fmt"

// PageSlots is the number of neighbouring slots of a page.
const PageSlots = 16

// Span is a range of slots that hold consecutive positions of a path.
type Span struct{ Slot, Len int }

// Path lists the slots of consecutive positions from a root.
type Path []Span

// Len returns the number of positions.
func (p Path) Len() int {
	n := 0
	for _, s := range p {
		n += s.Len
	}
	return n
}

// Slot returns the slot of a position.
func (p Path) Slot(position int) int {
	for _, s := range p {
		if position < s.Len {
			return s.Slot + position
		}
		position -= s.Len
	}
	panic("forest: the path ends before the position")
}

// Part returns the slots of n positions from one on.
func (p Path) Part(from, n int) Path {
	_, tail := p.cut(from)
	head, _ := tail.cut(n)
	return head
}

// Last returns the slot of the last position.
func (p Path) Last() int {
	s := p[len(p)-1]
	return s.Slot + s.Len - 1
}

// Upto returns the first n positions of the path.
func (p Path) Upto(n int) Path {
	if n == p.Len() {
		return p
	}
	head, _ := p.cut(n)
	return head
}

// With returns the path with a span after it, in p's memory where that has room.
func (p Path) With(s Span) Path {
	if last := len(p) - 1; last >= 0 && p[last].Slot+p[last].Len == s.Slot {
		p[last].Len += s.Len
		return p
	}
	return append(p, s)
}

// Pages counts how many need each page of slots. A page that nobody needs is
// free; the lowest free ones are taken first, so that memory stays small.
type Pages struct {
	needed []int32 // [pages] holders of each
	free   int     // pages that nobody holds
	lowest int     // no page below is free
}

// Slots returns the number of slots that exist, free ones included.
func (p *Pages) Slots() int { return len(p.needed) * PageSlots }

// Used returns the number of slots in pages that somebody holds.
func (p *Pages) Used() int { return (len(p.needed) - p.free) * PageSlots }

// take returns pages with room for n slots as few spans as there can be, held
// once by the caller.
func (p *Pages) take(n int) Path {
	var out Path
	for n > 0 {
		if p.free == 0 {
			p.needed = append(p.needed, 0)
			p.free++
		}
		for p.needed[p.lowest] > 0 {
			p.lowest++
		}
		p.needed[p.lowest]++
		p.free--
		out = out.With(Span{p.lowest * PageSlots, PageSlots})
		p.lowest++
		n -= PageSlots
	}
	return out
}

// hold adds a holder to every page that the span touches.
func (p *Pages) hold(s Span) {
	for page := s.Slot / PageSlots; page <= (s.Slot+s.Len-1)/PageSlots; page++ {
		p.needed[page]++
	}
}

// drop takes a holder from every page that the span touches.
func (p *Pages) drop(s Span) {
	for page := s.Slot / PageSlots; page <= (s.Slot+s.Len-1)/PageSlots; page++ {
		p.needed[page]--
		switch {
		case p.needed[page] < 0:
			panic(fmt.Sprintf("forest: page %d is dropped more often than it was held", page))
		case p.needed[page] == 0:
			p.free++
			p.lowest = min(p.lowest, page)
		}
	}
}

// room is slots that are set aside for what comes next. It holds their pages.
type room struct{ spans Path }

// take gives the next slots, n at most and at least one; it sets aside pages for
// ahead slots where there are none. The slots are held once more, by the caller.
func (r *room) take(pages *Pages, n, ahead int) Span {
	if len(r.spans) == 0 {
		r.spans = pages.take(ahead)
	}
	first := &r.spans[0]
	given := Span{first.Slot, min(n, first.Len)}
	pages.hold(given)
	// The room lets go of the pages that it has nothing left of.
	rest := Span{given.Slot + given.Len, first.Len - given.Len}
	for page := given.Slot / PageSlots; page <= (given.Slot+given.Len-1)/PageSlots; page++ {
		if rest.Len == 0 || page < rest.Slot/PageSlots {
			pages.drop(Span{page * PageSlots, 1})
		}
	}
	if *first = rest; rest.Len == 0 {
		r.spans = r.spans[1:]
	}
	return given
}

// clear gives back what was not used.
func (r *room) clear(pages *Pages) {
	for _, s := range r.spans {
		pages.drop(s)
	}
	r.spans = nil
}
