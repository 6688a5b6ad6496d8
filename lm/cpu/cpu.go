// Package cpu is the engine that computes with the kernels of package kernel: it
// runs a decoder that package arch describes over packed runs of forest nodes.
package cpu

import (
	"context"
	"fmt"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/cpu/kernel"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// Open loads a model for the kernels of this machine.
func Open(ctx context.Context, source engine.Source, dtype engine.DType) (engine.Engine, error) {
	return open(ctx, source, dtype, gguf.F32)
}

// Quantized returns an opener that rounds weights to blocks of few bits when it
// loads a model, as [gguf.Type.Quantize] does. It rounds what is stored as plain
// numbers and multiplied, embeddings included, but for what chooses experts; rows
// that are not whole blocks of the type become those of [gguf.Type.Fitting], or stay.
func Quantized(kind gguf.Type) engine.Opener {
	return func(ctx context.Context, source engine.Source, dtype engine.DType) (engine.Engine, error) {
		return open(ctx, source, dtype, kind)
	}
}

func open(ctx context.Context, source engine.Source, dtype engine.DType, quantize gguf.Type) (engine.Engine, error) {
	decoder, err := arch.Parse(source.Config())
	if err != nil {
		return nil, err
	}
	m, err := load(ctx, decoder, source, dtype, quantize)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Decoder returns the description that the model was loaded by.
func (m *Model) Decoder() *arch.Decoder { return m.decoder }

// Description names the number format of the products and the instruction set.
func (m *Model) Description() engine.Description {
	instructions, _ := kernel.Instructions() // an error is told by Load
	return engine.Description{Name: "cpu", DType: m.dtype, Instructions: instructions, Parameters: m.parameters}
}

// Check allows everything: an operator's Delta runs on the rows where they lie.
func (m *Model) Check(int, arch.Site, engine.Operator) error { return nil }

// Limits allow runs to begin at any block, and any number of paths.
func (m *Model) Limits() engine.Limits { return engine.Limits{Late: true} }

// Session holds keys and values in the slots of nodes, and the memory of runs.
type Session struct {
	model   *Model
	buffers buffers

	// [layers][key/value heads], laid out as package kernel says. Layers may share them,
	// and latents have no values.
	keys, values [][][]float32
	slots        int
	states       [][]state // [layers][states]
}

// NewSession returns an empty session.
func (m *Model) NewSession() engine.Session { return m.newSession() }

func (m *Model) newSession() *Session {
	s := &Session{model: m}
	for i := range m.blocks {
		a := &m.blocks[i].Attention
		if a.KeysBack > 0 {
			s.keys, s.values = append(s.keys, s.keys[i-a.KeysBack]), append(s.values, s.values[i-a.KeysBack])
			continue
		}
		s.keys, s.values = append(s.keys, make([][]float32, a.KVHeads)), append(s.values, make([][]float32, a.KVHeads))
	}
	s.states = make([][]state, len(m.blocks))
	return s
}

// Close gives the memory back.
func (s *Session) Close() { *s = Session{model: s.model} }

// grow makes memory for so many slots.
func (s *Session) grow(slots int) {
	if slots <= s.slots {
		return
	}
	s.slots = slots
	tiles := (slots + kernel.KeyTile - 1) / kernel.KeyTile
	for layer := range s.keys {
		need := tiles * kernel.KeyTile * s.model.blocks[layer].Attention.HeadSize
		for h := range s.keys[layer] {
			s.keys[layer][h] = lengthen(s.keys[layer][h], need)
			if s.model.blocks[layer].latent == nil {
				s.values[layer][h] = lengthen(s.values[layer][h], need)
			}
		}
	}
}

// lengthen makes s n elements long. As much room is kept beyond, so that each element
// is copied about once on the way to any length; memory that is not written to yet
// costs nothing but addresses.
func lengthen(s []float32, n int) []float32 {
	if n <= cap(s) {
		return s[:max(n, len(s))]
	}
	larger := make([]float32, n, 2*n)
	copy(larger, s)
	return larger
}

// Run computes the nodes of a run. It stops at the last tap when no logits are
// asked for, and past the keys and values of the last layer only the rows that
// are read go on. When ctx ends it returns with its error before the next layer.
func (s *Session) Run(ctx context.Context, run *engine.Run) error {
	for _, t := range run.Taps {
		if t.Layer < run.First {
			return fmt.Errorf("a run that begins at layer %d cannot read layer %d", run.First, t.Layer)
		}
	}
	if len(run.Tokens) == 0 {
		return ctx.Err()
	}
	s.grow(run.Slots)
	s.growStates(run.States)
	return s.begin(run).blocks(ctx)
}

// copyTwins takes the keys, values and states of the blocks that are not computed
// from the nodes that they equal.
func (p *pass) copyTwins() {
	for _, segment := range p.Segments {
		first := segment.Position
		each(p.model.block(p.First), func(layer int) {
			a := &p.model.blocks[layer].Attention
			if states := p.session.states[layer]; segment.After != 0 && segment.TwinState != 0 && states != nil {
				copy(states[segment.After].inputs, states[segment.TwinState].inputs)
				copy(states[segment.After].memory, states[segment.TwinState].memory)
			}
			key := make([]float32, a.HeadSize)
			for i := range segment.Nodes {
				if a.Stored() == 0 {
					break
				}
				from, to := segment.Twin.Slot(i), segment.Path.Slot(first+i)
				for h := range a.KVHeads {
					kernel.LoadKey(p.session.keys[layer][h], from, key)
					kernel.StoreKeys(p.session.keys[layer][h], to, key, a.HeadSize, 1, a.HeadSize)
					if values := p.session.values[layer][h]; values != nil { // else keys are values
						copy(values[to*a.HeadSize:(to+1)*a.HeadSize], values[from*a.HeadSize:])
					}
				}
			}
		})
	}
}

// kernelSpans writes a path in the kernels' words behind what is in the buffer.
func (p *pass) kernelSpans(path forest.Path) []kernel.Span {
	from := len(p.spans)
	for _, s := range path {
		p.spans = append(p.spans, kernel.Span(s))
	}
	return p.spans[from:len(p.spans):len(p.spans)]
}
