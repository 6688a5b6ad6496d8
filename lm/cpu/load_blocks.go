package cpu

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/cpu/kernel"
	"github.com/steervec/steer/lm/engine"
)

// blockTypes are the blocks that are multiplied as they are.
var blockTypes = map[gguf.Type]kernel.Stored{
	gguf.Q4_0: kernel.StoredQ4_0, gguf.Q4_1: kernel.StoredQ4_1, gguf.Q5_0: kernel.StoredQ5_0, gguf.Q5_1: kernel.StoredQ5_1, gguf.Q8_0: kernel.StoredQ8_0,
	gguf.Q2_K: kernel.StoredQ2_K, gguf.Q3_K: kernel.StoredQ3_K, gguf.Q4_K: kernel.StoredQ4_K, gguf.Q5_K: kernel.StoredQ5_K, gguf.Q6_K: kernel.StoredQ6_K,
	gguf.IQ4_NL: kernel.StoredIQ4_NL, gguf.MXFP4: kernel.StoredMXFP4,
}

// blocks finds a matrix that is stored in blocks, under all names that it may have.
func (l *loader) blocks(name string) (gguf.Rows, bool) {
	source, ok := l.tensors.(engine.Blocked)
	if !ok {
		return gguf.Rows{}, false
	}
	for _, name := range l.decoder.Names(name) {
		if b, ok := source.Blocks(name); ok {
			return b, true
		}
	}
	return gguf.Rows{}, false
}

// blocksView is a view [out, in] of such a matrix.
func (l *loader) blocksView(name string, b gguf.Rows, out, in int) kernel.View {
	stored, known := blockTypes[b.Type]
	switch err := l.ctx.Err(); {
	case err != nil:
		l.fail("load weights: %w", err)
	case !known:
		l.fail("tensor %q is stored as %v, which is not multiplied", name, b.Type)
	case b.Count != out || b.Width != in:
		l.fail("tensor %q has shape [%d %d]; the config asks for [%d %d]", name, b.Count, b.Width, out, in)
	}
	if l.err != nil {
		return kernel.View{}
	}
	l.parameters += out * in
	return kernel.View{Data: b.Data, Type: stored, Rows: out, Cols: in, RowStride: in, ColStride: 1, Order: b.Order, Release: b.Release}
}

// rounded returns a view of plain numbers in the blocks that the model is to have.
func (l *loader) rounded(v kernel.View) kernel.View {
	kind, ok := l.quantize.Fitting(v.Cols)
	if v.Type.Blocks() || !ok || l.err != nil {
		return v
	}
	out := kernel.View{Type: blockTypes[kind], Rows: v.Rows, Cols: v.Cols, RowStride: v.Cols, ColStride: 1}
	bytes := out.Type.Bytes(v.Cols)
	out.Data = make([]byte, v.Rows*bytes)
	const together = 16
	failures := make([]error, (v.Rows+together-1)/together)
	kernel.Parallel(len(failures), func(task int) {
		row := make([]float32, v.Cols)
		for r := task * together; r < min(v.Rows, (task+1)*together) && failures[task] == nil; r++ {
			v.Row(r, row)
			failures[task] = kind.Quantize(out.Data[r*bytes:(r+1)*bytes], row)
		}
	})
	if v.Release != nil {
		v.Release(v.Data)
	}
	if err := errors.Join(failures...); err != nil {
		l.fail("quantize weights: %w", err)
	}
	return out
}

// exactly packs a part without rounding it.
func (l *loader) exactly(part arch.Linear, out, in int) *linear {
	quantize := l.quantize
	l.quantize = gguf.F32
	defer func() { l.quantize = quantize }()
	return l.linear(part, out, in)
}

// describe names the number formats of the products: the precision where weights
// are plain numbers; else the types of blocks, the most common first, and what
// multiplies them: "q4_k+q6_k:i16".
func (l *loader) describe() string {
	blocks := maps.Clone(l.stored)
	maps.DeleteFunc(blocks, func(s kernel.Stored, _ int) bool { return !s.Blocks() })
	if len(blocks) == 0 {
		return l.precision.String()
	}
	types := slices.SortedFunc(maps.Keys(blocks), func(a, b kernel.Stored) int {
		return cmp.Or(cmp.Compare(blocks[b], blocks[a]), cmp.Compare(a, b))
	})
	var names []string
	for _, t := range types {
		names = append(names, t.String())
	}
	activations := "i16"
	if l.precision != kernel.BF16 {
		activations = "f32"
	}
	return strings.Join(names, "+") + ":" + activations
}
