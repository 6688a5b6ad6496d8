package lm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/steervec/steer/lm/forest"
)

// ForwardOptions say what a forward pass reads. Slices given to the functions
// are valid during the call only; the functions are called from one goroutine,
// as results come, in an order that depends on the inputs alone. They must not
// use the model's cached view that they are called by.
type ForwardOptions struct {
	Taps       []Address
	Activation func(input, position int, at Address, activation []float32) // after edits
	Logits     func(input, position int, logits []float32)                 // nil: no logits are computed
	Completed  func(input int) error                                       // everything of the input was read; an error ends the pass
	Progress   func(done, total int)                                       // distinct tokens
	RunTokens  int                                                         // tokens computed together; changes memory and speed, never results; 0: 1024

	// logitsOfRow is Logits for all inputs that read a row, in one call.
	logitsOfRow func(inputs []int, position int, logits []float32)

	amongOthers bool // what other calls compute lies in the same store
}

// Usage counts the tokens of a call.
type Usage struct {
	Given    int `json:"given_tokens"`    // in all inputs
	Computed int `json:"computed_tokens"` // distinct prefixes that were not cached, and unsteered twins of steered ones

	// The same in token-layers, one being a token's way through one decoder block:
	// above the last layer that is read nothing is computed, and below the first one
	// that is edited maybe nothing either.
	GivenLayers    int `json:"given_token_layers,omitempty"`
	ComputedLayers int `json:"computed_token_layers,omitempty"`
}

// Add returns the counts of both calls.
func (u Usage) Add(v Usage) Usage {
	return Usage{u.Given + v.Given, u.Computed + v.Computed, u.GivenLayers + v.GivenLayers, u.ComputedLayers + v.ComputedLayers}
}

// runTokens is how many tokens are computed together where nothing else is said.
const runTokens = 1024

func checkRunTokens(n int) (int, error) {
	if n < 0 {
		return 0, fmt.Errorf("%d tokens cannot be computed together", n)
	}
	return cmp.Or(n, runTokens), nil
}

// Forward computes the inputs as one prefix forest: each distinct prefix once,
// nothing past the last tap, logits only where they are asked for. Where the same
// tokens are steered in several ways, and it is less work, the layers below the
// first edited one are computed once, for the unsteered twin. It reports how many
// tokens were given and computed. What is wrong with an input is an
// [InputError]; where a result is not finite, the error says at which layer and
// site that began.
func (m *Model) Forward(ctx context.Context, inputs []Input, opts ForwardOptions) (Usage, error) {
	s, err := m.schedule(ctx, inputs, opts)
	if err != nil {
		return Usage{}, err
	}
	err = s.compute(ctx)
	return s.usage, err
}

// schedule is a checked request and the stages in which it is computed.
type schedule struct {
	model     *Model
	inputs    []Input
	sequences []sequence
	marked    []forest.Sequence // [inputs]
	opts      ForwardOptions
	depth     int      // decoder blocks that are computed
	edited    []edited // [inputs]; nil: there is one stage
	stages    []*stage
	usage     Usage
}

// stage is a forest that is computed from one decoder block on, and what its nodes
// are read for.
type stage struct {
	*schedule
	first   int               // decoder block
	marked  []forest.Sequence // [inputs] as the stage computes them
	twins   *twins            // nil: the stage has to do with none
	order   forest.Order      // of the inputs that are in it
	owned   []int             // [inputs] the first position that each owns
	parted  [][]int           // [inputs] of a model with states, the positions of nodes that each owns and at which others part from it
	readers []reader          // by owner and position
	twinned []reader          // nodes that are twins of others, by owner and position
	means   *means            // nil: no input reads a mean
}

// reader is an input that reads a position. The owner is the first input in the
// schedule whose path has that node.
type reader struct{ owner, position, input int32 }

