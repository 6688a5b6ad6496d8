package referee

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// script is a random forest of tokens, computed in several runs, that any
// session can play.
type script struct {
	*rand.Rand
	decoder   *arch.Decoder
	positions int // tokens that a sequence may have
	nodes     []node
	free      []int // slots
	slots     int
	runs      []*planned
	left      map[int]bool // nodes past which a state is kept, whose number is the node's plus 1

	// whole computes, in a session of its own and from the first block on, the path
	// that the run that begins higher computes from its twin; nil: there is none.
	whole *planned
}

// node is a token of the forest.
type node struct {
	token, position, length int
	slot, parent            int // parent -1: none
	edits                   []engine.Edit
}

// planned is a run before somebody listens to it.
type planned struct {
	engine.Run
	name  string
	nodes []int // of each row
	again []int // rows of nodes that were computed before
	taps  []address
	rows  [][]int // [taps]
	twin  []int   // of each row, the node that it equals below First
}

type address struct {
	layer int
	site  arch.Site
}

// operator is one of a few pure functions with a vector.
type operator int

func (o operator) Name() string                                     { return fmt.Sprint("operator ", int(o)) }
func (operator) Prepare(vector []float32, _ int) ([]float32, error) { return vector, nil }
func (o operator) Delta(delta, activation, vector []float32) {
	for i, v := range vector {
		switch o {
		case 0: // addition
			delta[i] = v
		case 1: // to the half
			delta[i] = -activation[i] / 2
		default: // neighbours mix
			delta[i] = v * activation[(i+1)%len(activation)]
		}
	}
}

func newScript(seed uint64, d *arch.Decoder, nodes, positions int) *script {
	s := &script{Rand: rand.New(rand.NewPCG(seed, 7)), decoder: d, positions: positions, left: map[int]bool{}}
	s.makeSlots(2*nodes + 32)
	s.grow(nodes)
	s.pack()
	if len(d.Blocks) > 1 && s.IntN(4) > 0 {
		s.beginHigher()
	} else if s.IntN(2) == 0 {
		s.runs[len(s.runs)-1].endLower(s.IntN(len(d.Blocks)))
	}
	return s
}

// makeSlots puts stretches of neighbouring slots into a random order.
func (s *script) makeSlots(n int) {
	s.slots = n
	var stretches [][]int
	for at := 0; at < n; {
		size := min(n-at, 1+s.IntN(24)>>s.IntN(4))
		stretch := make([]int, size)
		for i := range stretch {
			stretch[i] = at + i
		}
		stretches, at = append(stretches, stretch), at+size
	}
	s.Shuffle(len(stretches), func(i, j int) { stretches[i], stretches[j] = stretches[j], stretches[i] })
	s.free = slices.Concat(stretches...)
}

// add adds a node and returns its number.
func (s *script) add(parent int) int {
	n := node{token: s.IntN(s.decoder.Vocabulary), slot: s.free[0], parent: parent}
	s.free = s.free[1:]
	if parent >= 0 {
		n.position, n.length = s.nodes[parent].position+1, s.nodes[parent].length
	} else {
		n.length = min(s.positions, 4+s.IntN(s.positions))
	}
	s.nodes = append(s.nodes, n)
	return len(s.nodes) - 1
}

// grow adds chains that begin anywhere, or nowhere.
func (s *script) grow(nodes int) {
	for len(s.nodes) < nodes {
		at := s.IntN(len(s.nodes)+1) - 1
		if s.IntN(2) == 0 {
			at = len(s.nodes) - 1
		}
		for n := 1 + s.IntN(nodes)>>s.IntN(3); n > 0 && len(s.nodes) < nodes; n-- {
			if at >= 0 && s.nodes[at].position+1 >= s.nodes[at].length {
				break
			}
			at = s.add(at)
		}
	}
}

// path returns the slots of a node's ancestors and its own.
func (s *script) path(n int) (p forest.Path) {
	for _, n := range s.ancestors(n) {
		p = p.With(forest.Span{Slot: s.nodes[n].slot, Len: 1})
	}
	return p
}

func (s *script) ancestors(n int) (all []int) {
	for ; n >= 0; n = s.nodes[n].parent {
		all = append(all, n)
	}
	slices.Reverse(all)
	return all
}

// pack cuts the nodes into runs, and these into segments.
func (s *script) pack() {
	for from := 0; from < len(s.nodes); {
		to := min(len(s.nodes), from+1+s.IntN(len(s.nodes)))
		run := &planned{name: fmt.Sprintf("run of nodes %d to %d", from, to-1)}
		for n := from; n < to; {
			end := n + 1
			for end < to && s.nodes[end].parent == end-1 && s.IntN(12) > 0 {
				end++
			}
			s.segment(run, n, end, s.IntN(5) > 0)
			n = end
		}
		s.finish(run)
		from = to
	}
}

