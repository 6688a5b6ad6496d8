package lm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/steervec/steer/lm/forest"
)

// Batch writes many sequences together, each with its own options, seed,
// steering, stop strings and context. Sequences come and go between steps; what
// one of them writes does not depend on the others. A batch has one user at a
// time.
//
//	b := model.NewBatch(BatchOptions{})
//	defer b.Close()
//	s, err := b.Add(ctx, Input{Text: "Once"}, GenerateOptions{})
//	for b.Open() > 0 && err == nil {
//	    err = b.Step(ctx)
//	}
//	fmt.Println(s.Generation().Text)
type Batch struct {
	model     *Model
	store     *store
	runTokens int
	states    bool // the model has states
	slots     int  // that open sequences may grow to; 0: any number
	reserved  int  // that they may grow to
	packed    *packed
	rowOf     map[int]int // slot -> row of the run that is packed
	open      []*Sequence // in the order in which they were added
	added     int
	usage     Usage

	asked    []*Sequence // that wait for what their prompts decide
	question *question   // that is asked of the prompts; nil: none is
	asking   *visit      // of its forest
}

// BatchOptions say how a batch runs; the zero value is what most want.
type BatchOptions struct {
	// RunTokens is how many tokens of prompts are computed in a step, beside one
	// token of each sequence that writes, and as many again while conditions are
	// decided from prompts. It changes memory and speed, never results; 0: 1024.
	RunTokens int

	// Slots bounds what open sequences may grow to together, and with it the memory
	// of a cached view that keeps as many tokens. One for which there is no room at
	// present is refused by [Batch.Add] with [ErrFull], so that none that is open ever
	// has to make way. 0: no bound.
	Slots int
}

// ErrFull is the error of [Batch.Add] where a sequence has to wait until others
// have ended: for slots, or since the engine keeps a limited number of paths.
var ErrFull = errors.New("the batch is full")

// Sequence is one text of a batch.
type Sequence struct {
	sequence
	number int
	ctx    context.Context
	opts   GenerateOptions
	model  *Model

	given     int            // tokens that were there at the beginning
	undecided bool           // the prompt is to decide about the steering
	variant   int            // of the rotary positions
	marks     []forest.Mark  // of the tokens; nil: all zero
	branch    *forest.Branch // of the tokens that are computed or packed; nil: none is
	next      int            // the token that a step has chosen, before it is accepted
	sampler   sampler
	writer    writer
	finish    Finish
	err       error
	why       func(context.Context) error // finds the error of a sequence whose numbers are not finite; nil: it is not one

	reserved int // slots that it may grow to
	computed int // of the tokens that were there at the beginning, those that were computed for it
	read     int // of them, those after which the logits were read, where all are
	logprobs logprobs
	counts   bool // the input's own edits are counted
	acted    [][]Span
}

// NewBatch returns an empty batch on the model or view. On a cached view it
// shares what is computed with the view's other calls.
func (m *Model) NewBatch(opts BatchOptions) (*Batch, error) {
	n, err := checkRunTokens(opts.RunTokens)
	if err != nil {
		return nil, err
	}
	if opts.Slots < 0 {
		return nil, fmt.Errorf("%d slots", opts.Slots)
	}
	return &Batch{model: m, store: m.store(), runTokens: n, states: m.Decoder().StateWeight() > 0, slots: opts.Slots, packed: newPacked(), rowOf: map[int]int{}}, nil
}

// Add puts a sequence into the batch, whose prompt is computed in the next steps.
// ctx ends the sequence alone. Errors say what is wrong with the input or the
// options, or are [ErrFull].
func (b *Batch) Add(ctx context.Context, in Input, opts GenerateOptions) (*Sequence, error) {
	if err := opts.check(b.model.Decoder().Vocabulary); err != nil {
		return nil, err
	}
	checked, err := b.model.sequence(ctx, in)
	if err != nil {
		return nil, err
	}
	if b.Open() == b.atOnce() {
		return nil, ErrFull
	}
	if b.slots > 0 {
		switch need := b.growth(&checked, &opts); {
		case need > b.slots:
			return nil, fmt.Errorf("%d tokens and %d to write may take %d slots of %d", len(checked.tokens), opts.MaxTokens, need, b.slots)
		case b.reserved+need > b.slots:
			return nil, ErrFull
		}
	}
	s := b.add(ctx, checked, in.Seed, opts)
	s.counts = in.Steering != nil && len(in.Steering.edits) > 0
	return s, nil
}

