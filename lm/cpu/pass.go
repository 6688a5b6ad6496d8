package cpu

import (
	"context"
	"slices"
	"sync"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
	"github.com/steervec/steer/lm/engine"
)

// pass is one run on its way through the blocks. Its buffers are [rows, width].
type pass struct {
	*engine.Run
	*buffers
	model   *Model
	session *Session

	kept    []int // node of each row; nil: row i is node i
	ofKept  bool  // the block's queries are of kept rows; else of nodes
	edits   map[address][]engine.Edit
	taps    map[address][]engine.Tap
	last    int // layer after which nothing is read
	stored  int // last block that leaves something to later tokens
	waiting int // readers of the last layer that are not served; the logits count as one
}

type address struct {
	layer int
	site  arch.Site
}

// buffers is the memory of a pass, reused by later ones on the same cache.
type buffers struct {
	residual []float32 // [rows, hidden]
	streams  []float32 // [rows, streams*hidden], where there are several
	normed   []float32 // [rows, hidden]: the output of the norm before a sublayer
	sublayer []float32 // [rows, hidden]: what attention or the MLP gives
	qkv      []float32 // [nodes, heads*head size + what is stored]
	heads    []float32 // [rows, heads*head size]
	latent   []float32 // [nodes, query rank or rank+rope size]
	queries  []float32 // [nodes, heads*size of a query before it is brought to the latent]
	gate, up []float32 // [rows, inner]
	scaled   []float32 // [nodes, hidden]: what attention reads where it is multiplied
	input    []float32 // what the sublayer reads: normed, or the residual itself
	logits   []float32 // [logitRows, vocabulary]
	gathered []float32 // [rows, hidden], once for each expert that a row uses
	expert   []float32 // the same, of what the experts give
	beside   []float32 // [rows, hidden]: what an MLP beside the block's gives, or a recurrence beside attention
	shortcut []float32 // [rows, hidden]: what is added at the end of a layer of two blocks
	parts    []float32 // [nodes, parts of a recurrence's projected input]
	recalled []float32 // [rows, width]: what a recurrence gives before its output projection
	opened   []float32 // [rows, heads*head size]: the gates of attention
	scores   []float32 // [rows, experts]
	left     []float32 // [rows, experts]: of those that are not chosen yet
	chosen   []choice  // [rows, experts per token]
	mixed    []choice  // [nodes, experts per token] of attention
	calls    []kernel.Call

	layerInputs []float32 // [nodes, layers*width]: what layers have of a token beside the stream
	weights     []float32 // [rows, streams]
	mixing      []float32 // [rows, streams*streams] or [rows, streams]

	positions []int         // of each node
	slots     []int         // of each node
	spans     []kernel.Span // of the segments' paths
	pieces    []piece
	stretches []stretch
	angles    map[*arch.Rope]*angles
}

// blocks is the forward pass: from the embedding, or the residual stream that is
// given, to what is read last.
func (p *pass) blocks(ctx context.Context) error {
	p.embed()
	for layer := p.model.block(p.First); layer < len(p.model.blocks) && p.model.blocks[layer].layer <= p.last; layer++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := &p.model.blocks[layer]
		d := b.Block

		// past here, what is read
		if layer > p.stored && !p.keepRead() {
			return nil
		}
		// the stream that the block passes
		p.predict(b.altUp)
		// norm before attention
		p.normalise(layer, b.beforeAttention)
		if p.finished(layer) {
			return nil
		}
		if b.attends() {
			// queries, keys, values; norms, rotation
			p.project(layer, b)
			// keys and values into the cache
			if b.Attention.Stored() > 0 {
				p.store(layer)
			}
		}
		// what is remembered, and a new state
		if b.recurrence != nil {
			p.recur(layer, b.recurrence)
		}
		// past here too, what is read
		if layer == p.stored && !p.keepRead() {
			return nil
		}
		p.mix(layer, b)
		// a parallel mlp reads the block's input
		switch {
		case d.Parallel && b.beforeMLP != nil:
			p.normalise(layer, b.beforeMLP)
		case d.Parallel:
			p.keepInput()
		}
		// attention into the residual stream
		p.add(layer, arch.SelfAttn, b.afterAttention, b.afterAttentionAdd)
		if !d.Parallel {
			p.reach(layer, arch.ResidualMid, p.residual)
		}
		if p.finished(layer) {
			return nil
		}
		// norm before the mlp
		if !d.Parallel {
			p.normalise(layer, b.beforeMLP)
		}
		if p.finished(layer) {
			return nil
		}
		// mlp into the residual stream
		if b.shortcut != nil {
			p.mlp(&p.shortcut, p.input, p.rows(), b.shortcut)
			p.reachLayer(b.layer, arch.MLPOutput, p.shortcut)
		}
		p.mlp(&p.sublayer, p.input, p.rows(), &b.mlp)
		if b.beside != nil {
			p.mlp(&p.beside, p.input, p.rows(), b.beside)
		}
		p.add(layer, arch.MLPOutput, b.afterMLP, b.afterMLPAdd)
		if d.First != nil && d.First.Shortcut != nil {
			kernel.AddScaled(p.residual, p.shortcut, 1)
		}
		// the other streams, the layer's input
		p.correct(b.altUp)
		p.takeIn(layer, b.layerInput)
		p.reach(layer, arch.DecoderBlock, p.leaving())
	}
	p.giveLogits()
	return nil
}

