package cpu

import (
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// angles holds the cosines and sines of every node, each [nodes, size/2].
type angles struct{ cos, sin []float32 }

// rotate computes the angles of the run's nodes for each rope of the decoder.
func (p *pass) rotate() {
	if p.angles == nil {
		p.angles = make(map[*arch.Rope]*angles)
	}
	done := make(map[*arch.Rope]bool)
	for i := range p.model.blocks {
		rope := p.model.blocks[i].Attention.Rope
		if rope == nil || done[rope] {
			continue
		}
		done[rope] = true
		a := p.angles[rope]
		if a == nil {
			a = &angles{}
			p.angles[rope] = a
		}
		half := rope.Size / 2
		size(&a.cos, len(p.Tokens)*half)
		size(&a.sin, len(p.Tokens)*half)
		node := 0
		for _, s := range p.Segments {
			variant := rope.Variant(s.Length)
			for i := range s.Nodes {
				rope.Angles(s.Position+i, variant, a.cos[node*half:][:half], a.sin[node*half:][:half])
				node++
			}
		}
	}
}

// project computes the queries, keys and values of every node, normalised and
// turned; where another layer has the keys, the queries of the rows that are still
// computed.
func (p *pass) project(layer int, b *block) {
	a := &p.model.blocks[layer].Attention
	if orOne(a.InputScale) != 1 {
		given := p.input
		defer func() { p.input = given }()
		p.input = size(&p.scaled, len(given))
		copy(p.input, given)
		each(p.rows(), func(i int) {
			width := p.model.decoder.Hidden
			kernel.Scale(p.input[i*width:(i+1)*width], a.InputScale)
		})
	}
	if b.latent != nil {
		p.projectLatent(layer, b.latent)
		return
	}
	p.ofKept = p.kept != nil
	if b.mixed != nil {
		p.mixQueries(a, b)
	} else {
		p.product(&p.qkv, p.input, b.queryKeyValue)
	}
	width, own := a.Heads*a.HeadSize+a.Stored(), a.Stored()/2
	angles := p.angles[a.Rope]
	each(p.rows(), func(i int) {
		node, row := p.node(i), p.qkv[i*width:(i+1)*width]
		queries := row[:a.Heads*a.HeadSize]
		keys, values := row[len(queries):len(queries)+own], row[len(queries)+own:]
		b.valueNorm.applyHeads(values, a)
		if !a.NormAfterRope {
			b.queryNorm.applyHeads(queries, a)
			b.keyNorm.applyHeads(keys, a)
		}
		if a.Clip > 0 {
			for i, v := range row {
				row[i] = min(max(v, -a.Clip), a.Clip)
			}
		}
		if a.Rope != nil {
			half := a.Rope.Size / 2
			cos, sin := angles.cos[node*half:][:half], angles.sin[node*half:][:half]
			for at := 0; at < len(queries)+len(keys); at += a.HeadSize {
				kernel.Rope(row[at:at+a.HeadSize], cos, sin, a.Rope.Interleaved)
			}
		}
		if a.NormAfterRope {
			b.queryNorm.applyHeads(queries, a)
			b.keyNorm.applyHeads(keys, a)
		}
		if a.Temperature != nil {
			kernel.Scale(queries, a.Temperature.At(p.positions[node]))
		}
	})
}

// applyHeads normalises the heads of one token in place, as the scope says; a
// nil norm leaves them.
func (n *norm) applyHeads(heads []float32, a *arch.Attention) {
	switch {
	case n == nil:
	case a.NormScope == arch.AllHeads:
		n.apply(heads, heads)
	default:
		one := *n
		for at := 0; at < len(heads); at += a.HeadSize {
			if a.NormScope == arch.EachHeadOwnWeight {
				one.weight = part(n.weight, at, a.HeadSize)
				one.bias = part(n.bias, at, a.HeadSize)
			}
			one.apply(heads[at:at+a.HeadSize], heads[at:at+a.HeadSize])
		}
	}
}

func part(x []float32, at, n int) []float32 {
	if x == nil {
		return nil
	}
	return x[at : at+n]
}

// piece is a run of nodes whose slots are neighbours in one tile of keys.
type piece struct{ node, slot, nodes int }

// findPieces finds the pieces of the run, of nodes that were not computed before.
func (p *pass) findPieces() {
	p.pieces = p.pieces[:0]
	first := 0
	for _, s := range p.Segments {
		for node := first + s.Again; node < first+s.Nodes; node++ {
			slot, last := p.slots[node], len(p.pieces)-1
			if last >= 0 && slot%kernel.KeyTile != 0 && slot == p.pieces[last].slot+p.pieces[last].nodes && node == p.pieces[last].node+p.pieces[last].nodes {
				p.pieces[last].nodes++
			} else {
				p.pieces = append(p.pieces, piece{node, slot, 1})
			}
		}
		first += s.Nodes
	}
}

// store puts the nodes' keys and values into their slots.
func (p *pass) store(layer int) {
	a := &p.model.blocks[layer].Attention
	size, width := a.HeadSize, a.Heads*a.HeadSize+a.Stored()
	each(len(p.pieces), func(i int) {
		s := p.pieces[i]
		for h := range a.KVHeads {
			keys := p.qkv[s.node*width+(a.Heads+h)*size:]
			kernel.StoreKeys(p.session.keys[layer][h], s.slot, keys, width, s.nodes, size)
			if a.Latent != nil { // a key is its own value
				continue
			}
			values := keys[a.KVHeads*size:]
			for r := range s.nodes {
				copy(p.session.values[layer][h][(s.slot+r)*size:][:size], values[r*width:])
			}
		}
	})
}

// stretch is a piece of a segment whose rows attend together.
type stretch struct {
	node, row, rows int
	position        int
	spans           []kernel.Span // of the path
}

// findStretches finds the stretches of the rows that are computed.
func (p *pass) findStretches() {
	const longest = 32
	out := p.stretches[:0]
	node := 0
	p.spans = p.spans[:0]
	for _, s := range p.Segments {
		spans := p.kernelSpans(s.Path)
		for i := range s.Nodes {
			at, computed := p.row(node + i)
			if !computed {
				continue
			}
			if last := len(out) - 1; last >= 0 && out[last].node+out[last].rows == node+i && out[last].node >= node && out[last].rows < longest {
				out[last].rows++
			} else {
				out = append(out, stretch{node + i, at, 1, s.Position + i, spans})
			}
		}
		node += s.Nodes
	}
	p.stretches = out
}

// pairs returns how many keys the rows see, all together.
func (p *pass) pairs() int {
	n := 0
	for _, s := range p.stretches {
		n += s.rows * (s.position + s.rows)
	}
	return n
}

// alone does what [kernel.Parallel] does without other workers, which is faster
// where there is little to do.
func alone(tasks int, f func(task int)) {
	for task := range tasks {
		f(task)
	}
}

// attend computes every head of the rows that are still computed.
func (p *pass) attend(layer int) {
	b, a := &p.model.blocks[layer], &p.model.blocks[layer].Attention
	if a.Differential != nil {
		p.subtract(layer)
		return
	}
	p.gather(layer, size(&p.heads, p.rows()*a.Heads*a.HeadSize), func(h int) int { return h })
	if b.latent != nil {
		p.expandLatent(a, b.latent)
	}
	if b.gate != nil {
		p.product(&p.opened, p.input, b.gate)
		each(p.rows(), func(i int) {
			width := a.Heads * a.HeadSize
			row, gate := p.heads[i*width:(i+1)*width], p.opened[i*width:]
			for j := range row {
				row[j] *= sigmoid(gate[j])
			}
		})
	}
}

// output projects what the heads gathered into the sublayer's result.
func (p *pass) output(layer int, b *block) {
	if b.mixed != nil {
		p.mixOutput(&p.model.blocks[layer].Attention, b.mixed)
		return
	}
	p.product(&p.sublayer, p.heads, b.output)
}

// gather writes what each head gathers of the values [rows, heads*head size].
// valueOf gives the key/value head whose values belong to a head's keys.
func (p *pass) gather(layer int, heads []float32, valueOf func(h int) int) {
	a := &p.model.blocks[layer].Attention
	group := a.Heads / a.KVHeads
	in, out := a.Heads*a.HeadSize+a.Stored(), a.Heads*a.HeadSize
	stretches := p.stretches
	share := kernel.Parallel
	if p.pairs()*a.Heads*a.HeadSize < 1<<16 {
		share = alone
	}
	share(len(stretches)*a.KVHeads, func(task int) {
		// the last stretches see most keys: begin with them
		s := stretches[len(stretches)-1-task/a.KVHeads]
		h, at := task%a.KVHeads, s.node
		if p.ofKept {
			at = s.row
		}
		attention := kernel.Attention{
			Query: p.qkv[at*in+h*group*a.HeadSize:], QueryStride: in,
			Out: heads[s.row*out+h*group*a.HeadSize:], OutStride: out,
			Tokens: s.rows, Heads: group, Size: a.HeadSize,
			Position: s.position, Keys: p.session.keys[layer][h], Values: p.session.values[layer][valueOf(h)], Spans: s.spans,
			Window: a.Window, Chunk: a.Chunk, Scale: a.Scale, SoftCap: a.SoftCap,
		}
		if a.Latent != nil {
			attention.Values = nil
		}
		if sinks := p.model.blocks[layer].sinks; sinks != nil {
			attention.Sinks = sinks[h*group : (h+1)*group]
		}
		if a.Alibi != nil {
			attention.Slopes = a.Alibi.Slopes[h*group : (h+1)*group]
			attention.RoundBias, attention.ScaleBias = a.Alibi.RoundBias, a.Alibi.ScaleBias
		}
		attention.Run()
	})
}