func (m *Model) schedule(ctx context.Context, inputs []Input, opts ForwardOptions) (*schedule, error) {
	if len(opts.Taps) > 0 && opts.Activation == nil {
		return nil, errors.New("taps are given but no function to read them")
	}
	for _, t := range opts.Taps {
		if t.Layer < 0 || t.Layer >= m.Layers() {
			return nil, fmt.Errorf("tap at layer %d; the model has layers 0 to %d", t.Layer, m.Layers()-1)
		}
		if err := m.CheckSite(t.Layer, t.Site); err != nil {
			return nil, err
		}
		if err := m.engine.Check(t.Layer, t.Site, nil); err != nil {
			return nil, err
		}
	}
	var err error
	if opts.RunTokens, err = checkRunTokens(opts.RunTokens); err != nil {
		return nil, err
	}
	s := &schedule{model: m, inputs: inputs, opts: opts, sequences: make([]sequence, len(inputs)), marked: make([]forest.Sequence, len(inputs))}
	if s.depth = m.Layers(); !opts.logits() {
		s.depth = 0
		for _, t := range opts.Taps {
			s.depth = max(s.depth, t.Layer+1)
		}
	}
	within := m.within(opts)
	for i, in := range inputs {
		if s.sequences[i], err = m.sequence(ctx, in); err == nil {
			err = s.checkRead(in, len(s.sequences[i].tokens))
		}
		if err != nil {
			return nil, &InputError{i, err}
		}
	}
	if s.usage, err = m.decide(ctx, s.sequences, opts.RunTokens); err != nil {
		return nil, err
	}
	for i := range s.sequences {
		if within != (forest.Mark{}) {
			s.sequences[i].within = digest(s.sequences[i].within, within)
		}
		n := len(s.sequences[i].tokens)
		s.marked[i] = s.sequences[i].marked(m.Decoder().RopeVariant(n))
		s.usage.Given += n
	}
	s.usage.GivenLayers = s.usage.Given * s.depth
	s.plan()
	return s, nil
}

// logits reports whether logits are read.
func (o *ForwardOptions) logits() bool { return o.Logits != nil || o.logitsOfRow != nil }

// within tells apart nodes that are computed up to some layer only, where they
// may be found by calls that need more.
func (m *Model) within(opts ForwardOptions) (within forest.Mark) {
	if m.cache == nil && !opts.amongOthers || opts.logits() {
		return within
	}
	last := -1
	for _, t := range opts.Taps {
		last = max(last, t.Layer)
	}
	var sites []Site
	for _, t := range opts.Taps {
		if t.Layer == last {
			sites = append(sites, t.Site)
		}
	}
	slices.Sort(sites)
	return digest("up to", last, slices.Compact(sites))
}

func (s *schedule) checkRead(in Input, tokens int) error {
	for _, p := range in.Read {
		if p < 0 || p >= tokens {
			return fmt.Errorf("position %d is outside its %d tokens", p, tokens)
		}
	}
	if in.Mean == (Span{}) {
		return nil
	}
	if in.Mean.From < 0 || in.Mean.To > tokens || in.Mean.From >= in.Mean.To {
		return fmt.Errorf("the mean over positions %d to %d is outside its %d tokens", in.Mean.From, in.Mean.To-1, tokens)
	}
	if in.Read != nil || s.opts.logits() {
		return errors.New("a mean can be read of activations, and then of them alone")
	}
	return nil
}

// positions returns how many positions of an input are read one by one, and the
// k-th of them.
func (s *schedule) positions(input int) (n int, at func(k int) int) {
	in := &s.inputs[input]
	switch {
	case in.Mean != (Span{}):
		return 0, nil
	case in.Read != nil:
		return len(in.Read), func(k int) int { return in.Read[k] }
	}
	return len(s.sequences[input].tokens), func(k int) int { return k }
}

// stage returns the stage that computes some inputs from a decoder block on.
func (s *schedule) stage(inputs []int, first int, marked []forest.Sequence, twins *twins) *stage {
	t := &stage{schedule: s, first: first, marked: marked, twins: twins, owned: make([]int, len(s.inputs))}
	some := make([]forest.Sequence, len(inputs))
	for i, input := range inputs {
		some[i] = marked[input]
	}
	t.order = forest.Sort(some)
	for i, k := range t.order.Sequences {
		t.order.Sequences[i] = inputs[k]
	}
	t.assignReaders()
	return t
}

