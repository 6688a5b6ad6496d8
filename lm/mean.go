package lm

import "slices"

// means adds up the activations of spans along the open path, each node once,
// however many inputs read through it: where paths part, the sum so far is kept
// for those that come later. A sum runs over ascending positions of one path, so
// its bits do not depend on what is computed together.
type means struct {
	taps  int
	works map[int][]*sum // by owner
	saves map[saveKey]*saved

	steps map[int][]step // of the run that is packed, by row
}

// sum is the part of some spans that lies on nodes of one owner.
type sum struct {
	start    int // of the spans
	from, to int // positions that are added here
	after    *saved
	saves    []*saved
	gives    []give
	values   [][]float64 // [taps][width], while it runs
}

// saved is a sum over the positions from a start up to, and not including, depth,
// kept for the owners that go on from there.
type saved struct {
	depth  int
	users  int
	values [][]float64 // [taps][width]
}

type saveKey struct{ owner, start, depth int }

// give is an input whose span ends with a position.
type give struct{ position, input int }

// step is a row that a sum takes.
type step struct {
	*sum
	position int
}

func newMeans(taps []Address) *means {
	return &means{taps: len(taps), works: map[int][]*sum{}, saves: map[saveKey]*saved{}, steps: map[int][]step{}}
}

// of returns the sum of an owner for spans with this start.
func (m *means) of(owner, start int) *sum {
	for _, s := range m.works[owner] {
		if s.start == start {
			return s
		}
	}
	s := &sum{start: start, values: make([][]float64, m.taps)}
	m.works[owner] = append(m.works[owner], s)
	return s
}

// add plans an input's mean, given the owner of each position of its path and
// the first position that each input owns.
func (m *means) add(input int, span Span, owner []int, owned []int) {
	for to := span.To; to > span.From; {
		o := owner[to-1]
		s := m.of(o, span.From)
		s.from, s.to = max(span.From, owned[o]), max(s.to, to)
		if to == span.To {
			s.gives = append(s.gives, give{to - 1, input})
		}
		if s.from > span.From && s.after == nil {
			before := owner[s.from-1]
			key := saveKey{before, span.From, s.from}
			if m.saves[key] == nil {
				m.saves[key] = &saved{depth: s.from, values: make([][]float64, m.taps)}
				earlier := m.of(before, span.From)
				earlier.saves = append(earlier.saves, m.saves[key])
			}
			s.after = m.saves[key]
			s.after.users++
		}
		to = s.from
	}
}

// first returns the first position below limit that an owner adds up, or limit.
func (m *means) first(owner, limit int) int {
	for _, s := range m.works[owner] {
		limit = min(limit, s.from)
	}
	return limit
}

// pack notes which rows the sums take when positions of an owner are packed.
func (m *means) pack(owner, from, to, firstRow int) {
	for _, s := range m.works[owner] {
		for position := max(from, s.from); position < min(to, s.to); position++ {
			row := firstRow + position - from
			m.steps[row] = append(m.steps[row], step{s, position})
		}
	}
}

// rows returns the rows of a run that are read one by one or added up, ascending.
func (m *means) rows(read []int) []int {
	rows := slices.Clone(read)
	for row := range m.steps {
		rows = append(rows, row)
	}
	slices.Sort(rows)
	return slices.Compact(rows)
}

// read takes a row's activation at a tap and hands over the means that it ends.
// The slice given to done is valid during the call only.
func (m *means) read(tap, row int, activation []float32, done func(input int, mean []float32)) {
	for _, s := range m.steps[row] {
		values := s.values[tap]
		if s.position == s.from {
			values = make([]float64, len(activation))
			if s.after != nil {
				copy(values, s.after.values[tap])
			}
			s.values[tap] = values
		}
		for i, v := range activation {
			values[i] += float64(v)
		}
		for _, save := range s.saves {
			if save.depth == s.position+1 {
				save.values[tap] = slices.Clone(values)
			}
		}
		for _, g := range s.gives {
			if g.position == s.position {
				mean, n := make([]float32, len(values)), float64(s.position+1-s.start)
				for i, v := range values {
					mean[i] = float32(v / n)
				}
				done(g.input, mean)
			}
		}
	}
}

// computed lets go of what is not needed after the run.
func (m *means) computed() {
	for _, steps := range m.steps {
		for _, s := range steps {
			if s.position == s.from && s.after != nil {
				if s.after.users--; s.after.users == 0 {
					clear(s.after.values)
				}
			}
			if s.position == s.to-1 {
				clear(s.values)
			}
		}
	}
	clear(m.steps)
}