// endLower leaves a run, from whose nodes nobody goes on, without logits and with
// no readers past a layer.
func (p *planned) endLower(layer int) {
	p.LogitRows, p.Logits = nil, nil
	for i, a := range p.taps {
		if a.layer > layer {
			p.taps, p.rows = p.taps[:i], p.rows[:i]
			return
		}
	}
}

// segment adds the nodes from … end-1 to a run, and before them those that are to be
// computed once more, from the last state on.
func (s *script) segment(run *planned, from, end int, leaves bool) {
	segment := engine.Segment{Nodes: end - from, Position: s.nodes[from].position, Path: s.path(end - 1), Length: s.nodes[from].length}
	if s.decoder.StateWeight() > 0 {
		path := s.ancestors(s.nodes[from].parent)
		again := path[s.lastState(path):]
		segment.Nodes, segment.Position, segment.Again = segment.Nodes+len(again), segment.Position-len(again), len(again)
		for _, n := range again {
			run.again = append(run.again, len(run.nodes))
			run.nodes = append(run.nodes, n)
		}
		if before := len(path) - len(again); before > 0 {
			segment.Before = path[before-1] + 1
		}
		if leaves {
			s.left[end-1], segment.After = true, end
		}
	}
	for n := from; n < end; n++ {
		run.nodes = append(run.nodes, n)
	}
	run.Segments = append(run.Segments, segment)
}

// lastState returns how many nodes of a path there are up to the last state.
func (s *script) lastState(path []int) int {
	for i, n := range slices.Backward(path) {
		if s.left[n] {
			return i + 1
		}
	}
	return 0
}

// finish gives a run its tokens, edits and readers.
func (s *script) finish(run *planned) {
	for _, n := range run.nodes {
		run.Tokens = append(run.Tokens, s.nodes[n].token)
	}
	run.Slots, run.States = s.slots, s.slots
	for range s.IntN(5) {
		rows := slices.DeleteFunc(s.some(len(run.nodes)), func(row int) bool { return slices.Contains(run.again, row) })
		e := s.edit(run.First, rows)
		run.Edits = append(run.Edits, e)
		acts := e.Acts
		e.Acts = nil // its rows are others in another run
		for _, row := range e.Rows {
			if n := &s.nodes[run.nodes[row]]; acts == nil || acts(row) {
				n.edits = append(n.edits, e)
			}
		}
	}
	for _, row := range run.again { // what acted on it acts on it again
		for _, e := range s.nodes[run.nodes[row]].edits {
			e.Rows = []int{row}
			run.Edits = append(run.Edits, e)
		}
	}
	// From a layer on only some rows are read, so that the others need not be computed.
	narrow, among := run.First+s.IntN(len(s.decoder.Blocks)-run.First+1), s.some(len(run.nodes))
	read := func(layer int) []int {
		rows := s.some(len(run.nodes))
		if layer >= narrow {
			rows = slices.DeleteFunc(rows, func(row int) bool { return !contains(among, row) })
		}
		return rows
	}
	for layer := run.First; layer < len(s.decoder.Blocks); layer++ {
		for _, site := range arch.Sites() {
			if s.decoder.HasSite(layer, site) {
				run.taps, run.rows = append(run.taps, address{layer, site}), append(run.rows, read(layer))
			}
		}
	}
	run.LogitRows, run.Logits = read(len(s.decoder.Blocks)), func(int, []float32) {}
	s.runs = append(s.runs, run)
}

// edit draws an edit of some rows at a layer from first on.
func (s *script) edit(first int, rows []int) engine.Edit {
	for {
		e := engine.Edit{Layer: first + s.IntN(len(s.decoder.Blocks)-first), Site: arch.Sites()[s.IntN(len(arch.Sites()))], Rows: rows, Operator: operator(s.IntN(3))}
		if !s.decoder.HasSite(e.Layer, e.Site) {
			continue
		}
		e.Vector = make([]float32, s.decoder.Width(e.Layer, e.Site))
		for i := range e.Vector {
			e.Vector[i] = float32(s.NormFloat64()) / 2
		}
		if s.IntN(3) == 0 {
			e.Scale = 0.25 + s.Float32()
		}
		if s.IntN(3) == 0 {
			of := 1 + s.IntN(3)
			e.Acts = func(row int) bool { return row%of == 0 }
		}
		return e
	}
}

// some returns some of the rows 0 … n-1, or all, ascending.
func (s *script) some(n int) (rows []int) {
	share := 1 + s.IntN(4)
	for row := range n {
		if s.IntN(4) < share {
			rows = append(rows, row)
		}
	}
	return rows
}

