package lm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/lm/arch"
)

// Condition says when an edit acts: where there is evidence in the sequence's own
// activations, or as other conditions together say. It is plain data of which
// exactly one field is set, and known by its content.
//
// What is decided from the prompt is decided once, from an unsteered pass over it;
// the edit then acts on all of its tokens or on none. What is decided for each token
// is decided in the token's own pass, so that the edited site must come after the
// evidence.
type Condition struct {
	Evidence *Evidence
	All, Any []Condition
	Not      *Condition
}

// Evidence is a number that is measured of an activation, and what holds of it.
type Evidence struct {
	Layer   int       // 0-based; negative ones count from the last
	Site    Site      // "": decoder_block
	Vector  []float32 // [rows, width of the site]; one row, or several of a subspace for CAST
	Measure Measure   // "": CAST
	When    When      // "": PromptMean

	// The evidence holds where the measure is above the threshold, or below.
	Threshold float64
	Below     bool

	// Release is for EachToken: once the evidence holds, it goes on holding for the
	// tokens that follow, those that the edit selects, until the measure has come
	// back past this. Nil: past the threshold.
	Release *float64
}

// Measure is what is measured of an activation h with a vector v.
type Measure string

const (
	// CAST is the cosine of h with tanh(Ph), P being the projection on what v's rows
	// span (Lee et al. 2024, "Programming Refusal with Conditional Activation
	// Steering"; IBM activation-steering, leash_layer.py).
	CAST Measure = "cast"
	// Cosine is the cosine of h with v.
	Cosine Measure = "cosine"
	// Projection is h·v/‖v‖.
	Projection Measure = "projection"
)

// When says of which activations a measure is taken.
type When string

const (
	// PromptMean is once, of the mean over the prompt's tokens.
	PromptMean When = "prompt-mean"
	// PromptLast is once, of the prompt's last token.
	PromptLast When = "prompt-last"
	// EachToken is of each token that the edit selects.
	EachToken When = "token"
)

// condition is a condition that was checked against a model.
type condition struct {
	sort conditionSort
	leaf *evidence    // of a leaf
	of   []*condition // of the others
	bit  int          // of a leaf, among what acts on a token
}

type conditionSort byte

const (
	leaf conditionSort = iota
	all
	some
	not
	never
)

// evidence is a leaf.
type evidence struct {
	at        Address
	vector    []float32 // as the measure is to have it
	measure   Measure
	when      When
	threshold float64
	release   float64
	below     bool
	digest    [sha256.Size]byte
}

// always is the condition that holds: none. It stands for what is decided.
var always *condition

// maxDepth bounds how deep conditions nest.
const maxDepth = 32

