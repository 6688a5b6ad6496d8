package gguf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"
)

// Contents is what a file is to hold.
type Contents struct {
	Tensors []Tensor // with their bytes

	keys   []string
	values map[string]any
}

// Made is a tensor of a file that is written.
type Made struct {
	// Tensor has its bytes, or none where Rows makes them.
	Tensor

	// Rows writes rows from first on, [n, the last of Shape], into values. Several
	// goroutines call it at once.
	Rows func(values []float32, first int) error

	// Done is called when the tensor is written; nil: nobody asks.
	Done func()
}

// Set gives a key of the metadata its value: a uint32, uint64, int32, float32, bool
// or string, or a list of uint32, int32, float32, bool or string. Anything else is an
// error of [Contents.Write].
func (c *Contents) Set(key string, value any) {
	if c.values == nil {
		c.values = map[string]any{}
	}
	if _, ok := c.values[key]; !ok {
		c.keys = append(c.keys, key)
	}
	c.values[key] = value
}

// Value returns what a key was set to; nil where it was not.
func (c *Contents) Value(key string) any { return c.values[key] }

// Preview returns the file as it will be read, of which tensors that are made have no
// data.
func (c *Contents) Preview(made []Made) *File {
	f := &File{metadata: map[string]any{}, tensors: map[string]Tensor{}}
	for _, key := range c.keys {
		r := &reader{budget: maxMetadata}
		r.data, _ = appendValue(nil, c.values[key])
		f.keys, f.metadata[key] = append(f.keys, key), r.value()
	}
	tensors := slices.Clone(c.Tensors)
	for _, t := range made {
		tensors = append(tensors, t.Tensor)
	}
	for _, t := range tensors {
		f.names, f.tensors[t.Name] = append(f.names, t.Name), t
	}
	return f
}

// Encode returns the file, as [Contents.Write] writes it.
func (c *Contents) Encode() ([]byte, error) {
	var out bytes.Buffer
	err := c.Write(context.Background(), &out, nil)
	return out.Bytes(), err
}

// Write writes the file, version 3, keys and tensors in their order, and behind the
// tensors those that are made meanwhile, some rows at a time on every core. Equal
// contents give equal bytes. Errors name the key or the tensor that is wrong.
func (c *Contents) Write(ctx context.Context, w io.Writer, made []Made) error {
	tensors := make([]Made, 0, len(c.Tensors)+len(made))
	for _, t := range c.Tensors {
		tensors = append(tensors, Made{Tensor: t})
	}
	tensors = append(tensors, made...)
	header := binary.LittleEndian.AppendUint32([]byte(magic), 3)
	header = binary.LittleEndian.AppendUint64(header, uint64(len(tensors)))
	header = binary.LittleEndian.AppendUint64(header, uint64(len(c.keys)))
	for _, key := range c.keys {
		var ok bool
		if header, ok = appendValue(appendText(header, key), c.values[key]); !ok {
			return fmt.Errorf("metadata %q: a %T cannot be written", key, c.values[key])
		}
	}
	return writeTensors(ctx, w, header, tensors, defaultAlignment)
}

// writeTensors writes a header, to which it adds what is said of the tensors, and
// the tensors.
func writeTensors(ctx context.Context, w io.Writer, header []byte, tensors []Made, alignment uint64) error {
	offset := uint64(0)
	for _, t := range tensors {
		p := place{Tensor: t.Tensor}
		size, known := p.size()
		if !known || t.Rows == nil && size != uint64(len(t.Data)) {
			return fmt.Errorf("tensor %q: shape %v of %v does not fit its %d bytes", t.Name, t.Shape, t.Type, len(t.Data))
		}
		header = appendTensor(header, t.Tensor, offset)
		offset += aligned(size, alignment)
	}
	padded := func(data []byte, size uint64) error {
		if _, err := w.Write(data); err != nil {
			return err
		}
		_, err := w.Write(make([]byte, aligned(size, alignment)-size))
		return err
	}
	if err := padded(header, uint64(len(header))); err != nil {
		return err
	}
	for _, t := range tensors {
		err := ctx.Err()
		switch {
		case err != nil:
		case t.Rows == nil:
			err = padded(t.Data, uint64(len(t.Data)))
		default:
			if err = t.write(ctx, w); err == nil {
				p := place{Tensor: t.Tensor}
				size, _ := p.size()
				err = padded(nil, size)
			}
		}
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if t.Done != nil {
			t.Done()
		}
	}
	return nil
}

