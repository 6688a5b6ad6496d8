package lm

import (
	"slices"

	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// Below the first layer that an edit touches a steered token equals its unsteered
// twin: the same residual stream, the same keys and values. Where the same tokens
// are steered in many ways, as in a sweep over layers and strengths, the inputs are
// computed in blocks: first the twins, of which is kept what enters each layer that
// an edit touches; then, stage by stage, what each of these layers is edited in,
// from there on.

// edited is where an input begins to differ from its twin.
type edited struct {
	from  int // the first token
	layer int // the first decoder block; 0: the input is computed from its embedding on
}

// twins are the twins of a block.
type twins struct {
	*schedule
	layers   []int       // that stages begin at, ascending
	rows     map[int]int // slot of a twin -> row of residual
	residual [][]float32 // [layers][rows, width of the streams]: what enters the layer
	packed   []int       // rows of the run that are twins
	branches []*forest.Branch
	branch   map[int]*forest.Branch // input -> its twin
	latest   *forest.Branch         // of the input before in order, if it is held
	last     *stage                 // that needs them
	next     *twins                 // of the block that follows; nil: none does
}

const (
	// heldRuns is how many runs' tokens the twins of a block hold, prompts included.
	heldRuns = 4
	// residualBytes is about what is kept of the residual stream for a block, and
	// residualMost what no input may exceed.
	residualBytes = 128 << 20
	residualMost  = 512 << 20
)

// plan chooses the stages: one, or blocks of twins where that is less work.
func (s *schedule) plan() {
	all := make([]int, len(s.inputs))
	for i := range all {
		all[i] = i
	}
	s.stages = []*stage{s.stage(all, 0, s.marked, nil)}
	// What a stage leaves of a state begins at its first block. Nodes that are steered go
	// with the stage, so that is enough; calls that find them in a cache would need the rest.
	if !s.model.engine.Limits().Late || s.model.Decoder().StateWeight() > 0 && s.model.cache != nil {
		return
	}
	if s.findEdited() {
		if stages := s.inBlocks(); work(stages) < work(s.stages) {
			s.stages = stages
			return
		}
		s.edited = nil
	}
}

// findEdited says where each input begins to differ from its twin. It reports
// whether twins may be of use at all.
func (s *schedule) findEdited() bool {
	several := false
	for i := range s.sequences {
		several = several || s.sequences[i].steering != s.sequences[0].steering
	}
	if !several {
		return false
	}
	limit := s.depth
	for _, t := range s.opts.Taps {
		limit = min(limit, t.Layer)
	}
	s.edited = make([]edited, len(s.inputs))
	for i := range s.inputs {
		sequence := &s.sequences[i]
		if sequence.steering == nil || s.inputs[i].Mean != (Span{}) {
			continue
		}
		e := edited{from: -1, layer: limit}
		variant := s.model.Decoder().RopeVariant(len(sequence.tokens))
		for p := range sequence.tokens {
			a := sequence.at(p, variant)
			if a != nil && len(a.edits) > 0 {
				if e.from < 0 {
					e.from = p
				}
				for _, edit := range a.edits {
					e.layer = min(e.layer, edit.layers[0])
				}
				for _, evidence := range a.evidence { // which is read in the token's own pass
					e.layer = min(e.layer, evidence.at.Layer)
				}
			}
		}
		if e.from >= 0 {
			s.edited[i] = e
		}
	}
	return slices.ContainsFunc(s.edited, func(e edited) bool { return e.layer > 0 })
}

// inBlocks returns the stages of all blocks; nil where the twins would need too
// much memory.
func (s *schedule) inBlocks() []*stage {
	base := slices.Clone(s.marked)
	begun := map[int]bool{}
	longest := 0
	for i, e := range s.edited {
		if e.layer > 0 {
			twin := s.sequences[i]
			twin.steering, twin.parts = nil, nil
			base[i] = twin.marked(s.model.Decoder().RopeVariant(len(twin.tokens)))
			begun[e.layer] = true
			longest = max(longest, len(twin.tokens)-e.from)
		}
	}
	row := len(begun) * 4 * s.model.Decoder().StreamWidth() // bytes
	if longest*row > residualMost {
		return nil
	}
	rows := min(max(residualBytes/row, 64), s.opts.RunTokens)

	var stages []*stage
	var before *twins
	var block []int
	end := func() {
		b := &twins{schedule: s, rows: map[int]int{}, branch: map[int]*forest.Branch{}}
		stages = append(stages, b.stages(block, base)...)
		if before != nil {
			before.next = b
		}
		before, block = b, nil
	}
	order := forest.Sort(base)
	held, twinned := 0, 0
	for k, input := range order.Sequences {
		n, shared := len(s.sequences[input].tokens), order.Shared[k]
		if shared < n && (held > heldRuns*s.opts.RunTokens || twinned > rows) {
			end()
			held, twinned = 0, 0
		}
		if e := s.edited[input]; e.layer > 0 {
			held += n - shared
			twinned += max(0, n-max(shared, e.from))
		}
		block = append(block, input)
	}
	end()
	return stages
}

// stages returns the stages of a block.
func (b *twins) stages(inputs []int, base []forest.Sequence) []*stage {
	at := map[int][]int{} // layer -> inputs
	for _, input := range inputs {
		if layer := b.edited[input].layer; layer > 0 {
			if at[layer] == nil {
				b.layers = append(b.layers, layer)
			}
			at[layer] = append(at[layer], input)
		}
	}
	slices.Sort(b.layers)
	stages := []*stage{b.stage(inputs, 0, base, b)}
	for _, layer := range b.layers {
		stages = append(stages, b.stage(at[layer], layer, b.marked, b))
	}
	b.last = stages[len(stages)-1]
	return stages
}

// work returns the token-layers that stages compute where nothing is cached.
func work(stages []*stage) int {
	if stages == nil {
		return int(^uint(0) >> 1)
	}
	total := 0
	for _, t := range stages {
		nodes := 0
		for k, input := range t.order.Sequences {
			nodes += max(0, len(t.sequences[input].tokens)-max(t.order.Shared[k], t.reads(input).From))
		}
		total += nodes * (t.depth - t.first)
	}
	return total
}

// reads returns the positions of an input that a stage reads, where they are asked
// for: an input that has a twin is read by it up to its first steered token.
func (t *stage) reads(input int) Span {
	all := Span{0, len(t.sequences[input].tokens)}
	switch {
	case !t.twins.has(input):
		return all
	case t.first == 0:
		return Span{0, t.edited[input].from}
	}
	return Span{t.edited[input].from, all.To}
}

// has reports whether an input has a twin.
func (b *twins) has(input int) bool { return b != nil && b.edited[input].layer > 0 }

// note lists the nodes of a path that are twins of an input's steered tokens,
// given who owns them. Those that an equal path before has noted, from a position
// on, are left out; it returns from where on they are noted now.
func (b *twins) note(t *stage, input, shared, noted int, owner []int) int {
	n := len(owner)
	if shared < n {
		noted = n
	}
	if !b.has(input) {
		return noted
	}
	for p := b.edited[input].from; p < noted; p++ {
		t.twinned = append(t.twinned, reader{int32(owner[p]), int32(p), -1})
	}
	return min(noted, b.edited[input].from)
}

// same reports whether the twin of the next input in order is that of an input
// before, which is held.
func (b *twins) same(t *stage, next int) bool {
	if b == nil || t.first > 0 {
		return false
	}
	input := t.order.Sequences[next]
	if t.order.Shared[next] < len(t.sequences[input].tokens) {
		b.latest = nil
	}
	if b.latest == nil || !b.has(input) {
		return false
	}
	b.branch[input] = b.latest
	return true
}

// keep holds the branch of an input's twin, once it is packed, for the stages that
// begin with it. It reports whether it does.
func (b *twins) keep(t *stage, input int, branch *forest.Branch) bool {
	if !b.has(input) || t.first > 0 {
		return false
	}
	b.branches = append(b.branches, branch)
	b.branch[input], b.latest = branch, branch
	return true
}

// pack notes which rows are twins, or gives a steered segment its own: the slots of
// the twin and the residual stream that enters the stage's first block.
func (b *twins) pack(t *stage, p *packed, input int, span Span, firstRow int, path forest.Path) {
	if t.first == 0 {
		for _, twin := range of(t.twinned, input) {
			if position := int(twin.position); span.From <= position && position < span.To {
				b.rows[path.Slot(position)] = len(b.rows)
				b.packed = append(b.packed, firstRow+position-span.From)
			}
		}
		return
	}
	layer, _ := slices.BinarySearch(b.layers, t.first)
	width := b.model.Decoder().StreamWidth()
	twin := b.branch[input].Path().Part(span.From, span.To-span.From)
	p.run.Segments[len(p.run.Segments)-1].Twin = twin
	for _, s := range twin {
		for slot := s.Slot; slot < s.Slot+s.Len; slot++ {
			row := b.rows[slot]
			p.run.Residual = append(p.run.Residual, b.residual[layer][row*width:(row+1)*width]...)
		}
	}
}

// tap reads what enters the layers, of the rows that are twins.
func (b *twins) tap(t *stage, p *packed) {
	if len(b.packed) == 0 {
		return
	}
	width := b.model.Decoder().StreamWidth()
	if b.residual == nil {
		for range b.layers {
			b.residual = append(b.residual, make([]float32, len(t.twinned)*width))
		}
	}
	rows, first := b.packed, len(b.rows)-len(b.packed)
	b.packed = nil
	for i, layer := range b.layers {
		p.run.Taps = append(p.run.Taps, engine.Tap{Layer: layer - 1, Site: DecoderBlock, Rows: rows, Read: func(row int, activation []float32) {
			k, _ := slices.BinarySearch(rows, row)
			copy(b.residual[i][(first+k)*width:], activation)
		}})
	}
}

// end lets go of the twins after the last stage that needs them; the next block
// goes on from the last one's prefix.
func (b *twins) end() {
	if n := len(b.branches); b.next != nil && n > 0 {
		b.next.branches = append(b.next.branches, b.branches[n-1])
		b.branches = b.branches[:n-1]
	}
	b.release()
}

func (b *twins) release() {
	for _, branch := range b.branches {
		branch.Release()
	}
	b.branches, b.branch, b.residual, b.rows = nil, nil, nil, nil
}