// condition checks a condition for edits at a site of some layers.
func (m *Model) condition(c *Condition, site Site, layers []int, depth int) (*condition, error) {
	if c == nil {
		return always, nil
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("the condition is nested more than %d deep", maxDepth)
	}
	out := &condition{}
	var parts []Condition
	given := 0
	for _, has := range []bool{c.Evidence != nil, c.All != nil, c.Any != nil, c.Not != nil} {
		if has {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, errors.New("a condition is exactly one of evidence, all, any and not")
	case c.Evidence != nil:
		var err error
		out.leaf, err = m.evidence(c.Evidence, site, layers)
		return out, err
	case c.Not != nil:
		out.sort, parts = not, []Condition{*c.Not}
	case c.All != nil:
		out.sort, parts = all, c.All
	default:
		out.sort, parts = some, c.Any
	}
	if len(parts) == 0 {
		return nil, errors.New("a condition of no conditions says nothing")
	}
	for i := range parts {
		part, err := m.condition(&parts[i], site, layers, depth+1)
		if err != nil {
			return nil, err
		}
		out.of = append(out.of, part)
	}
	return out, nil
}

// evidence checks a leaf.
func (m *Model) evidence(e *Evidence, site Site, layers []int) (*evidence, error) {
	out := &evidence{measure: e.Measure, when: e.When, threshold: e.Threshold, release: e.Threshold, below: e.Below}
	fail := func(format string, a ...any) (*evidence, error) {
		return nil, fmt.Errorf("evidence at %v: %w", out.at, fmt.Errorf(format, a...))
	}
	var err error
	if out.at.Layer, err = m.Layer(e.Layer); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if out.at.Site = e.Site; e.Site == "" {
		out.at.Site = DecoderBlock
	}
	if err := m.CheckSite(out.at.Layer, out.at.Site); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if err := m.engine.Check(out.at.Layer, out.at.Site, nil); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	switch {
	case out.when == "":
		out.when = PromptMean
	case out.when != PromptMean && out.when != PromptLast && out.when != EachToken:
		return fail("it is taken %q; it can be taken %s, %s or %s", out.when, PromptMean, PromptLast, EachToken)
	}
	if !finite.Is(out.threshold) {
		return fail("the threshold is %v", out.threshold)
	}
	if e.Release != nil {
		out.release = *e.Release
		switch {
		case out.when != EachToken:
			return fail("what is decided once from the prompt is not released")
		case !finite.Is(out.release) || out.below && out.release < out.threshold || !out.below && out.release > out.threshold:
			return fail("it is released at %v, which is not behind the threshold %v", out.release, out.threshold)
		}
	}
	if out.measure == "" {
		out.measure = CAST
	}
	if out.vector, err = out.measure.prepare(e.Vector, m.Width(out.at.Layer, out.at.Site)); err != nil {
		return fail("%w", err)
	}
	if out.when == EachToken {
		for _, layer := range layers {
			if !m.passes(out.at, Address{layer, site}) {
				return fail("a token's own activations there are not known yet when it is edited at %v: take evidence that comes before, or from the prompt", Address{layer, site})
			}
		}
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%v %q %q %q %v %v %v\n", out.at.Layer, out.at.Site, out.measure, out.when,
		math.Float64bits(out.threshold), math.Float64bits(out.release), out.below)
	binary.Write(hash, binary.LittleEndian, out.vector) // a hash takes everything
	hash.Sum(out.digest[:0])
	return out, nil
}

// passes reports whether every token passes one address before the other.
func (m *Model) passes(first, then Address) bool {
	if first.Layer != then.Layer {
		return first.Layer < then.Layer
	}
	block := &m.Decoder().Blocks[first.Layer]
	if block.First != nil { // two blocks share the layer's sites; what leaves the second is last
		return then.Site == DecoderBlock && first.Site != DecoderBlock
	}
	order := passed(block)
	a, b := slices.Index(order, first.Site), slices.Index(order, then.Site)
	return 0 <= a && a < b
}

// passed returns the sites of a block in the order in which a token passes them.
func passed(b *arch.Block) []Site {
	isAfter := func(n *arch.Norm) bool { return n != nil && n.Site == PostAttentionLayerNorm }
	switch {
	case isAfter(b.AfterAttention) || isAfter(b.AfterAttentionAdd):
		return []Site{InputLayerNorm, AttnHeads, SelfAttn, PostAttentionLayerNorm, ResidualMid, MLP, DecoderBlock}
	case b.Parallel:
		return []Site{InputLayerNorm, AttnHeads, PostAttentionLayerNorm, SelfAttn, MLP, DecoderBlock}
	}
	return []Site{InputLayerNorm, AttnHeads, SelfAttn, ResidualMid, PostAttentionLayerNorm, MLP, DecoderBlock}
}

// leaves calls f for every leaf.
func (c *condition) leaves(f func(*evidence)) {
	switch {
	case c == nil:
	case c.sort == leaf:
		f(c.leaf)
	default:
		for _, part := range c.of {
			part.leaves(f)
		}
	}
}

// write writes what the condition is known by.
func (c *condition) write(w io.Writer) {
	if c == nil {
		return
	}
	fmt.Fprintf(w, "(%d", c.sort)
	if c.sort == leaf {
		w.Write(c.leaf.digest[:])
	}
	for _, part := range c.of {
		part.write(w)
	}
	fmt.Fprint(w, ")")
}

// decided returns what is left to decide where some leaves are: nil where it
// holds, the sort never where it cannot.
func (c *condition) decided(holds func(*evidence) (holds, known bool)) *condition {
	if c == nil {
		return always
	}
	constant := func(holds bool) *condition {
		if holds {
			return always
		}
		return &condition{sort: never}
	}
	switch c.sort {
	case leaf:
		if holds, known := holds(c.leaf); known {
			return constant(holds)
		}
		return c
	case not:
		part := c.of[0].decided(holds)
		if part == always || part.sort == never {
			return constant(part != always)
		}
		return &condition{sort: not, of: []*condition{part}}
	}
	out := &condition{sort: c.sort}
	for _, part := range c.of {
		part = part.decided(holds)
		switch {
		case part == always && c.sort == some, part != always && part.sort == never && c.sort == all:
			return part
		case part != always && part.sort != never:
			out.of = append(out.of, part)
		}
	}
	if len(out.of) == 0 {
		return constant(c.sort == all)
	}
	return out
}

// numbered returns the condition with the bits of its leaves.
func (c *condition) numbered(bit func(*evidence) int) *condition {
	if c == nil {
		return nil
	}
	out := &condition{sort: c.sort, leaf: c.leaf}
	if c.sort == leaf {
		out.bit = bit(c.leaf)
	}
	for _, part := range c.of {
		out.of = append(out.of, part.numbered(bit))
	}
	return out
}

// holds says whether a numbered condition holds, given the evidence as bits.
func (c *condition) holds(evidence uint64) bool {
	switch c.sort {
	case leaf:
		return evidence>>c.bit&1 != 0
	case not:
		return !c.of[0].holds(evidence)
	}
	for _, part := range c.of {
		if part.holds(evidence) == (c.sort == some) {
			return c.sort == some
		}
	}
	return c.sort == all
}