// write makes the tensor's rows, some at a time on every core.
func (t *Made) write(ctx context.Context, w io.Writer) error {
	if t.Len() == 0 {
		return nil
	}
	width := t.Shape[len(t.Shape)-1]
	rows, workers := t.Len()/width, runtime.GOMAXPROCS(0)
	elements, bytes := t.Type.Block()
	if width%elements != 0 {
		return errors.New("its rows are not whole blocks")
	}
	together := max(1<<17/width, 1) // rows of a worker
	values, parts, failures := make([][]float32, workers), make([][]byte, workers), make([]error, workers)
	for first := 0; first < rows; first += workers * together {
		if err := ctx.Err(); err != nil {
			return err
		}
		var wait sync.WaitGroup
		for i := range workers {
			begin := min(first+i*together, rows)
			n := min(together, rows-begin) * width
			values[i], parts[i] = sized(values[i], n), sized(parts[i], n/elements*bytes)
			if n == 0 {
				continue
			}
			wait.Go(func() {
				if failures[i] = t.Rows(values[i], begin); failures[i] == nil {
					failures[i] = t.Type.Encode(parts[i], values[i])
				}
			})
		}
		wait.Wait()
		if err := errors.Join(failures...); err != nil {
			return err
		}
		for _, part := range parts {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// sized returns a buffer of n elements, whose content means nothing.
func sized[T any](buffer []T, n int) []T { return slices.Grow(buffer[:0], n)[:n] }

func aligned(n, alignment uint64) uint64 { return (n + alignment - 1) / alignment * alignment }

// appendTensor appends what a header says of a tensor that begins at an offset.
func appendTensor(out []byte, t Tensor, offset uint64) []byte {
	out = appendText(out, t.Name)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(t.Shape)))
	for _, n := range slices.Backward(t.Shape) { // the format begins with the dimension whose neighbours lie side by side
		out = binary.LittleEndian.AppendUint64(out, uint64(n))
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(t.Type))
	return binary.LittleEndian.AppendUint64(out, offset)
}

func appendText(out []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint64(out, uint64(len(text))), text...)
}

// appendValue appends a value behind the number of its type.
func appendValue(out []byte, value any) ([]byte, bool) {
	kind, ok := typeOf(value)
	if ok {
		return appendPlain(binary.LittleEndian.AppendUint32(out, kind), value), true
	}
	switch v := value.(type) {
	case []uint32:
		return appendList(out, v), true
	case []int32:
		return appendList(out, v), true
	case []float32:
		return appendList(out, v), true
	case []bool:
		return appendList(out, v), true
	case []string:
		return appendList(out, v), true
	}
	return out, false
}

// appendList appends a list behind the number of its type.
func appendList[T any](out []byte, values []T) []byte {
	var zero T
	kind, _ := typeOf(zero)
	out = binary.LittleEndian.AppendUint32(out, typeArray)
	out = binary.LittleEndian.AppendUint32(out, kind)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(values)))
	for _, v := range values {
		out = appendPlain(out, v)
	}
	return out
}

// typeOf returns the number of the type that a value is written as.
func typeOf(value any) (uint32, bool) {
	switch value.(type) {
	case uint32:
		return typeUint32, true
	case uint64:
		return typeUint64, true
	case int32:
		return typeInt32, true
	case float32:
		return typeFloat32, true
	case bool:
		return typeBool, true
	case string:
		return typeString, true
	}
	return 0, false
}

// appendPlain appends a value of one of those types.
func appendPlain(out []byte, value any) []byte {
	switch v := value.(type) {
	case uint32:
		return binary.LittleEndian.AppendUint32(out, v)
	case uint64:
		return binary.LittleEndian.AppendUint64(out, v)
	case int32:
		return binary.LittleEndian.AppendUint32(out, uint32(v))
	case float32:
		return binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	case bool:
		if v {
			return append(out, 1)
		}
		return append(out, 0)
	case string:
		return appendText(out, v)
	}
	return out
}
