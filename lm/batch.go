package lm

import (
	"context"
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
	packed    *packed
	rowOf     map[int]int // slot -> row of the run that is packed
	open      []*Sequence // in the order in which they were added
	added     int
	usage     Usage
}

// BatchOptions say how a batch runs; the zero value is what most want.
type BatchOptions struct {
	// RunTokens is how many tokens of prompts are computed in a step, beside one
	// token of each sequence that writes. It changes memory and speed, never
	// results; 0: 1024.
	RunTokens int
}

// Sequence is one text of a batch.
type Sequence struct {
	sequence
	number int
	ctx    context.Context
	opts   GenerateOptions
	model  *Model

	given   int            // tokens that were there at the beginning
	variant int            // of the rotary positions
	marks   []forest.Mark  // of the tokens; nil: all zero
	branch  *forest.Branch // of the tokens that are computed or packed; nil: none is
	next    int            // the token that a step has chosen, before it is accepted
	sampler sampler
	writer  writer
	finish  Finish
	err     error
}

// NewBatch returns an empty batch on the model or view. On a cached view it
// shares what is computed with the view's other calls.
func (m *Model) NewBatch(opts BatchOptions) (*Batch, error) {
	n, err := checkRunTokens(opts.RunTokens)
	if err != nil {
		return nil, err
	}
	return &Batch{model: m, store: m.store(), runTokens: n, states: m.Decoder().StateWeight() > 0, packed: newPacked(), rowOf: map[int]int{}}, nil
}

// Add puts a sequence into the batch, whose prompt is computed in the next steps.
// ctx ends the sequence alone. Errors say what is wrong with the input or the
// options.
func (b *Batch) Add(ctx context.Context, in Input, opts GenerateOptions) (*Sequence, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	checked, err := b.model.sequence(ctx, in)
	if err != nil {
		return nil, err
	}
	return b.add(ctx, checked, in.Seed, opts), nil
}

// add puts a sequence that was checked into the batch, with options that were.
func (b *Batch) add(ctx context.Context, checked sequence, seed uint64, opts GenerateOptions) *Sequence {
	s := &Sequence{sequence: checked, number: b.added, ctx: ctx, opts: opts, model: b.model, given: len(checked.tokens)}
	s.tokens = slices.Clone(s.tokens)
	s.variant = b.model.Decoder().RopeVariant(len(s.tokens))
	s.marks = s.marked(s.variant).Marks
	s.writer = writer{sequence: s.number, opts: &s.opts}
	s.sampler = sampler{opts: &s.opts, random: rand.New(rand.NewPCG(opts.Seed, seed))}
	if b.model.tokens != nil {
		s.writer.stream = b.model.tokens.NewStream(!opts.IgnoreEnd)
	}
	b.open = append(b.open, s)
	b.added++
	b.usage.Given += s.given
	return s
}

// Open returns how many sequences go on.
func (b *Batch) Open() int { return len(b.open) }

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
	ready, err := b.run(ctx)
	if err != nil {
		return err
	}
	for _, s := range ready {
		switch {
		case s.Done(): // what was told of another's token has removed it
		case s.err != nil:
			b.end(s, FinishError, s.err)
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
		if room := limit - p.rows(); room > 0 && !s.writes() {
			b.pack(i, room)
		}
	}
	rows := p.read()
	p.logits(rows, func(row int, logits []float32) {
		for _, i := range p.readers[row] {
			s := b.open[i]
			s.next = s.sampler.choose(logits, s.tokens)
		}
	})
	if err := p.compute(ctx, b.store); err != nil {
		return nil, err
	}
	computed = true
	b.usage.Computed += p.rows()
	for _, row := range p.failed {
		for _, i := range p.readers[row] {
			s := b.open[i]
			s.err = b.model.notFinite(ctx, &s.sequence, p.positions[row])
		}
	}
	for _, row := range rows {
		for _, i := range p.readers[row] {
			ready = append(ready, b.open[i])
		}
	}
	return ready, nil
}

// left returns how many tokens are to be computed: the last one even where it is
// there, since its logits are wanted.
func (s *Sequence) left() int {
	if s.branch == nil {
		return len(s.tokens)
	}
	return max(1, len(s.tokens)-s.branch.Len())
}

// writes reports whether the next token to compute is one that was written.
func (s *Sequence) writes() bool { return len(s.tokens) > s.given && s.left() == 1 }

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
	if at := s.branch.Len(); at < last {
		s.branch.Follow(all.Upto(last).From(at))
	}
	from := s.branch.Len()
	to := min(from+most, len(s.tokens))
	if b.states && from < last && last < to {
		// others with the same prompt begin at its last token
		b.extend(number, all, from, last, 0)
		s.branch.Part()
		from = last
	}
	room := 0
	if s.writes() {
		room = ahead
	}
	if row := b.extend(number, all, from, to, room); to == last+1 {
		p.readers[row] = append(p.readers[row], number)
	}
}

// extend packs the positions from … to-1 of a sequence and returns the row of the
// last; where that is packed already, no other is.
func (b *Batch) extend(number int, all forest.Sequence, from, to, room int) int {
	s := b.open[number]
	for {
		s.branch.Extend(all.Upto(to).From(from), room)
		if s.branch.Len() == to {
			break
		}
		b.packed.add(&s.sequence, number, from, s.branch.Len(), s.variant, s.branch)
		from = s.branch.Len()
	}
	_, left := s.branch.States()
	if row, packed := b.rowOf[s.branch.Path().Last()]; packed && left == 0 && to == len(s.tokens) {
		return row
	}
	first := b.packed.add(&s.sequence, number, from, to, s.variant, s.branch)
	b.place(s.branch.Path(), from, to, first)
	return first + to - from - 1
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
	s.finish, s.err = finish, err
	s.writer.close()
	b.store.Lock()
	defer b.store.Unlock()
	s.release()
}

// accept puts a chosen token at the end of the sequence and says whether that
// ends it.
func (s *Sequence) accept(token int) Finish {
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

// Err says why a sequence ended before its text did; nil where it did not.
func (s *Sequence) Err() error { return s.err }

// Generation returns what is written so far.
func (s *Sequence) Generation() Generation {
	return Generation{Prompt: s.tokens[:s.given:s.given], IDs: s.tokens[s.given:len(s.tokens):len(s.tokens)], Text: s.writer.text.String(), Finish: s.finish}
}
