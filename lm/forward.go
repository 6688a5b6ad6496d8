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
}

// Usage counts the tokens of a call.
type Usage struct {
	Given    int `json:"given_tokens"`    // in all inputs
	Computed int `json:"computed_tokens"` // distinct prefixes that were not cached, and what a model with states has computed again
}

// Add returns the counts of both calls.
func (u Usage) Add(v Usage) Usage { return Usage{u.Given + v.Given, u.Computed + v.Computed} }

// runTokens is how many tokens are computed together where nothing else is said.
const runTokens = 1024

func checkRunTokens(n int) (int, error) {
	if n < 0 {
		return 0, fmt.Errorf("%d tokens cannot be computed together", n)
	}
	return cmp.Or(n, runTokens), nil
}

// Forward computes the inputs as one prefix forest: each distinct prefix once,
// nothing past the last tap, logits only where they are asked for. It reports
// how many tokens were given and computed. What is wrong with an input is an
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

// schedule is a checked request: the forest and what its nodes are read for.
type schedule struct {
	model     *Model
	inputs    []Input
	sequences []sequence
	marked    []forest.Sequence
	opts      ForwardOptions
	order     forest.Order
	owned     []int    // [inputs] the first position that each owns
	parted    [][]int  // [inputs] of a model with states, the positions of nodes that each owns and at which others part from it
	readers   []reader // by owner and position
	means     *means   // nil: no input reads a mean
	usage     Usage
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
	within := m.within(opts)
	for i, in := range inputs {
		if s.sequences[i], err = m.sequence(ctx, in); err == nil {
			err = s.checkRead(in, len(s.sequences[i].tokens))
		}
		if err != nil {
			return nil, &InputError{i, err}
		}
		s.sequences[i].within = within
		n := len(s.sequences[i].tokens)
		s.marked[i] = s.sequences[i].marked(m.Decoder().RopeVariant(n))
		s.usage.Given += n
	}
	s.order = forest.Sort(s.marked)
	s.assignReaders()
	return s, nil
}