// growth returns how many slots a sequence may come to take: its prompt in whole
// pages, of which each chunk begins one, what it sets aside for its text, and states:
// where it parts from others, at the prompt's end, at its own, and the next.
func (b *Batch) growth(s *sequence, opts *GenerateOptions) int {
	up := func(n, to int) int { return (n + to - 1) / to * to }
	written := opts.MaxTokens
	if d := b.model.Decoder(); d.Embedding.Positions != "" {
		written = min(written, d.MaxPositions-len(s.tokens))
	}
	computed := func(n int) int { return up(n, forest.PageSlots) + (n/b.runTokens+2)*forest.PageSlots }
	slots, states := computed(len(s.tokens))+up(written, ahead), 4
	if len(s.steering.undecided()) > 0 { // by an unsteered pass over the prompt
		slots += computed(s.prompt)
		states += 2
	}
	return slots + states*b.model.Decoder().StateWeight()
}

// add puts a sequence that was checked into the batch, with options that were.
func (b *Batch) add(ctx context.Context, checked sequence, seed uint64, opts GenerateOptions) *Sequence {
	s := &Sequence{sequence: checked, number: b.added, ctx: ctx, opts: opts, model: b.model, given: len(checked.tokens)}
	s.tokens = slices.Clone(s.tokens)
	s.variant = b.model.Decoder().RopeVariant(len(s.tokens))
	if s.undecided = len(s.steering.undecided()) > 0; !s.undecided {
		s.marks = s.marked(s.variant).Marks
	}
	s.writer = writer{sequence: s.number, opts: &s.opts}
	s.sampler = sampler{opts: &s.opts, random: rand.New(rand.NewPCG(opts.Seed, seed))}
	if b.model.tokens != nil {
		s.writer.stream = b.model.tokens.NewStream(!opts.IgnoreEnd)
	}
	s.logprobs = newLogprobs(&s.opts, s.tokens)
	s.reserved = b.growth(&checked, &opts)
	b.reserved += s.reserved
	b.open = append(b.open, s)
	b.added++
	b.usage.Given += s.given
	return s
}

// atOnce returns how many sequences may be open: each may end in a node of its own,
// and a tree has room for as many that others need.
func (b *Batch) atOnce() int {
	if most := b.model.engine.Limits().Ends; most > 0 {
		return max(1, most/2)
	}
	return math.MaxInt
}

// Open returns how many sequences go on.
func (b *Batch) Open() int { return len(b.open) }

// Reserved returns how many slots the open sequences may grow to together.
func (b *Batch) Reserved() int { return b.reserved }

// Usage counts the tokens of all prompts, and those that were computed, written
// ones included.
func (b *Batch) Usage() Usage { return b.usage }

// Remove ends a sequence; what it has written stays with it.
func (b *Batch) Remove(s *Sequence) { b.end(s, FinishCancelled, nil) }

// Close ends every sequence and gives the batch's memory back.
func (b *Batch) Close() {
	for len(b.open) > 0 {
		b.Remove(b.open[0])
	}
	b.stopAsking()
	b.store.Lock()
	b.store.tree.Trim()
	b.store.Unlock()
	b.model.close(b.store)
}

// Step computes one token of every sequence that writes and then prompts, in the
// order of their coming, up to the batch's limit; it chooses the next tokens.
// Where a sequence's context has ended, or its numbers stop being finite, that
// sequence ends and says why in [Sequence.Err]. When ctx ends, Step returns its
// error, and can be called again.
func (b *Batch) Step(ctx context.Context) error {
	for _, s := range slices.Clone(b.open) {
		if err := s.ctx.Err(); err != nil {
			b.end(s, FinishCancelled, err)
		}
	}
	if err := b.decide(ctx); err != nil {
		return err
	}
	ready, err := b.run(ctx)
	if err != nil {
		return err
	}
	for _, s := range ready {
		switch {
		case s.Done(): // what was told of another's token has removed it
		case s.why != nil:
			b.end(s, FinishError, nil)
		default:
			if finish := s.accept(s.next); finish != "" {
				b.end(s, finish, nil)
			}
		}
	}
	return nil
}

