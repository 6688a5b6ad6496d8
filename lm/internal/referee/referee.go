// Package referee computes models plainly, in float64, one token after the other:
// the engine that the fast ones are held to. It is written from the description
// of package arch alone and shares no kernel with them.
package referee

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// Model is a decoder with its weights as float64.
type Model struct {
	decoder    *arch.Decoder
	rounds     bool // the inputs of products are rounded to bfloat16
	parameters int

	tokens, positions [][]float64
	embeddingProject  *linear
	embeddingNorm     *norm
	layerInputs       *layerInputs // nil: none
	streams           *streams     // nil: one
	blocks            []block
	norm              *norm
	headProject, head *linear
}

// Open loads a model from its config.json.
func Open(ctx context.Context, source engine.Source, dtype engine.DType) (engine.Engine, error) {
	decoder, err := arch.Parse(source.Config())
	if err != nil {
		return nil, err
	}
	m, err := Load(ctx, decoder, source, dtype)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Decoder returns the description that the model was loaded by.
func (m *Model) Decoder() *arch.Decoder { return m.decoder }

// Description says that this is the referee.
func (m *Model) Description() engine.Description {
	d := engine.Description{Name: "referee", DType: "f64", Instructions: "go", Parameters: m.parameters}
	if m.rounds {
		d.DType = "f64 of bf16"
	}
	return d
}

// Check allows everything.
func (m *Model) Check(int, arch.Site, engine.Operator) error { return nil }

// Limits allow runs to begin at any block, and any number of paths.
func (m *Model) Limits() engine.Limits { return engine.Limits{Late: true} }

// Session holds keys and values by layer and slot.
type Session struct {
	model *Model
	cache []map[int]cached      // [layers]
	left  []map[int]*remembered // [layers], by state

	// closest is how near a router came to another choice of experts: the smallest
	// difference between a probability that was chosen and one that was not. Where
	// it is tiny, an engine that rounds may choose otherwise.
	closest float64
}

// cached is what attention keeps of a token: a key and a value for each of the
// key/value heads.
type cached struct{ keys, values [][]float64 }

// NewSession returns an empty session.
func (m *Model) NewSession() engine.Session {
	s := &Session{model: m, closest: math.Inf(1)}
	for range m.blocks {
		s.cache = append(s.cache, map[int]cached{})
		s.left = append(s.left, map[int]*remembered{})
	}
	return s
}

// Close drops what the session holds.
func (s *Session) Close() { s.cache, s.left = nil, nil }

// Run computes the nodes one after the other, each through all blocks.
func (s *Session) Run(ctx context.Context, run *engine.Run) error {
	for _, t := range run.Taps {
		if t.Layer < run.First {
			return fmt.Errorf("a run that begins at layer %d cannot read layer %d", run.First, t.Layer)
		}
	}
	row := 0
	for _, segment := range run.Segments {
		slots, states := flat(segment.Path), s.before(run, segment)
		for i := range segment.Nodes {
			if err := ctx.Err(); err != nil {
				return err
			}
			position := segment.Position + i
			t := &token{Session: s, run: run, row: row, position: position, length: segment.Length, slots: slots[:position+1], again: i < segment.Again, states: states}
			if run.First > 0 {
				for layer := range s.model.blocks {
					if s.model.blocks[layer].layer >= run.First {
						break
					}
					s.cache[layer][t.slots[position]] = s.cache[layer][segment.Twin.Slot(i)]
				}
			}
			t.begin(run)
			for i := range s.model.blocks {
				if s.model.blocks[i].layer >= run.First {
					t.block(i)
				}
			}
			t.logits()
			row++
		}
		s.keep(run, segment, states)
	}
	return nil
}

// begin makes what enters the run's first block.
func (t *token) begin(run *engine.Run) {
	m := t.model
	t.residual = m.embed(run.Tokens[t.row], t.position)
	t.inputs = m.inputs(run.Tokens[t.row], t.residual)
	if m.streams != nil {
		t.residual = m.parted(t.residual)
	}
	if run.First > 0 {
		width := m.decoder.StreamWidth()
		t.residual = widen(run.Residual[t.row*width : (t.row+1)*width])
	}
}

// before returns what a segment goes on from in each block; nil where a block
// remembers nothing.
func (s *Session) before(run *engine.Run, segment engine.Segment) []*remembered {
	states := make([]*remembered, len(s.left))
	for layer := range s.left {
		if s.model.blocks[layer].layer < run.First {
			continue // the twin's
		}
		if r := s.model.blocks[layer].recurrence; r != nil && segment.Before == 0 {
			states[layer] = r.empty()
		} else if r != nil {
			states[layer] = s.left[layer][segment.Before].clone()
		}
	}
	return states
}

// keep keeps what a segment leaves.
func (s *Session) keep(run *engine.Run, segment engine.Segment, states []*remembered) {
	for layer, state := range states {
		switch {
		case segment.After == 0:
		case s.model.blocks[layer].layer < run.First:
			s.left[layer][segment.After] = s.left[layer][segment.TwinState]
		case state != nil:
			s.left[layer][segment.After] = state
		}
	}
}

// flat returns the slots of a path one by one.
func flat(path forest.Path) (slots []int) {
	for _, span := range path {
		for i := range span.Len {
			slots = append(slots, span.Slot+i)
		}
	}
	return slots
}

// token is a node on its way through the blocks.
type token struct {
	*Session
	run      *engine.Run
	row      int
	position int
	length   int           // of its sequence
	slots    []int         // of its ancestors and itself, by position
	again    bool          // the slot keeps what it holds
	states   []*remembered // of its segment [layers]
	residual []float64     // of all streams side by side
	inputs   [][]float64   // [layers]: what a layer has beside the stream
	shortcut []float64     // what is added at the end of a layer of two blocks
}

// embed returns the residual stream that enters the first block.
func (m *Model) embed(token, position int) []float64 {
	e := &m.decoder.Embedding
	x := scaled(m.tokens[token], orOne(e.Scale))
	if m.embeddingProject != nil {
		x = m.product(m.embeddingProject, x)
	}
	if m.positions != nil {
		x = sum(x, m.positions[position+e.PositionOffset])
	}
	if e.Sinusoidal {
		row := make([]float32, len(x))
		arch.AddSinusoid(row, position+e.PositionOffset)
		x = sum(x, widen(row))
	}
	return m.embeddingNorm.of(x)
}

// block takes the token through a block, as the formulas at [arch.Block] say.
func (t *token) block(layer int) {
	b := &t.model.blocks[layer]
	d := b.Block
	x := t.residual
	if b.altUp != nil {
		x = t.predict(b.altUp)
	}
	input := t.normed(layer, b.beforeAttention, x)
	if d.ResidualAfterNorm && b.beforeAttention != nil {
		x = input
	}
	given, recalled := t.mixed(layer, input)
	if d.Parallel {
		forMLP := input
		if b.beforeMLP != nil {
			forMLP = t.normed(layer, b.beforeMLP, x)
		}
		x = t.after(layer, arch.SelfAttn, x, given, recalled, nil, nil, nil)
		t.leave(layer, t.after(layer, arch.MLPOutput, x, t.mlp(&b.mlp, forMLP), t.beside(b, forMLP), nil, nil, nil))
		return
	}
	x = t.after(layer, arch.SelfAttn, x, given, recalled, t.learned(b.laurel, input), b.afterAttention, b.afterAttentionAdd)
	t.reach(layer, arch.ResidualMid, x)
	input = t.normed(layer, b.beforeMLP, x)
	if d.ResidualAfterNorm && b.beforeMLP != nil {
		x = input
	}
	if b.shortcut != nil {
		t.shortcut = t.mlp(b.shortcut, input)
		t.reachLayer(b.layer, arch.MLPOutput, t.shortcut)
	}
	t.leave(layer, t.after(layer, arch.MLPOutput, x, t.mlp(&b.mlp, input), t.beside(b, input), nil, b.afterMLP, b.afterMLPAdd))
}

// leave is the end of a block, given the stream that it passed, and of a shortcut.
func (t *token) leave(layer int, x []float64) {
	b := &t.model.blocks[layer]
	if b.First != nil && b.First.Shortcut != nil {
		x = sum(x, t.shortcut)
	}
	if b.altUp != nil {
		t.correct(b.altUp, x)
	} else {
		t.residual = x
	}
	if b.layerInput != nil {
		t.takeIn(b)
	}
	t.reach(layer, arch.DecoderBlock, t.residual)
}

// mixed is what attention gives, or a recurrence in its place, and what one beside
// it adds.
func (t *token) mixed(layer int, x []float64) (given, beside []float64) {
	b := &t.model.blocks[layer]
	if t.model.blocks[layer].Attention.Heads == 0 {
		return t.recurrence(layer, b.recurrence, x), nil
	}
	given = t.attention(layer, x)
	if b.recurrence != nil {
		beside = scaled(t.recurrence(layer, b.recurrence, x), orOne(b.recurrence.Scale))
	}
	return given, beside
}

// normed is the norm of a row, shown at its site.
func (t *token) normed(layer int, n *norm, x []float64) []float64 {
	if n == nil {
		return x
	}
	y := n.of(x)
	t.reach(layer, n.Site, y)
	return y
}

// beside is what the MLP beside the block's gives; nil: there is none.
func (t *token) beside(b *block, x []float64) []float64 {
	if b.beside == nil {
		return nil
	}
	return t.mlp(b.beside, x)
}

// after is the stream with what a sublayer gave, which is shown at the site, and
// what another gave beside it, and another past the norm, with the norms that stand there.
func (t *token) after(layer int, site arch.Site, x, given, beside, past []float64, after, afterAdd *norm) []float64 {
	d := t.model.blocks[layer].Block
	adds := site == arch.SelfAttn && d.AttentionAddsResidual || site == arch.MLPOutput && d.MLPAddsResidual
	if adds {
		given = sum(x, given)
	}
	t.reach(layer, site, given)
	given = sum(t.normed(layer, after, sum(given, beside)), past)
	if !adds {
		scale, keeps := d.AttentionScale, d.AttentionKeeps
		if site == arch.MLPOutput {
			scale, keeps = d.MLPScale, d.MLPKeeps
		}
		given = sum(scaled(x, orOne(keeps)), scaled(given, orOne(scale)))
	}
	return t.normed(layer, afterAdd, given)
}

// reach lets the edits of an address change a row in place and its taps read it.
func (t *token) reach(layer int, site arch.Site, x []float64) {
	if b := &t.model.blocks[layer]; !slices.Contains(b.Hidden, site) {
		t.reachLayer(b.layer, site, x)
	}
}

func (t *token) reachLayer(layer int, site arch.Site, x []float64) {
	if site == "" {
		return
	}
	for _, e := range t.run.Edits {
		if e.Layer == layer && e.Site == site && contains(e.Rows, t.row) && (e.Acts == nil || e.Acts(t.row)) {
			delta := make([]float32, len(x))
			e.Operator.Delta(delta, narrow(x), e.Vector)
			for i, v := range delta {
				x[i] += float64(v) * orOne(e.Scale)
			}
		}
	}
	for _, tap := range t.run.Taps {
		if tap.Layer == layer && tap.Site == site && contains(tap.Rows, t.row) {
			tap.Read(t.row, narrow(x))
		}
	}
}

// logits computes the token's logits where they are asked for.
func (t *token) logits() {
	if t.run.Logits == nil || !contains(t.run.LogitRows, t.row) {
		return
	}
	m, h := t.model, &t.model.decoder.Head
	x := t.residual
	if m.streams != nil {
		x = m.united(x)
	}
	x = m.norm.of(x)
	if m.headProject != nil {
		x = m.product(m.headProject, x)
	}
	logits := scaled(m.product(m.head, x), orOne(h.Scale))
	for i, v := range logits {
		logits[i] = softCap(v, h.SoftCap)
	}
	t.run.Logits(t.row, narrow(logits))
}

func orOne(scale float32) float64 {
	if scale == 0 {
		return 1
	}
	return float64(scale)
}

func softCap(v float64, limit float32) float64 {
	if limit == 0 {
		return v
	}
	return float64(limit) * math.Tanh(v/float64(limit))
}
