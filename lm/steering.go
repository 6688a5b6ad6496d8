package lm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// Steering is a list of edits that were checked against a model. It is
// immutable and known by its content: what was computed under one steering is
// found again under another that acts in the same way.
type Steering struct {
	loaded *loaded
	edits  []resolved // in the order in which they act
	parts  []Between  // of the text, that edits are restricted to
	given  int        // edits that it was made of, idle ones included; of the last that were added

	mu      sync.Mutex
	acting  map[actingKey]*acting
	decided map[string]*Steering // by what was found in the prompt
}

// resolved is an edit whose layers are 0-based and ascending.
type resolved struct {
	number   int // among the edits that were given with it; -1: others were added after them
	site     Site
	layers   []int
	vectors  [][]float32 // [layers], as the operator has prepared them
	operator Operator
	tokens   Tokens
	digest   [sha256.Size]byte // of all above but the tokens

	condition *condition // nil: none
	part      int        // of the text, by its number in the steering; -1: everywhere
	outside   bool       // of the part
	decay     Decay
}

const (
	// maxEdits is how many edits may be at work on one sequence.
	maxEdits = 64
	// maxEvidence is how much evidence may be taken of one token.
	maxEvidence = 64
)

// Steering checks edits against the model and makes of them what an [Input]
// takes. It is an error where a layer is out of range, given twice or without
// the site, a vector has another width or is not finite, or the operator makes
// no sense with it. Edits that would change nothing are left out.
func (m *Model) Steering(edits ...Edit) (*Steering, error) {
	s := &Steering{loaded: m.loaded, given: len(edits)}
	for i, e := range edits {
		r, err := m.resolve(e)
		r.number = i
		if err == nil {
			err = s.restrict(m, &r, e)
		}
		if err != nil && len(edits) > 1 {
			err = fmt.Errorf("edit %d of %d: %w", i+1, len(edits), err)
		}
		if err != nil {
			return nil, err
		}
		if len(r.layers) > 0 {
			s.edits = append(s.edits, r)
		}
	}
	return s, s.checkSize()
}

// checkSize returns an error where more is at work than can be.
func (s *Steering) checkSize() error {
	asked := map[[sha256.Size]byte]bool{}
	for _, e := range s.edits {
		e.condition.leaves(func(l *evidence) { asked[l.digest] = true })
	}
	switch {
	case len(s.edits) > maxEdits:
		return fmt.Errorf("%d edits at once; at most %d can be", len(s.edits), maxEdits)
	case len(asked) > maxEvidence:
		return fmt.Errorf("%d pieces of evidence at once; at most %d can be", len(asked), maxEvidence)
	case len(s.parts) > maxParts:
		return fmt.Errorf("%d kinds of parts of the text at once; at most %d can be", len(s.parts), maxParts)
	}
	return nil
}

// restrict checks what an edit depends on beside the selection of tokens.
func (s *Steering) restrict(m *Model, r *resolved, e Edit) (err error) {
	if r.condition, err = m.condition(e.Condition, r.site, r.layers, 0); err != nil {
		return err
	}
	r.decay, r.part = e.Decay, -1
	if err := e.Decay.Check(); err != nil || e.Between == nil {
		return err
	}
	if m.tokens == nil {
		return fmt.Errorf("a part of the text is to be found, and model %s has no tokenizer", m.id)
	}
	r.part, r.outside = s.partOf(*e.Between), e.Between.Outside
	return e.Between.Check()
}

// partOf returns the number of a part of the text.
func (s *Steering) partOf(b Between) int {
	b.Outside = false
	i := slices.Index(s.parts, b)
	if i < 0 {
		i = len(s.parts)
		s.parts = append(s.parts, b)
	}
	return i
}

// resolve checks an edit and prepares its vectors, leaving out layers at which it
// is idle.
func (m *Model) resolve(e Edit) (resolved, error) {
	r := resolved{site: e.Site, operator: e.Operator, tokens: e.Tokens}
	if r.site == "" {
		r.site = DecoderBlock
	}
	if e.Operator == nil {
		return r, errors.New("the edit has no operator")
	}
	if len(e.Layers) == 0 {
		return r, errors.New("the edit has no layers")
	}
	vectors := map[int][]float32{}
	for given, vector := range e.Layers {
		layer, err := m.Layer(given)
		if err != nil {
			return r, err
		}
		if err := m.CheckSite(layer, r.site); err != nil {
			return r, err
		}
		if err := m.engine.Check(layer, r.site, e.Operator); err != nil {
			return r, err
		}
		if _, twice := vectors[layer]; twice {
			return r, fmt.Errorf("layer %d is given twice", layer)
		}
		width := m.Width(layer, r.site)
		if len(vector) == 0 || len(vector)%width != 0 {
			return r, fmt.Errorf("the vector for layer %d has %d elements; site %s of model %s has %d", layer, len(vector), r.site, m.id, width)
		}
		if err := finite.Check(vector); err != nil {
			return r, fmt.Errorf("the vector for layer %d: %w", layer, err)
		}
		prepared, err := e.Operator.Prepare(slices.Clone(vector), width)
		if err != nil {
			return r, fmt.Errorf("the vector for layer %d: %w", layer, err)
		}
		if vectors[layer] = prepared; prepared != nil {
			r.layers = append(r.layers, layer)
		}
	}
	slices.Sort(r.layers)
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %q %d\n", r.site, r.operator.Name(), r.layers)
	for _, layer := range r.layers {
		r.vectors = append(r.vectors, vectors[layer])
		binary.Write(hash, binary.LittleEndian, vectors[layer]) // a hash takes everything
	}
	hash.Sum(r.digest[:0])
	return r, nil
}

