// Package random makes small decoders of every shape that package arch can
// describe, with weights: for tests that hold one way of computing to another.
package random

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Checkpoint is a decoder and a source of its tensors. Equal seeds and options
// give equal checkpoints.
type Checkpoint struct {
	Decoder *arch.Decoder
	Shape   []string // what is unusual about the decoder, in words

	seed    uint64
	stored  safetensors.DType
	tensors map[string]tensor
}

// tensor is how a tensor is drawn: centre + spread*normal, or where bytes is not
// 0, as so many different bytes from lowest on.
type tensor struct {
	shape          []int
	centre, spread float64
	bytes, lowest  int
}

// Options narrow what is drawn; the zero value draws everything.
type Options struct {
	Vocabulary int               // 0: drawn
	Positions  int               // tokens that a sequence may have; 0: 64
	Dynamic    int               // every rope changes with each length past this; 0: ropes are drawn
	Stored     safetensors.DType // "": F32
}

// Config returns nothing: the decoder comes without one.
func (c *Checkpoint) Config() []byte { return nil }

// Tensor draws a tensor's elements from its name and the seed.
func (c *Checkpoint) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := c.tensors[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	hash := fnv.New64a()
	hash.Write([]byte(name))
	draw := rand.New(rand.NewPCG(c.seed, hash.Sum64()))
	n := 1
	for _, size := range t.shape {
		n *= size
	}
	if t.bytes > 0 {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(t.lowest + draw.IntN(t.bytes))
		}
		return safetensors.Tensor{Name: name, DType: safetensors.U8, Shape: t.shape, Data: data}, true
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(t.centre + t.spread*draw.NormFloat64())
	}
	return safetensors.Tensor{Name: name, DType: c.stored, Shape: t.shape, Data: safetensors.AppendFloats(nil, c.stored, values)}, true
}

// Release does nothing: a tensor is drawn anew each time.
func (c *Checkpoint) Release(safetensors.Tensor) {}

// weight names a weight whose product with a row of unit variance has about unit
// variance again.
func (d *drawing) weight(name string, out, in int) arch.Linear {
	l := arch.Linear{Weight: d.prefix + name + ".weight", Transposed: d.chance(20)}
	shape := []int{out, in}
	if l.Transposed {
		shape = []int{in, out}
	}
	d.tensors[l.Weight] = tensor{shape: shape, spread: 1 / math.Sqrt(float64(in))}
	return l
}

// linear is a weight that may have a bias.
func (d *drawing) linear(name string, out, in int) arch.Linear {
	l := d.weight(name, out, in)
	if d.chance(40) {
		l.Bias = d.vector(name+".bias", out, 0)
	}
	return l
}

func (d *drawing) vector(name string, n int, centre float64) string {
	return d.small(name, centre, n)
}

// small names a tensor of numbers near a centre.
func (d *drawing) small(name string, centre float64, shape ...int) string {
	d.tensors[d.prefix+name] = tensor{shape: shape, centre: centre, spread: 0.2}
	return d.prefix + name
}

// perHead names a vector for every head: one tensor, or one for each.
func (d *drawing) perHead(name string, heads, size int, centre float64) string {
	if d.chance(50) {
		return d.small(name, centre, heads, size)
	}
	name += ".{head}"
	d.each(name, "{head}", heads, tensor{shape: []int{size}, centre: centre, spread: 0.2})
	return d.prefix + name
}

// each names a tensor for every number that a placeholder stands for.
func (d *drawing) each(name, placeholder string, count int, t tensor) {
	for i := range count {
		d.tensors[d.prefix+strings.ReplaceAll(name, placeholder, digits(i))] = t
	}
}