// assignReaders finds the owner of each position that an input reads.
func (t *stage) assignReaders() {
	var owner []int // of each position of the path
	noted := 0
	if t.model.Decoder().StateWeight() > 0 {
		t.parted = make([][]int, len(t.inputs))
	}
	for i, input := range t.order.Sequences {
		shared := t.order.Shared[i]
		t.owned[input] = shared
		if shared > 0 && t.parted != nil {
			t.parted[owner[shared-1]] = append(t.parted[owner[shared-1]], shared)
		}
		owner = owner[:shared]
		for len(owner) < len(t.sequences[input].tokens) {
			owner = append(owner, input)
		}
		read := t.reads(input)
		n, at := t.positions(input)
		for k := range n {
			if p := at(k); read.From <= p && p < read.To {
				t.readers = append(t.readers, reader{int32(owner[p]), int32(p), int32(input)})
			}
		}
		if t.twins.has(input) && t.first == 0 && t.parted != nil {
			if from := t.edited[input].from; from > 0 { // what is steered parts from its twin
				t.parted[owner[from-1]] = append(t.parted[owner[from-1]], from)
			}
		}
		if t.twins != nil && t.first == 0 {
			noted = t.twins.note(t, input, shared, noted, owner)
		}
		if mean := t.inputs[input].Mean; mean != (Span{}) {
			if t.means == nil {
				t.means = newMeans(t.opts.Taps)
			}
			t.means.add(input, mean, owner, t.owned)
		}
	}
	sortReaders(t.readers)
	sortReaders(t.twinned)
	t.twinned = slices.Compact(t.twinned)
}

func sortReaders(readers []reader) {
	slices.SortStableFunc(readers, func(a, b reader) int {
		return cmp.Or(cmp.Compare(a.owner, b.owner), cmp.Compare(a.position, b.position))
	})
}

// of returns who reads the nodes that an input owns.
func of(readers []reader, owner int) []reader {
	compare := func(r reader, owner int) int { return cmp.Compare(int(r.owner), owner) }
	from, _ := slices.BinarySearchFunc(readers, owner, compare)
	n, _ := slices.BinarySearchFunc(readers[from:], owner+1, compare)
	return readers[from : from+n]
}

// firstRead returns the first position, of those that an input owns, that
// somebody reads, or its length.
func (t *stage) firstRead(input int) int {
	first := len(t.sequences[input].tokens)
	for _, readers := range [][]reader{of(t.readers, input), of(t.twinned, input)} {
		if len(readers) > 0 {
			first = min(first, int(readers[0].position))
		}
	}
	if t.means != nil {
		first = min(first, t.means.first(input, first))
	}
	return first
}

// parting returns the first position past from, and up to to, at which others part
// from an input, or to.
func (t *stage) parting(input, from, to int) int {
	if t.parted != nil {
		for _, at := range t.parted[input] {
			if at > from {
				to = min(to, at)
			}
		}
	}
	return to
}

// compute visits the forests of all stages depth first, in runs.
func (s *schedule) compute(ctx context.Context) error {
	v := s.visit(s.model.store())
	defer s.model.close(v.store)
	for _, t := range s.stages {
		v.stage, v.next = t, 0
		if err := v.all(ctx); err != nil {
			if failed, ok := err.(*failure); ok {
				return s.explain(ctx, failed)
			}
			return err
		}
	}
	return nil
}

// visit is a schedule on its way through a stage. It holds on to the open path,
// and to what the stage keeps for others; the tree forgets the rest.
type visit struct {
	*stage
	store       *store
	packed      *packed
	open        *forest.Branch
	next        int   // the sequence in order
	from        int   // where it goes on; -1: it is not begun
	done, total int   // nodes that are computed or were cached, of all stages
	completed   []int // inputs of which everything was read with the last run
}

// all computes the stage.
func (v *visit) all(ctx context.Context) (err error) {
	defer func() { v.end(err) }()
	for v.next < len(v.order.Sequences) {
		if err := v.run(ctx); err != nil {
			return err
		}
		for _, input := range v.completed {
			if v.opts.Completed != nil {
				if err := v.opts.Completed(input); err != nil {
					return err
				}
			}
		}
		if v.opts.Progress != nil {
			v.opts.Progress(v.done, v.total)
		}
	}
	return nil
}

// visit begins the way through the first stage.
func (s *schedule) visit(store *store) *visit {
	v := &visit{stage: s.stages[0], store: store, packed: newPacked(), from: -1}
	for _, t := range s.stages {
		v.total += t.order.Nodes
	}
	return v
}