// run packs one run and computes it. It returns the sequences that have chosen a
// token, or failed.
func (b *Batch) run(ctx context.Context) (ready []*Sequence, err error) {
	b.store.Lock()
	defer b.store.Unlock()
	p := b.packed
	p.reset()
	clear(b.rowOf)
	computed := false
	defer func() {
		if !computed {
			b.store.tree.Discard()
		}
	}()
	for _, s := range b.open {
		s.outgrow()
	}
	// A sequence is packed once: the run's segments have its path, which must not be
	// extended any more.
	for i, s := range b.open {
		if s.writes() {
			b.pack(i, 1)
		}
	}
	limit := p.rows() + b.runTokens
	for i, s := range b.open {
		if room := limit - p.rows(); room > 0 && !s.writes() && !s.undecided && !(b.store.tree.Full() && p.rows() > 0) {
			b.pack(i, room)
		}
	}
	rows := p.read()
	p.logits(rows, func(row int, logits []float32) {
		for _, i := range p.readers[row] {
			b.open[i].see(p.positions[row], logits)
		}
	})
	if err := p.compute(ctx, b.store); err != nil {
		return nil, err
	}
	computed = true
	b.usage.Computed += p.rows()
	for row, i := range p.owners {
		if s := b.open[i]; p.positions[row] < s.given {
			s.computed++
		}
	}
	for _, row := range p.failed {
		for _, i := range p.readers[row] {
			s, position := b.open[i], p.positions[row]
			// Finding out takes a pass of its own, which is nothing that others wait for.
			s.why = func(ctx context.Context) error { return s.model.notFinite(ctx, &s.sequence, position) }
			ready = append(ready, s)
		}
	}
	for _, row := range rows {
		for _, i := range p.readers[row] {
			s, position := b.open[i], p.positions[row]
			s.read = max(s.read, position+1)
			if position == len(s.tokens)-1 {
				ready = append(ready, s)
			}
		}
	}
	return ready, nil
}

// see takes the logits that follow a position: they choose the next token, and say
// how likely a token is that is there already.
func (s *Sequence) see(position int, logits []float32) {
	if position < len(s.tokens)-1 {
		s.logprobs.given(position+1, s.tokens[position+1], logits)
		return
	}
	s.next = s.sampler.choose(logits, s.tokens, s.given)
	s.logprobs.chosen(s.next, logits)
}

// from returns the first position to compute: the last one at the latest, since
// its logits are wanted, and where those of all tokens are, the first after which
// they were not read.
func (s *Sequence) from() int {
	from := 0
	if s.branch != nil {
		from = min(s.branch.Len(), len(s.tokens)-1)
	}
	if s.readsPrompt() {
		from = min(from, s.read)
	}
	return from
}

// readsPrompt reports whether logits of the prompt are still to be read. They are
// computed anew where keys and values are there, which do not have them.
func (s *Sequence) readsPrompt() bool { return s.opts.Echo && s.read < s.given }

// writes reports whether the next token to compute is one that was written.
func (s *Sequence) writes() bool { return len(s.tokens) > s.given && s.from() == len(s.tokens)-1 }

// ahead is how many slots a sequence that writes sets aside.
const ahead = 64

// pack adds at most so many tokens of a sequence to the run, those that follow
// what is computed.
func (b *Batch) pack(number, most int) {
	s, p := b.open[number], b.packed
	if s.branch == nil {
		s.branch = b.store.tree.Branch()
	}
	all := forest.Sequence{Tokens: s.tokens, Marks: s.marks}
	last := len(s.tokens) - 1
	// What is to be read anew begins at the branch's end where that has the state.
	if at := s.branch.Len(); at < last && !(b.states && s.readsPrompt()) {
		s.branch.Follow(all.Upto(last).From(at))
	}
	from := s.from()
	to := min(from+most, len(s.tokens))
	room := 0
	if s.writes() {
		room = ahead
	}
	if b.states {
		b.packOn(number, all, from, to, room)
		return
	}
	if at := s.branch.Len(); at < to {
		s.branch.Extend(all.Upto(to).From(at), room)
	}
	// Tokens whose logits are wanted may be packed already, for others.
	path, wanted := s.branch.Path(), last
	if s.readsPrompt() {
		wanted = from
	}
	for from < to {
		end := from
		for end < to && (end < wanted || !b.isPacked(path, end)) {
			end++
		}
		if from < end {
			upto := path.Upto(end)
			first := p.add(&s.sequence, number, from, end, s.variant, upto)
			b.place(upto, from, end, first)
			from = min(max(from, wanted), end)
		}
		for ; from < to && b.isPacked(path, from); from++ {
			row := b.rowOf[path.Slot(from)]
			p.readers[row] = append(p.readers[row], number)
		}
	}
}

// packOn is pack where states are: each segment goes on from the branch's end. One
// ends before the prompt's last token, where others with the same prompt begin.
func (b *Batch) packOn(number int, all forest.Sequence, from, to, room int) {
	s, p := b.open[number], b.packed
	last := len(s.tokens) - 1
	wanted := last
	if s.readsPrompt() {
		wanted = from
	}
	for from < to {
		end := to
		if from < last {
			end = min(to, last)
		}
		s.branch.Extend(all.Upto(end).From(from), room)
		if end = s.branch.Len(); end == last {
			s.branch.Part()
		}
		path := s.branch.Path()
		if _, after := s.branch.States(); after != 0 || from < last || !b.isPacked(path, last) {
			first := p.add(&s.sequence, number, from, end, s.variant, path)
			p.goOn(s.branch)
			b.place(path, from, end, first)
		}
		for position := max(from, wanted); position < end; position++ {
			row := b.rowOf[path.Slot(position)]
			p.readers[row] = append(p.readers[row], number)
		}
		from = end
	}
}

