package cpu

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/cpu/kernel"
	"github.com/steervec/steer/lm/internal/bfloat16"
)

// A stack of experts may be stored in MXFP4 (Open Compute Project 2023, section
// 5): a tensor NAME_blocks [experts, out, in/32, 16] of bytes that each hold two
// numbers of four bits, the lower half first, and a tensor NAME_scales
// [experts, out, in/32] of exponents, one for each block of 32 numbers. Every such
// number is a bfloat16, so that expanding loses nothing.

const mxBlock = 32

// fourBits are the numbers of a sign, two bits of exponent and one of fraction.
var fourBits = [16]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6, float32(math.Copysign(0, -1)), -0.5, -1, -1.5, -2, -3, -4, -6}

// blocks finds where the experts are that are stored in MXFP4; nil: they are not.
func (l *loader) blocks(part arch.Linear, count, out, in int) source {
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
		data := make([]byte, 2*out*in)
		kernel.Parallel(out, func(row int) {
			for i := range perRow {
				block := (expert*out+row)*perRow + i
				expand(data[2*(row*in+i*mxBlock):], numbers.Data[block*mxBlock/2:][:mxBlock/2], scales.Data[block])
			}
		})
		s := stored{weight: kernel.View{Data: data, Type: kernel.StoredBF16, Rows: out, Cols: in, RowStride: in, ColStride: 1}}
		if biases != nil {
			s.bias = biases[expert*out : (expert+1)*out]
		}
		return s
	}
}

// expand writes the 32 numbers of one block as bfloat16.
func expand(dst, block []byte, exponent byte) {
	scale := math.Ldexp(1, int(exponent)-127)
	for i, b := range block {
		for half, nibble := range [2]byte{b & 15, b >> 4} {
			value := float32(float64(fourBits[nibble]) * scale)
			binary.LittleEndian.PutUint16(dst[2*(2*i+half):], bfloat16.Round(value))
		}
	}
}