// mix gives what attention gathers from ancestors, what a recurrence remembers of
// them, or both.
func (p *pass) mix(layer int, b *block) {
	given := &p.sublayer
	if b.attends() {
		p.attend(layer)
		p.reach(layer, arch.AttnHeads, p.heads)
		p.output(layer, b)
		given = &p.beside
	}
	if b.recurrence != nil {
		p.giveRecurrence(layer, b.recurrence, given)
	}
}

// begin sorts what is asked of a run by where it happens.
func (s *Session) begin(run *engine.Run) *pass {
	p := &pass{Run: run, buffers: &s.buffers, model: s.model, session: s}
	p.positions, p.slots, p.spans = p.positions[:0], p.slots[:0], p.spans[:0]
	p.last, p.stored = -1, -1
	if run.Logits != nil {
		p.last, p.waiting = len(s.model.decoder.Blocks)-1, 1
	}
	p.taps = make(map[address][]engine.Tap)
	for _, t := range run.Taps {
		a := address{t.Layer, t.Site}
		p.taps[a] = append(p.taps[a], t)
		p.last = max(p.last, t.Layer)
	}
	for _, t := range run.Taps {
		if t.Layer == p.last {
			p.waiting++
		}
	}
	for layer := range s.model.blocks {
		if b := &s.model.blocks[layer]; b.layer <= p.last && (b.Attention.Stored() > 0 || b.recurrence != nil) {
			p.stored = layer
		}
	}
	p.edits = make(map[address][]engine.Edit)
	for _, e := range run.Edits {
		a := address{e.Layer, e.Site}
		p.edits[a] = append(p.edits[a], e)
	}
	for _, s := range run.Segments {
		own := s.Path.Len() - s.Nodes
		for i := range s.Nodes {
			p.positions = append(p.positions, s.Position+i)
		}
		for _, span := range s.Path {
			for i := range span.Len {
				if own > 0 {
					own--
					continue
				}
				p.slots = append(p.slots, span.Slot+i)
			}
		}
	}
	p.findPieces()
	p.findStretches()
	p.rotate()
	return p
}

// rows returns the number of rows that are still computed.
func (p *pass) rows() int {
	if p.kept != nil {
		return len(p.kept)
	}
	return len(p.Tokens)
}

// finished reports whether nothing more is read.
func (p *pass) finished(layer int) bool {
	return p.model.blocks[layer].layer == p.last && p.waiting == 0
}

// size makes a buffer n elements long; what is in it means nothing.
func size(buffer *[]float32, n int) []float32 {
	if cap(*buffer) < n {
		*buffer = make([]float32, n)
	}
	*buffer = (*buffer)[:n]
	return *buffer
}

// each calls f for every row in 0 … n-1, shared over the workers.
func each(n int, f func(row int)) {
	const together = 8
	kernel.Parallel((n+together-1)/together, func(task int) {
		for row := task * together; row < min(n, (task+1)*together); row++ {
			f(row)
		}
	})
}

// embed writes the residual stream that enters the first block, and what the layers
// have beside it.
func (p *pass) embed() {
	e, residual := &p.model.embedding, size(&p.residual, len(p.Tokens)*p.model.decoder.Hidden)
	p.input = residual
	if p.First > 0 && e.inputs == nil {
		p.begunHigher()
		return
	}
	p.embedTokens(residual)
	if e.inputs != nil {
		p.inputs(e.inputs, residual)
	}
	switch {
	case p.First > 0:
		p.begunHigher()
	case p.model.streams != nil:
		p.part()
	}
}

