package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Contents is what a file is to hold.
type Contents struct {
	Tensors []Tensor // with their bytes

	keys   []string
	values map[string]any
}

// Set gives a key of the metadata its value: a uint32, int32, float32, bool or
// string. Anything else is an error of [Contents.Encode].
func (c *Contents) Set(key string, value any) {
	if c.values == nil {
		c.values = map[string]any{}
	}
	if _, ok := c.values[key]; !ok {
		c.keys = append(c.keys, key)
	}
	c.values[key] = value
}

// Encode returns the file, version 3, keys and tensors in their order. Equal
// contents give equal bytes. Errors name the key or the tensor that is wrong.
func (c *Contents) Encode() ([]byte, error) {
	out := binary.LittleEndian.AppendUint32([]byte(magic), 3)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(c.Tensors)))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(c.keys)))
	for _, key := range c.keys {
		out = appendText(out, key)
		var ok bool
		if out, ok = appendValue(out, c.values[key]); !ok {
			return nil, fmt.Errorf("metadata %q: a %T cannot be written", key, c.values[key])
		}
	}
	offset := uint64(0)
	for _, t := range c.Tensors {
		p := place{Tensor: t}
		if size, known := p.size(); !known || size != uint64(len(t.Data)) {
			return nil, fmt.Errorf("tensor %q: shape %v of %v does not fit its %d bytes", t.Name, t.Shape, t.Type, len(t.Data))
		}
		out = appendTensor(out, t, t.Type, offset)
		offset = aligned(offset+uint64(len(t.Data)), defaultAlignment)
	}
	for _, t := range c.Tensors {
		out = append(pad(out), t.Data...)
	}
	return pad(out), nil
}

func aligned(n, alignment uint64) uint64 { return (n + alignment - 1) / alignment * alignment }

func pad(out []byte) []byte {
	return append(out, make([]byte, aligned(uint64(len(out)), defaultAlignment)-uint64(len(out)))...)
}

// appendTensor appends what a header says of a tensor that has a type and begins at
// an offset.
func appendTensor(out []byte, t Tensor, kind Type, offset uint64) []byte {
	out = appendText(out, t.Name)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(t.Shape)))
	for _, n := range slices.Backward(t.Shape) { // the format begins with the dimension whose neighbours lie side by side
		out = binary.LittleEndian.AppendUint64(out, uint64(n))
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(kind))
	return binary.LittleEndian.AppendUint64(out, offset)
}

func appendText(out []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint64(out, uint64(len(text))), text...)
}

// appendValue appends a value behind the number of its type.
func appendValue(out []byte, value any) ([]byte, bool) {
	kind := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(out, n) }
	switch v := value.(type) {
	case uint32:
		return binary.LittleEndian.AppendUint32(kind(typeUint32), v), true
	case int32:
		return binary.LittleEndian.AppendUint32(kind(typeInt32), uint32(v)), true
	case float32:
		return binary.LittleEndian.AppendUint32(kind(typeFloat32), math.Float32bits(v)), true
	case bool:
		if v {
			return append(kind(typeBool), 1), true
		}
		return append(kind(typeBool), 0), true
	case string:
		return appendText(kind(typeString), v), true
	}
	return out, false
}
