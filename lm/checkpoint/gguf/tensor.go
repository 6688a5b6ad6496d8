package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

// Tensor is one tensor of a file. Data holds its rows one after the other, in
// whole blocks. It is a view of the file's memory: valid until the file is
// closed, and not to be written. Data is nil where the type is not known.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int // as other formats write it: neighbours in memory differ in the last index
	Data  []byte
}

// Len returns the number of elements, the product of Shape.
func (t Tensor) Len() int {
	n := 1
	for _, s := range t.Shape {
		n *= s
	}
	return n
}

// Float32s returns the elements as float32; an error names the tensor where
// its type cannot be expanded.
func (t Tensor) Float32s() ([]float32, error) {
	if !t.Type.Expands() {
		return nil, fmt.Errorf("tensor %q holds %v, which cannot be expanded", t.Name, t.Type)
	}
	out := make([]float32, t.Len())
	t.Type.Expand(out, t.Data)
	return out, nil
}

// Rows are rows of a tensor of blocks as a matrix [Count, Width] of a model.
type Rows struct {
	Type         Type
	Count, Width int
	Data         []byte
	Order        func(row int) int // which row of Data each is; nil: as they lie

	// Turned says that the model's tensor is [Width, Count].
	Turned bool

	// Release is told what part of Data is not needed any more.
	Release func(part []byte)
}

// Type is the type of a tensor's elements, numbered as in ggml.
type Type uint32

// The types that can be expanded to float32.
const (
	F32    Type = 0
	F16    Type = 1
	Q4_0   Type = 2
	Q4_1   Type = 3
	Q5_0   Type = 6
	Q5_1   Type = 7
	Q8_0   Type = 8
	Q2_K   Type = 10
	Q3_K   Type = 11
	Q4_K   Type = 12
	Q5_K   Type = 13
	Q6_K   Type = 14
	IQ4_NL Type = 20
	BF16   Type = 30
	MXFP4  Type = 39
)

// block says how a type is stored: elements that share bytes.
type block struct {
	name            string
	elements, bytes int
	expand          func(out []float32, data []byte) // one block
}

var blocks = map[Type]block{
	F32:    {"F32", 1, 4, func(out []float32, b []byte) { out[0] = math.Float32frombits(binary.LittleEndian.Uint32(b)) }},
	F16:    {"F16", 1, 2, func(out []float32, b []byte) { out[0] = half(b) }},
	BF16:   {"BF16", 1, 2, func(out []float32, b []byte) { out[0] = bfloat16.Widen(binary.LittleEndian.Uint16(b)) }},
	Q4_0:   {"Q4_0", 32, 18, expandQ4_0},
	Q4_1:   {"Q4_1", 32, 20, expandQ4_1},
	Q5_0:   {"Q5_0", 32, 22, expandQ5_0},
	Q5_1:   {"Q5_1", 32, 24, expandQ5_1},
	Q8_0:   {"Q8_0", 32, 34, expandQ8_0},
	Q2_K:   {"Q2_K", 256, 84, expandQ2_K},
	Q3_K:   {"Q3_K", 256, 110, expandQ3_K},
	Q4_K:   {"Q4_K", 256, 144, expandQ4_K},
	Q5_K:   {"Q5_K", 256, 176, expandQ5_K},
	Q6_K:   {"Q6_K", 256, 210, expandQ6_K},
	IQ4_NL: {"IQ4_NL", 32, 18, expandIQ4_NL},
	MXFP4:  {"MXFP4", 32, 17, expandMXFP4},
}

func (t Type) block() block { return blocks[t] }

// String returns the type's name, such as "Q4_K".
func (t Type) String() string {
	if b, ok := blocks[t]; ok {
		return b.name
	}
	return fmt.Sprintf("type %d of ggml", uint32(t))
}

// Blocks reports whether elements share bytes.
func (t Type) Blocks() bool { return t.block().elements > 1 }

// Expands reports whether the type can be expanded.
func (t Type) Expands() bool { return t.block().bytes != 0 }

// Block returns the elements of one block, and the bytes that they share; zeros
// for a type that is not known.
func (t Type) Block() (elements, bytes int) {
	b := t.block()
	return b.elements, b.bytes
}

// Expand writes the elements in data, whole blocks of the type, to out, whose
// length is theirs. The type must be one that [Type.Expands].
func (t Type) Expand(out []float32, data []byte) {
	b := t.block()
	for len(data) > 0 {
		b.expand(out[:b.elements], data[:b.bytes])
		out, data = out[b.elements:], data[b.bytes:]
	}
}