// run packs one run and computes it.
func (v *visit) run(ctx context.Context) (err error) {
	v.store.Lock()
	defer v.store.Unlock()
	computed := false
	defer func() {
		if !computed {
			v.release()
			v.store.tree.Discard()
		}
	}()
	p := v.packed
	p.reset()
	p.run.First = v.first
	v.completed = v.completed[:0]
	done := 0
	for v.next < len(v.order.Sequences) && p.rows() < v.opts.RunTokens && !(v.store.tree.Full() && p.rows() > 0) {
		input := v.order.Sequences[v.next]
		tokens, marked := len(v.sequences[input].tokens), v.marked[input]
		if v.from < 0 && v.twins.same(v.stage, v.next) {
			v.next++
			continue
		}
		if v.from < 0 {
			branch := v.store.tree.Branch()
			v.from = branch.Follow(marked.Upto(v.firstRead(input)))
			v.done += v.from - min(v.from, v.owned[input])
			v.release()
			v.open = branch
		}
		to := v.parting(input, v.from, min(tokens, v.from+v.opts.RunTokens-p.rows()))
		if v.from < to {
			v.open.Extend(marked.From(v.from).Upto(to-v.from), 0)
			if to = v.open.Len(); to < tokens && v.parting(input, to-1, tokens) == to {
				v.open.Part()
			}
			v.pack(p, input, v.from, to, v.open)
			done += max(0, to-max(v.from, v.owned[input]))
		}
		if v.from = to; to == tokens {
			if v.twins.keep(v.stage, input, v.open) {
				v.open = nil
			} else {
				v.completed = append(v.completed, input)
			}
			v.next, v.from = v.next+1, -1
		}
	}
	if err := v.read(ctx, p, v.store); err != nil {
		return err
	}
	computed = true
	v.done += done
	v.usage.Computed += p.rows()
	v.usage.ComputedLayers += p.rows() * (v.depth - v.first)
	return nil
}

func (v *visit) release() {
	if v.open != nil {
		v.open.Release()
		v.open = nil
	}
}

// end lets go of the open path, and of twins that nothing needs any more.
func (v *visit) end(err error) {
	v.store.Lock()
	defer v.store.Unlock()
	v.release()
	switch {
	case v.twins != nil && err != nil:
		v.twins.release()
	case v.twins != nil && v.twins.last == v.stage:
		v.twins.end()
	}
	v.store.tree.Trim()
}

// pack adds the positions from … to-1 of an input that owns them.
func (t *stage) pack(p *packed, input, from, to int, branch *forest.Branch) {
	path := branch.Path()
	sequence := t.sequences[input]
	if t.first == 0 && t.twins.has(input) {
		sequence.steering, sequence.parts = nil, nil
	}
	first := p.add(&sequence, input, from, to, t.model.Decoder().RopeVariant(len(sequence.tokens)), path)
	p.goOn(branch)
	for _, reader := range of(t.readers, input) {
		if position := int(reader.position); from <= position && position < to {
			row := first + position - from
			p.readers[row] = append(p.readers[row], int(reader.input))
		}
	}
	if t.twins != nil {
		t.twins.pack(t, p, input, Span{from, to}, first, path)
	}
	if t.means != nil {
		t.means.pack(input, from, to, first)
	}
}

// read computes what is packed and hands out what is read.
func (t *stage) read(ctx context.Context, p *packed, store *store) error {
	rows := p.read()
	tapped := rows
	if t.means != nil {
		tapped = t.means.rows(rows)
	}
	for i, at := range t.opts.Taps {
		p.tap(at, tapped, func(row int, activation []float32) {
			for _, input := range p.readers[row] {
				t.opts.Activation(input, p.positions[row], at, activation)
			}
			if t.means != nil {
				t.means.read(i, row, activation, func(input int, mean []float32) {
					t.opts.Activation(input, t.inputs[input].Mean.To-1, at, mean)
				})
			}
		})
	}
	if t.twins != nil {
		t.twins.tap(t, p)
	}
	if t.opts.logits() {
		p.logits(rows, func(row int, logits []float32) {
			if t.opts.logitsOfRow != nil {
				t.opts.logitsOfRow(p.readers[row], p.positions[row], logits)
				return
			}
			for _, input := range p.readers[row] {
				t.opts.Logits(input, p.positions[row], logits)
			}
		})
	}
	if err := p.compute(ctx, store); err != nil {
		return err
	}
	if t.means != nil {
		t.means.computed()
	}
	if len(p.failed) == 0 {
		return nil
	}
	row := p.failed[0]
	return &failure{p.owners[row], p.positions[row]}
}

// failure is the error of a run in which a position of an input is not finite.
type failure struct{ input, position int }

func (f *failure) Error() string { return fmt.Sprintf("position %d is not finite", f.position) }

// explain says where that began. It computes, and so nothing is locked meanwhile.
func (s *schedule) explain(ctx context.Context, f *failure) error {
	return &InputError{f.input, s.model.notFinite(ctx, &s.sequences[f.input], f.position)}
}