// ID names what the steering does to which tokens; "" where it does nothing.
func (s *Steering) ID() string {
	if s == nil || len(s.edits) == 0 {
		return ""
	}
	hash := sha256.New()
	for _, e := range s.edits {
		fmt.Fprintf(hash, "%x %T %v", e.digest, e.tokens, e.tokens)
		e.condition.write(hash)
		if e.part >= 0 {
			fmt.Fprintf(hash, " %q %q %v", s.parts[e.part].Begin, s.parts[e.part].End, e.outside)
		}
		if e.decay != (Decay{}) {
			fmt.Fprint(hash, " ", e.decay)
		}
		fmt.Fprintln(hash)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

// then returns the steering with the edits of another after its own.
func (s *Steering) then(other *Steering) (*Steering, error) {
	switch {
	case other == nil || len(other.edits) == 0:
		return s, nil
	case s == nil || len(s.edits) == 0:
		return other, nil
	case s.loaded != other.loaded:
		return nil, errOtherModel
	}
	both := &Steering{loaded: s.loaded, edits: slices.Clone(s.edits), parts: slices.Clone(s.parts), given: other.given}
	for i := range both.edits {
		both.edits[i].number = -1
	}
	for _, e := range other.edits {
		if e.part >= 0 {
			e.part = both.partOf(other.parts[e.part])
		}
		both.edits = append(both.edits, e)
	}
	return both, both.checkSize()
}

var errOtherModel = errors.New("the steering was made for another model")

// check returns an error where a selection names tokens that a prompt lacks.
func (s *Steering) check(prompt int) error {
	for _, e := range s.edits {
		if e.tokens != nil {
			if err := e.tokens.Check(prompt); err != nil {
				return err
			}
		}
	}
	return nil
}

// acting is what makes a token another one than its plain twin.
type acting struct {
	mark     forest.Mark
	edits    []atWork
	evidence []*evidence // that their conditions ask for, each once
}

// atWork is an edit that acts on a token.
type atWork struct {
	*resolved
	scale     float32    // of what it adds
	condition *condition // numbered by the acting's evidence; nil: none
}

// actingKey is what an acting depends on.
type actingKey struct {
	active  uint64      // bit i: edit i
	faded   string      // the shares that are left of the active edits, where some fade
	variant int         // of the rotary positions, which the sequence's length chooses
	within  forest.Mark // what kind of computation it is part of
}

// at returns what acts on the token at a position, which is inside some parts of
// the text; nil where nothing does.
func (s *Steering) at(position, prompt int, inside uint64, variant int, within forest.Mark) *acting {
	key := actingKey{variant: variant, within: within}
	for i, e := range s.edits {
		switch {
		case e.tokens != nil && !e.tokens.Selects(position, prompt), e.part >= 0 && inside>>e.part&1 != 0 == e.outside:
			continue
		case e.decay.HalfLife > 0:
			left := e.decay.at(position, prompt)
			if left == 0 {
				continue
			}
			if left < 1 {
				key.faded += fmt.Sprint(i, " ", math.Float32bits(left), " ")
			}
		}
		key.active |= 1 << i
	}
	if key == (actingKey{}) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.acting[key]; a != nil {
		return a
	}
	a := &acting{}
	hash := sha256.New()
	fmt.Fprintln(hash, variant, within)
	for i := range s.edits {
		if key.active&(1<<i) == 0 {
			continue
		}
		e := &s.edits[i]
		w := atWork{resolved: e, scale: e.decay.at(position, prompt), condition: e.condition.numbered(a.ask)}
		a.edits = append(a.edits, w)
		hash.Write(e.digest[:])
		e.condition.write(hash)
		if w.scale != 1 {
			fmt.Fprintln(hash, w.scale)
		}
	}
	copy(a.mark[:], hash.Sum(nil))
	if s.acting == nil || len(s.acting) > 1<<12 { // lengths can make any number of variants
		s.acting = map[actingKey]*acting{}
	}
	s.acting[key] = a
	return a
}

// ask returns the bit of a piece of evidence, which is asked for.
func (a *acting) ask(e *evidence) int {
	bit := a.bitOf(e)
	if bit < 0 {
		bit = len(a.evidence)
		a.evidence = append(a.evidence, e)
	}
	return bit
}

// addTo lists the changes of some rows for an engine. acts says for which rows a
// condition holds.
func (a *acting) addTo(edits []engine.Edit, rows []int, acts func(*condition) func(row int) bool) []engine.Edit {
	for _, e := range a.edits {
		for i, layer := range e.layers {
			edits = append(edits, engine.Edit{
				Layer: layer, Site: e.site, Rows: rows, Operator: e.operator, Vector: e.vectors[i], Scale: e.scale, Acts: acts(e.condition),
			})
		}
	}
	return edits
}
