package cpu

import (
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// A stack of experts may be stored in MXFP4 (Open Compute Project 2023, section
// 5): a tensor NAME_blocks [experts, out, in/32, 16] of bytes that each hold two
// neighbouring numbers of four bits, the lower half first, and a tensor NAME_scales
// [experts, out, in/32] of exponents, one for each block of 32 numbers.

const mxBlock = 32

// microscaled finds where the experts are that are stored in MXFP4; nil: they are not.
func (l *loader) microscaled(part arch.Linear, count, out, in int) source {
	if _, ok := l.find(part.Weight); ok {
		return nil
	}
	numbers, ok := l.find(part.Weight + "_blocks")
	if !ok {
		return nil
	}
	scales, ok := l.find(part.Weight + "_scales")
	if !ok {
		l.fail("tensor %q is missing from the checkpoint", part.Weight+"_scales")
		return nil
	}
	perRow := in / mxBlock
	for _, t := range []struct {
		safetensors.Tensor
		shape []int
	}{{numbers, []int{count, out, perRow, mxBlock / 2}}, {scales, []int{count, out, perRow}}} {
		if in%mxBlock != 0 || !slices.Equal(t.Shape, t.shape) || t.DType != safetensors.U8 {
			l.fail("tensor %q of %s has shape %v; the config asks for bytes of shape %v", t.Name, t.DType, t.Shape, t.shape)
			return nil
		}
	}
	l.parameters += count * out * in
	biases := l.optionalMatrix(part.Bias, count, out)
	return func(expert int) stored {
		if l.err != nil {
			return stored{}
		}
		data := make([]byte, out*perRow*(1+mxBlock/2))
		kernel.Parallel(out, func(row int) {
			for i := range perRow {
				block := (expert*out+row)*perRow + i
				arrange(data[(row*perRow+i)*(1+mxBlock/2):], numbers.Data[block*mxBlock/2:][:mxBlock/2], scales.Data[block])
			}
		})
		s := stored{weight: kernel.View{Data: data, Type: kernel.StoredMXFP4, Rows: out, Cols: in, RowStride: in, ColStride: 1}}
		if biases != nil {
			s.bias = biases[expert*out : (expert+1)*out]
		}
		return s
	}
}

// arrange writes a block as GGUF has it: the exponent, then bytes of which the lower
// halves are the first 16 numbers and the upper ones the others.
func arrange(dst, block []byte, exponent byte) {
	dst[0] = exponent
	for i := range 8 {
		first, other := block[i], block[8+i]
		dst[1+2*i] = first&15 | other&15<<4
		dst[2+2*i] = first>>4 | other&^15
	}
}
