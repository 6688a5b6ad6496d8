package engine

import (
	"encoding/binary"
	"math"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/internal/bfloat16"
)

// Noise is a checkpoint with every tensor that is asked for, in whatever shape:
// for measurements and tests, which depend on shapes alone. Its weights are
// bfloat16 and mean nothing.
type Noise []byte // config.json

// Config returns the bytes themselves.
func (n Noise) Config() []byte { return n }

// Tensor says that there is one, without its data: see [Noise.Fill].
func (Noise) Tensor(name string) (safetensors.Tensor, bool) {
	return safetensors.Tensor{Name: name, DType: safetensors.BF16}, true
}

// Release does nothing.
func (Noise) Release(safetensors.Tensor) {}

// Fill gives a tensor a shape and data: ones for a vector, else numbers of either
// sign and about 1/√columns in size. Equal shapes give equal data.
func (Noise) Fill(t safetensors.Tensor, shape []int) safetensors.Tensor {
	elements := 1
	for _, n := range shape {
		elements *= n
	}
	t.Shape, t.Data = shape, make([]byte, 2*elements)
	size := uint64(bfloat16.Round(float32(1 / math.Sqrt(float64(shape[len(shape)-1])))))
	bits := uint64(0x9e3779b97f4a7c15)
	for i := 0; i < elements; i++ {
		if i%4 == 0 {
			bits ^= bits << 13
			bits ^= bits >> 7
			bits ^= bits << 17
		}
		number := bits>>(i%4*16)&0x803f | size
		if len(shape) == 1 {
			number = uint64(bfloat16.Round(1))
		}
		binary.LittleEndian.PutUint16(t.Data[2*i:], uint16(number))
	}
	return t
}