// isPacked reports whether a position of a path has a row of the run that is packed.
func (b *Batch) isPacked(path forest.Path, position int) bool {
	_, packed := b.rowOf[path.Slot(position)]
	return packed
}

// place notes that the positions from … to-1 of a path have the rows from first on.
func (b *Batch) place(path forest.Path, from, to, first int) {
	at := 0
	for _, span := range path {
		for position := max(at, from); position < min(at+span.Len, to); position++ {
			b.rowOf[span.Slot+position-at] = first + position - from
		}
		at += span.Len
	}
}

// outgrow begins a sequence anew whose keys were computed with positions that
// are not those of its length any more.
func (s *Sequence) outgrow() {
	if variant := s.model.Decoder().RopeVariant(len(s.tokens)); variant != s.variant {
		s.release()
		s.variant, s.marks = variant, s.marked(variant).Marks
	}
}

func (s *Sequence) release() {
	if s.branch != nil {
		s.branch.Release()
		s.branch = nil
	}
}

// end takes a sequence out of the batch.
func (b *Batch) end(s *Sequence, finish Finish, err error) {
	i := slices.Index(b.open, s)
	if i < 0 {
		return
	}
	b.open = slices.Delete(b.open, i, i+1)
	b.reserved -= s.reserved
	s.finish, s.err = finish, err
	s.writer.close()
	b.store.Lock()
	defer b.store.Unlock()
	if s.counts {
		s.acted = s.count(b.store)
	}
	s.release()
}

// count returns at which of the computed tokens each of the input's edits acted.
func (s *Sequence) count(store *store) [][]Span {
	out := make([][]Span, s.steering.given)
	if s.branch == nil {
		return out // nothing was computed
	}
	position := 0
	for _, span := range s.branch.Path() {
		for slot := span.Slot; slot < span.Slot+span.Len; slot++ {
			if a := s.at(position, s.variant); a != nil {
				for _, e := range a.edits {
					if e.number < 0 || e.condition != nil && !e.condition.holds(store.evidence[slot]) {
						continue
					}
					spans := &out[e.number]
					if last := len(*spans) - 1; last >= 0 && (*spans)[last].To == position {
						(*spans)[last].To++
					} else {
						*spans = append(*spans, Span{position, position + 1})
					}
				}
			}
			position++
		}
	}
	return out
}

// accept puts a chosen token at the end of the sequence and says whether that
// ends it.
func (s *Sequence) accept(token int) Finish {
	s.logprobs.accept()
	if !s.opts.IgnoreEnd && slices.Contains(s.model.ends, token) {
		return FinishEnd
	}
	s.tokens = append(s.tokens, token)
	if s.marks != nil {
		var mark forest.Mark
		if a := s.at(len(s.tokens)-1, s.variant); a != nil {
			mark = a.mark
		}
		s.marks = append(s.marks, mark)
	}
	if s.writer.write(token) {
		return FinishStop
	}
	if len(s.tokens)-s.given >= s.opts.MaxTokens || s.model.checkLength(len(s.tokens)+1) != nil {
		return FinishLength
	}
	return ""
}

// Number returns how many sequences were added before.
func (s *Sequence) Number() int { return s.number }

// Done reports whether the sequence has ended.
func (s *Sequence) Done() bool { return s.finish != "" }

// Err says why a sequence ended before its text did; nil where it did not. Where
// its numbers stopped being finite, the first call computes it once more, to find
// out where that began; the batch may go on meanwhile.
func (s *Sequence) Err() error { return s.failure(s.ctx) }

func (s *Sequence) failure(ctx context.Context) error {
	if s.why != nil {
		s.err, s.why = s.why(ctx), nil
	}
	return s.err
}

// Generation returns what is written so far. Later steps do not change it.
func (s *Sequence) Generation() Generation {
	return Generation{
		Prompt: s.tokens[:s.given:s.given], IDs: s.tokens[s.given:len(s.tokens):len(s.tokens)], Text: s.writer.text.String(), Finish: s.finish,
		Cached: max(0, s.given-s.computed), Acted: s.acted, Logprobs: s.logprobs.written[:len(s.logprobs.written):len(s.logprobs.written)], PromptLogprobs: s.logprobs.prompt,
	}
}