// begunHigher takes what enters a block past the first from the run.
func (p *pass) begunHigher() {
	rows := &p.residual
	if p.model.streams != nil {
		rows = &p.streams
	}
	copy(size(rows, len(p.Residual)), p.Residual)
	p.copyTwins()
}

// embedTokens writes the embedding of every node.
func (p *pass) embedTokens(residual []float32) {
	e, hidden := &p.model.embedding, p.model.decoder.Hidden
	rows := residual
	if e.project != nil {
		rows = size(&p.sublayer, len(p.Tokens)*e.width)
	}
	each(len(p.Tokens), func(i int) {
		row := rows[i*e.width : (i+1)*e.width]
		e.tokens.Row(p.Tokens[i], row)
		if e.scale != 0 {
			kernel.Scale(row, e.scale)
		}
	})
	if e.project != nil {
		kernel.Product(residual, rows, len(p.Tokens), e.project.weight, e.project.bias)
	}
	each(len(p.Tokens), func(i int) {
		row := residual[i*hidden : (i+1)*hidden]
		if e.positions != nil {
			kernel.AddScaled(row, e.positions[(p.positions[i]+e.offset)*hidden:], 1)
		}
		if e.sinusoids {
			arch.AddSinusoid(row, p.positions[i]+e.offset)
		}
		if e.norm != nil {
			e.norm.apply(row, row)
		}
	})
}

// apply writes the norm of one row.
func (n *norm) apply(dst, x []float32) {
	if n.Kind == arch.RMS {
		kernel.RMSNorm(dst, x, n.weight, n.Epsilon, n.Offset)
		if n.bias != nil {
			kernel.AddScaled(dst[:len(x)], n.bias, 1)
		}
	} else {
		kernel.LayerNorm(dst, x, n.weight, n.bias, n.Epsilon)
	}
}

// applyRows normalises rows in place, or from src.
func (p *pass) applyRows(n *norm, dst, src []float32) {
	width := p.model.decoder.Hidden
	each(p.rows(), func(i int) { n.apply(dst[i*width:(i+1)*width], src[i*width:(i+1)*width]) })
}

// normalise prepares the input of a sublayer: the norm of the residual stream,
// or without a norm the stream itself.
func (p *pass) normalise(layer int, n *norm) {
	if n == nil {
		p.input = p.residual
		return
	}
	p.input = size(&p.normed, len(p.residual))
	p.applyRows(n, p.input, p.residual)
	p.reach(layer, n.Site, p.input)
	if p.model.blocks[layer].ResidualAfterNorm {
		copy(p.residual, p.input)
	}
}

// keepInput copies the input where it is the residual stream itself, to which
// something is added before the input is read again.
func (p *pass) keepInput() {
	if len(p.input) > 0 && &p.input[0] == &p.residual[0] {
		p.input = size(&p.normed, len(p.residual))
		copy(p.input, p.residual)
	}
}

// product is dst = x·Wᵀ + bias over the rows that are still computed.
func (p *pass) product(dst *[]float32, x []float32, l *linear) {
	kernel.Product(size(dst, p.rows()*l.weight.Out), x, p.rows(), l.weight, l.bias)
}

// add puts what a sublayer gave into the residual stream.
func (p *pass) add(layer int, site arch.Site, after, afterAdd *norm) {
	b := &p.model.blocks[layer]
	added := b.AttentionAddsResidual
	if site == arch.MLPOutput {
		added = b.MLPAddsResidual
	}
	if added {
		kernel.AddScaled(p.sublayer, p.residual, 1)
	}
	p.reach(layer, site, p.sublayer)
	if scale, is := p.model.blocks[layer].hasBeside(site); is {
		kernel.AddScaled(p.sublayer, p.beside, scale)
	}
	if after != nil {
		p.applyRows(after, p.sublayer, p.sublayer)
		p.reach(layer, after.Site, p.sublayer)
	}
	if site == arch.SelfAttn {
		p.learn(p.model.blocks[layer].laurel)
	}
	if added {
		p.residual, p.sublayer = p.sublayer, p.residual
	} else {
		scale, keeps := orOne(b.AttentionScale), orOne(b.AttentionKeeps)
		if site == arch.MLPOutput {
			scale, keeps = orOne(b.MLPScale), orOne(b.MLPKeeps)
		}
		width := p.model.decoder.Hidden
		each(p.rows(), func(i int) {
			row := p.residual[i*width : (i+1)*width]
			if keeps != 1 {
				kernel.Scale(row, keeps)
			}
			kernel.AddScaled(row, p.sublayer[i*width:], scale)
		})
	}
	if afterAdd != nil {
		p.applyRows(afterAdd, p.residual, p.residual)
		p.reach(layer, afterAdd.Site, p.residual)
	}
}