// within tells apart nodes that are computed up to some layer only, where they
// may be found by calls that need more.
func (m *Model) within(opts ForwardOptions) (within forest.Mark) {
	if m.cache == nil || opts.Logits != nil {
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
	if in.Read != nil || s.opts.Logits != nil {
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

// assignReaders finds the owner of each position that an input reads.
func (s *schedule) assignReaders() {
	s.readers, s.owned = make([]reader, 0, len(s.inputs)), make([]int, len(s.inputs))
	var owner []int // of each position of the path
	if s.model.Decoder().StateWeight() > 0 {
		s.parted = make([][]int, len(s.inputs))
	}
	for i, input := range s.order.Sequences {
		s.owned[input] = s.order.Shared[i]
		if shared := s.order.Shared[i]; shared > 0 && s.parted != nil {
			s.parted[owner[shared-1]] = append(s.parted[owner[shared-1]], shared)
		}
		owner = owner[:s.order.Shared[i]]
		for len(owner) < len(s.sequences[input].tokens) {
			owner = append(owner, input)
		}
		n, at := s.positions(input)
		for k := range n {
			s.readers = append(s.readers, reader{int32(owner[at(k)]), int32(at(k)), int32(input)})
		}
		if mean := s.inputs[input].Mean; mean != (Span{}) {
			if s.means == nil {
				s.means = newMeans(s.opts.Taps)
			}
			s.means.add(input, mean, owner, s.owned)
		}
	}
	slices.SortStableFunc(s.readers, func(a, b reader) int {
		return cmp.Or(cmp.Compare(a.owner, b.owner), cmp.Compare(a.position, b.position))
	})
}

// readersOf returns who reads the nodes that an input owns.
func (s *schedule) readersOf(owner int) []reader {
	compare := func(r reader, owner int) int { return cmp.Compare(int(r.owner), owner) }
	from, _ := slices.BinarySearchFunc(s.readers, owner, compare)
	n, _ := slices.BinarySearchFunc(s.readers[from:], owner+1, compare)
	return s.readers[from : from+n]
}

// firstRead returns the first position, of those that an input owns, that
// somebody reads, or its length.
func (s *schedule) firstRead(input int) int {
	first := len(s.sequences[input].tokens)
	if readers := s.readersOf(input); len(readers) > 0 {
		first = int(readers[0].position)
	}
	if s.means != nil {
		first = min(first, s.means.first(input, first))
	}
	return first
}

// parting returns the first position past from, and up to to, at which others part
// from an input, or to.
func (s *schedule) parting(input, from, to int) int {
	if s.parted != nil {
		for _, at := range s.parted[input] {
			if at > from {
				to = min(to, at)
			}
		}
	}
	return to
}

// compute visits the forest depth first, in runs.
func (s *schedule) compute(ctx context.Context) error {
	v := &visit{schedule: s, store: s.model.store(), packed: newPacked(), from: -1}
	defer v.end()
	for v.next < len(s.order.Sequences) {
		if err := v.run(ctx); err != nil {
			return err
		}
		for _, input := range v.completed {
			if s.opts.Completed != nil {
				if err := s.opts.Completed(input); err != nil {
					return err
				}
			}
		}
		if s.opts.Progress != nil {
			s.opts.Progress(v.done, s.order.Nodes)
		}
	}
	return nil
}

// visit is a schedule on its way through the forest. It holds on to the open
// path; the tree forgets the others.
type visit struct {
	*schedule
	store     *store
	packed    *packed
	open      *forest.Branch
	next      int   // the sequence in order
	from      int   // where it goes on; -1: it is not begun
	done      int   // nodes that are computed or were cached
	completed []int // inputs of which everything was read with the last run
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
	v.completed = v.completed[:0]
	done := 0
	for v.next < len(v.order.Sequences) && p.rows() < v.opts.RunTokens {
		input := v.order.Sequences[v.next]
		tokens, marked := len(v.sequences[input].tokens), v.marked[input]
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
			to = v.open.Len()
			if to < tokens && v.parting(input, to-1, tokens) == to {
				v.open.Part()
			}
			v.pack(p, input, v.from, to, v.open)
			done += max(0, to-max(v.from, v.owned[input]))
		}
		if v.from = to; to == tokens {
			v.completed = append(v.completed, input)
			v.next, v.from = v.next+1, -1
		}
	}
	if err := v.read(ctx, p, v.store); err != nil {
		return err
	}
	computed = true
	v.done += done
	v.usage.Computed += p.rows()
	return nil
}

func (v *visit) release() {
	if v.open != nil {
		v.open.Release()
		v.open = nil
	}
}

// end lets go of the open path.
func (v *visit) end() {
	v.store.Lock()
	v.release()
	v.store.tree.Trim()
	v.store.Unlock()
	v.model.close(v.store)
}

// pack adds the positions from … to-1 of an input that owns them.
func (s *schedule) pack(p *packed, input, from, to int, branch *forest.Branch) {
	sequence := &s.sequences[input]
	first := p.add(sequence, input, from, to, s.model.Decoder().RopeVariant(len(sequence.tokens)), branch)
	for _, reader := range s.readersOf(input) {
		if position := int(reader.position); from <= position && position < to {
			row := first + position - from
			p.readers[row] = append(p.readers[row], int(reader.input))
		}
	}
	if s.means != nil {
		s.means.pack(input, from, to, first)
	}
}

// read computes what is packed and hands out what is read.
func (s *schedule) read(ctx context.Context, p *packed, store *store) error {
	rows := p.read()
	tapped := rows
	if s.means != nil {
		tapped = s.means.rows(rows)
	}
	for i, at := range s.opts.Taps {
		p.tap(at, tapped, func(row int, activation []float32) {
			for _, input := range p.readers[row] {
				s.opts.Activation(input, p.positions[row], at, activation)
			}
			if s.means != nil {
				s.means.read(i, row, activation, func(input int, mean []float32) {
					s.opts.Activation(input, s.inputs[input].Mean.To-1, at, mean)
				})
			}
		})
	}
	if s.opts.Logits != nil {
		p.logits(rows, func(row int, logits []float32) {
			for _, input := range p.readers[row] {
				s.opts.Logits(input, p.positions[row], logits)
			}
		})
	}
	if err := p.compute(ctx, store); err != nil {
		return err
	}
	if s.means != nil {
		s.means.computed()
	}
	if len(p.failed) == 0 {
		return nil
	}
	row := p.failed[0]
	return &InputError{p.owners[row], s.model.notFinite(ctx, &s.sequences[p.owners[row]], p.positions[row])}
}
