package lm

import (
	"context"
	"errors"
	"slices"
)

// What is decided from a prompt is decided before the prompt is computed as it is
// steered: an unsteered pass reads the evidence. From then on the sequence has
// plain edits, or none: it shares what it is steered by with whoever is steered so
// without a condition.

// undecided lists the evidence that is taken once from the prompt, each once.
func (s *Steering) undecided() (list []*evidence) {
	if s == nil {
		return nil
	}
	for _, e := range s.edits {
		e.condition.leaves(func(l *evidence) {
			known := func(other *evidence) bool { return other.digest == l.digest }
			if l.when != EachToken && !slices.ContainsFunc(list, known) {
				list = append(list, l)
			}
		})
	}
	return list
}

// asDecided returns the steering where evidence from the prompt was found or not.
func (s *Steering) asDecided(list []*evidence, found []bool) *Steering {
	key := make([]byte, len(found))
	for i, holds := range found {
		if holds {
			key[i] = 1
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.decided[string(key)]; d != nil {
		return d
	}
	d := &Steering{loaded: s.loaded, parts: s.parts, given: s.given}
	for _, e := range s.edits {
		e.condition = e.condition.decided(func(l *evidence) (holds, known bool) {
			i := slices.IndexFunc(list, func(other *evidence) bool { return other.digest == l.digest })
			return i >= 0 && found[i], i >= 0
		})
		if e.condition == always || e.condition.sort != never {
			d.edits = append(d.edits, e)
		}
	}
	if s.decided == nil {
		s.decided = map[string]*Steering{}
	}
	s.decided[string(key)] = d
	return d
}

// question is an unsteered pass that reads the evidence of some prompts.
type question struct {
	*schedule
	asked []*asking
	of    []int // [inputs of the schedule] whose prompt it is, by number
}

// asking is the evidence of one sequence's prompt.
type asking struct {
	*sequence
	evidence []*evidence
	found    []bool
}

// ask prepares the pass for sequences that are undecided.
func (m *Model) ask(ctx context.Context, sequences []*sequence, runTokens int) (*question, error) {
	q := &question{}
	var opts ForwardOptions
	var prompts []Input
	for i, s := range sequences {
		a := &asking{sequence: s, evidence: s.steering.undecided()}
		a.found = make([]bool, len(a.evidence))
		q.asked = append(q.asked, a)
		for _, when := range []When{PromptMean, PromptLast} {
			if !slices.ContainsFunc(a.evidence, func(e *evidence) bool { return e.when == when }) {
				continue
			}
			in := Input{Tokens: s.tokens[:s.prompt], Mean: Span{0, s.prompt}, within: s.within}
			if when == PromptLast {
				in.Read, in.Mean = []int{s.prompt - 1}, Span{}
			}
			prompts, q.of = append(prompts, in), append(q.of, i)
		}
		for _, e := range a.evidence {
			if !slices.Contains(opts.Taps, e.at) {
				opts.Taps = append(opts.Taps, e.at)
			}
		}
	}
	opts.RunTokens, opts.amongOthers = runTokens, true
	opts.Activation = func(input, _ int, at Address, activation []float32) {
		when := PromptLast
		if prompts[input].Mean != (Span{}) {
			when = PromptMean
		}
		a := q.asked[q.of[input]]
		for i, e := range a.evidence {
			if e.at == at && e.when == when {
				a.found[i] = e.holds(e.measure.of(activation, e.vector), false)
			}
		}
	}
	plain := *m
	plain.steering = nil
	var err error
	q.schedule, err = plain.schedule(ctx, prompts, opts)
	return q, err
}

// answer gives the sequences what is decided.
func (q *question) answer() {
	for _, a := range q.asked {
		a.steering = a.steering.asDecided(a.evidence, a.found)
	}
}

// wrong returns whose prompt an error is about, by number; -1: it is about none.
func (q *question) wrong(err error) int {
	about := (*InputError)(nil)
	if errors.As(err, &about) {
		return q.of[about.Input]
	}
	return -1
}

// decide finds out what is decided from the prompts of sequences, and returns what
// that took to compute.
func (m *Model) decide(ctx context.Context, sequences []sequence, runTokens int) (took Usage, err error) {
	var open []*sequence
	var number []int
	for i := range sequences {
		if len(sequences[i].steering.undecided()) > 0 {
			open, number = append(open, &sequences[i]), append(number, i)
		}
	}
	if len(open) == 0 {
		return took, nil
	}
	q, err := m.ask(ctx, open, runTokens)
	if err == nil {
		err = q.compute(ctx)
	}
	if err != nil {
		if i := q.wrong(err); i >= 0 {
			err = &InputError{number[i], errors.Unwrap(err)}
		}
		return took, err
	}
	q.answer()
	return Usage{Computed: q.usage.Computed, ComputedLayers: q.usage.ComputedLayers}, nil
}

// decide computes one run of what undecided sequences of the batch wait for.
func (b *Batch) decide(ctx context.Context) error {
	if b.asking == nil {
		var of []*sequence
		for _, s := range b.open {
			if s.undecided {
				b.asked, of = append(b.asked, s), append(of, &s.sequence)
			}
		}
		if len(of) == 0 {
			return nil
		}
		q, err := b.model.ask(ctx, of, b.runTokens)
		if err != nil {
			b.asked = nil
			return err
		}
		b.question, b.asking = q, q.visit(b.store)
	}
	before := b.question.usage
	err := b.asking.run(ctx)
	if failed, ok := err.(*failure); ok {
		err = b.question.explain(ctx, failed)
	}
	b.usage.Computed += b.question.usage.Computed - before.Computed
	if err == nil && b.asking.next < len(b.asking.order.Sequences) {
		return nil
	}
	if err == nil {
		b.question.answer()
		for _, s := range b.asked {
			s.undecided, s.marks = false, s.marked(s.variant).Marks
		}
	} else if i := b.question.wrong(err); i >= 0 {
		b.end(b.asked[i], FinishError, errors.Unwrap(err))
		err = nil
	}
	b.stopAsking()
	return err
}

func (b *Batch) stopAsking() {
	if b.asking != nil {
		b.asking.end(nil)
	}
	b.question, b.asking, b.asked = nil, nil, nil
}