// beginHigher adds a run that computes the end of a path once more from a higher
// block on, with other edits, and one that goes on from there.
func (s *script) beginHigher() {
	of := s.ancestors(s.IntN(len(s.nodes)))
	first := s.IntN(len(of))
	if s.decoder.StateWeight() > 0 {
		if of = of[:s.lastState(of)]; len(of) == 0 {
			return
		}
		first = s.lastState(of[:min(first, len(of)-1)])
	}
	end := of[first:]
	run := &planned{name: "run that begins higher", twin: end}
	run.First = 1 + s.IntN(len(s.decoder.Blocks)-1)
	parent := s.nodes[end[0]].parent
	var twin forest.Path
	for _, n := range end {
		parent = s.add(parent)
		s.nodes[parent].token, s.nodes[parent].length = s.nodes[n].token, s.nodes[n].length
		for _, e := range s.nodes[n].edits {
			if e.Layer < run.First {
				s.nodes[parent].edits = append(s.nodes[parent].edits, e)
			}
		}
		twin = twin.With(forest.Span{Slot: s.nodes[n].slot, Len: 1})
	}
	s.segment(run, parent+1-len(end), parent+1, true)
	run.Segments[0].Twin, run.Segments[0].TwinState = twin, end[len(end)-1]+1
	s.finish(run)
	s.whole = s.fromTheRoot(run)

	last := s.nodes[parent]
	if last.position+1 == last.length {
		return
	}
	next, n := &planned{name: "run that goes on from there"}, s.add(parent)
	s.segment(next, n, n+1, true)
	s.finish(next)
}

// fromTheRoot plans the whole path of a run of one segment, with all edits that
// act on it, read as the run is.
func (s *script) fromTheRoot(run *planned) *planned {
	whole := &planned{name: run.name, taps: run.taps}
	whole.nodes = s.ancestors(run.nodes[len(run.nodes)-1])
	before := len(whole.nodes) - len(run.nodes)
	whole.Slots = s.slots
	whole.Segments = []engine.Segment{{Nodes: len(whole.nodes), Path: forest.Path{{Len: len(whole.nodes)}}, Length: run.Segments[0].Length}}
	for row, n := range whole.nodes {
		whole.Tokens = append(whole.Tokens, s.nodes[n].token)
		for _, e := range s.nodes[n].edits {
			e.Rows = []int{row}
			whole.Edits = append(whole.Edits, e)
		}
	}
	moved := func(rows []int) (out []int) {
		for _, row := range rows {
			out = append(out, row+before)
		}
		return out
	}
	for _, rows := range run.rows {
		whole.rows = append(whole.rows, moved(rows))
	}
	whole.LogitRows, whole.Logits = moved(run.LogitRows), run.Logits
	return whole
}

// results are what was read, by what is said in the key.
type results struct {
	keys   []string // in the order of reading
	values map[string][]float32
}

func (r *results) keep(key string, values []float32) {
	r.keys = append(r.keys, key)
	r.values[key] = slices.Clone(values)
}

// play computes runs in a session.
func play(ctx context.Context, session engine.Session, d *arch.Decoder, runs []*planned) (*results, error) {
	out := &results{values: map[string][]float32{}}
	residual := map[int]map[int][]float32{} // by layer that a run begins behind, and node
	for _, p := range runs {
		if p.First > 0 {
			residual[p.First-1] = map[int][]float32{}
		}
	}
	for _, p := range runs {
		run := p.Run
		var expected, read []string
		listen := func(a address, rows []int, keep func(row int, values []float32)) {
			for _, row := range rows {
				expected = append(expected, fmt.Sprint(a, row))
			}
			run.Taps = append(run.Taps, engine.Tap{Layer: a.layer, Site: a.site, Rows: rows, Read: func(row int, values []float32) {
				read = append(read, fmt.Sprint(a, row))
				keep(row, values)
			}})
		}
		key := func(row int, what any) string {
			return fmt.Sprintf("%s: node %d: %v", p.name, p.nodes[row], what)
		}
		for i, a := range p.taps {
			listen(a, p.rows[i], func(row int, values []float32) { out.keep(key(row, a), values) })
		}
		if p.Logits != nil {
			all := make([]int, len(p.nodes))
			for row := range all {
				all[row] = row
			}
			for layer, of := range residual {
				if layer >= p.First {
					listen(address{layer, arch.DecoderBlock}, all, func(row int, values []float32) { of[p.nodes[row]] = slices.Clone(values) })
				}
			}
			run.Logits = func(row int, values []float32) { out.keep(key(row, "logits"), values) }
		}
		for _, n := range p.twin {
			run.Residual = append(run.Residual, residual[p.First-1][n]...)
		}
		if err := session.Run(ctx, &run); err != nil {
			return nil, err
		}
		slices.Sort(expected)
		slices.Sort(read)
		if !slices.Equal(expected, read) {
			return nil, fmt.Errorf("%s: %v are read, %v are asked for", p.name, read, expected)
		}
	}
	return out, nil
}