// attends reports whether the block has attention.
func (b *block) attends() bool { return b.output != nil || b.mixed != nil }

// hasBeside reports whether something stands beside the sublayer of a site, whose
// result is added times the scale.
func (b *block) hasBeside(site arch.Site) (scale float32, is bool) {
	if site == arch.MLPOutput {
		return 1, b.beside != nil
	}
	if b.recurrence == nil || !b.attends() {
		return 0, false
	}
	return orOne(b.recurrence.Scale), true
}

func orOne(scale float32) float32 {
	if scale == 0 {
		return 1
	}
	return scale
}

// reach applies the edits of an address to its rows [rows, width], then serves
// its taps, where the block shows the site.
func (p *pass) reach(layer int, site arch.Site, rows []float32) {
	if b := &p.model.blocks[layer]; !slices.Contains(b.Hidden, site) {
		p.reachLayer(b.layer, site, rows)
	}
}

func (p *pass) reachLayer(layer int, site arch.Site, rows []float32) {
	if site == "" || p.rows() == 0 {
		return
	}
	a := address{layer, site}
	width := len(rows) / p.rows()
	for _, e := range p.edits[a] {
		p.change(e, rows, width)
	}
	for _, t := range p.taps[a] {
		for _, node := range t.Rows {
			if row, ok := p.row(node); ok {
				t.Read(node, rows[row*width:(row+1)*width])
			}
		}
		if layer == p.last {
			p.waiting--
		}
	}
}

// change adds an edit's delta to each of its rows.
func (p *pass) change(e engine.Edit, rows []float32, width int) {
	const together = 16
	scale := e.Scale
	if scale == 0 {
		scale = 1
	}
	kernel.Parallel((len(e.Rows)+together-1)/together, func(task int) {
		buffer := rowBuffers.Get().(*[]float32)
		defer rowBuffers.Put(buffer)
		delta := size(buffer, width)
		for _, node := range e.Rows[task*together : min(len(e.Rows), (task+1)*together)] {
			row, ok := p.row(node)
			if !ok || e.Acts != nil && !e.Acts(node) {
				continue
			}
			clear(delta)
			activation := rows[row*width : (row+1)*width]
			e.Operator.Delta(delta, activation, e.Vector)
			kernel.AddScaled(activation, delta, scale)
		}
	})
}

var rowBuffers = sync.Pool{New: func() any { return new([]float32) }}

// node returns which node a row is.
func (p *pass) node(row int) int {
	if p.kept == nil {
		return row
	}
	return p.kept[row]
}

// row returns where a node's row is, unless it is not computed any more.
func (p *pass) row(node int) (int, bool) {
	if p.kept == nil {
		return node, true
	}
	return slices.BinarySearch(p.kept, node)
}

// keepRead drops the rows that nobody reads from here on, where that was not done
// before. It reports whether any is left.
func (p *pass) keepRead() bool {
	if p.kept != nil {
		return len(p.kept) > 0
	}
	var read []int
	for _, t := range p.Taps {
		if t.Layer >= p.model.blocks[p.stored].layer {
			read = append(read, t.Rows...)
		}
	}
	read = append(read, p.LogitRows...)
	slices.Sort(read)
	read = slices.Compact(read)
	if len(read) == len(p.Tokens) {
		return true
	}
	nodes := len(p.Tokens)
	p.kept = read
	p.findStretches()
	compact := func(rows []float32) []float32 {
		width := len(rows) / nodes
		for i, node := range read {
			copy(rows[i*width:(i+1)*width], rows[node*width:(node+1)*width])
		}
		return rows[:len(read)*width]
	}
	inputIsResidual := len(p.input) > 0 && &p.input[0] == &p.residual[0]
	p.residual = compact(p.residual)
	if inputIsResidual {
		p.input = p.residual
	} else {
		p.input = compact(p.input)
	}
	if p.model.streams != nil {
		p.streams = compact(p.streams)
	}
	if len(p.shortcut) == nodes*p.model.decoder.Hidden {
		p.shortcut = compact(p.shortcut)
	}
	return len(read) > 0
}
