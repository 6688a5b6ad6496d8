// Package torch reads and writes the files of PyTorch's torch.save, and plain
// pickles of tensors.
//
// A pickle is a program, and Python runs whatever it names. The reader here can
// only rebuild tensors, lists, tuples, dictionaries, numbers, texts, and the
// attributes of objects of a few classes; it looks nothing up and calls nothing.
// Any other instruction or class is an error that names it.
package torch

import (
	"bytes"
	"fmt"
	"math/bits"
)

// Tensor is a view of a storage's elements. Nothing of it is computed until
// Float32s is called, so that a file of many views costs no memory.
type Tensor struct {
	Shape  []int
	stride []int // in elements, one for each dimension
	offset int   // of the first element
	from   *storage
}

// Dict is a dictionary. Keys and Values have the same length, in the order of
// the file; a key that is set twice is there once, with its last value.
type Dict struct {
	Keys   []any
	Values []any
	at     map[any]int // of the keys that can be compared
}

// List is a list. It is a pointer wherever it is met, since a list may hold
// itself.
type List struct{ Items []any }

// Tuple is a tuple.
type Tuple []any

// Object is an object of a class whose attributes may be rebuilt.
type Object struct {
	Class      string // with its module: steering_vectors.steering_vector.SteeringVector
	Attributes *Dict
}

// Load returns what a file holds: nil, a bool, an int64, a float64, a string, a
// []byte, a Tuple, a *List, a *Dict, a *Tensor or an *Object. The file may be a
// zip archive or of the older kind, as torch.save writes them, or a pickle. Of an
// archive it also returns the record named extra, nil where there is none. The
// data must not change while tensors are read.
func Load(data []byte, extra string) (value any, record []byte, err error) {
	switch {
	case bytes.HasPrefix(data, []byte("PK")):
		return loadArchive(data, extra)
	case bytes.HasPrefix(data, magicPickle):
		value, err = loadLegacy(data)
	default:
		value, _, err = unpickle(data, surroundings{noStorage, loadLegacy})
	}
	return value, nil, err
}

// IsFile reports whether data begins as a file that Load reads.
func IsFile(data []byte) bool {
	const proto = 0x80
	return bytes.HasPrefix(data, []byte("PK")) || len(data) > 2 && data[0] == proto && data[1] >= 2 && data[1] <= 5
}

// Len returns the number of elements.
func (t *Tensor) Len() int {
	n := 1
	for _, s := range t.Shape {
		n *= s
	}
	return n
}

// Float32s returns a copy of the elements, row by row. Numbers of other floating
// types are widened, or rounded to the nearest; whole numbers and booleans are an
// error.
func (t *Tensor) Float32s() ([]float32, error) {
	kind := t.from.kind
	if kind.float == nil {
		return nil, fmt.Errorf("it holds %s elements, not numbers with a fraction", kind.name)
	}
	if len(t.from.data) < t.from.count*kind.size {
		return nil, fmt.Errorf("its storage has %d bytes, not %d", len(t.from.data), t.from.count*kind.size)
	}
	out := make([]float32, 0, t.Len())
	index := make([]int, len(t.Shape)) // of the next element
	for range t.Len() {
		at := t.offset
		for d, i := range index {
			at += i * t.stride[d]
		}
		out = append(out, kind.float(t.from.data[at*kind.size:]))
		for d := len(index) - 1; d >= 0; d-- {
			if index[d]++; index[d] < t.Shape[d] {
				break
			}
			index[d] = 0
		}
	}
	return out, nil
}

// newTensor checks that every element of a view lies in its storage, and that it
// has no more elements than the storage: a view that repeats elements could be of
// any size.
func newTensor(from *storage, offset int, shape, stride []int) (*Tensor, error) {
	if len(shape) != len(stride) || len(shape) > maxDimensions {
		return nil, fmt.Errorf("a tensor has shape %v and strides %v", shape, stride)
	}
	count, last := uint64(1), uint64(0)
	for d, n := range shape {
		if n < 0 || stride[d] < 0 {
			return nil, fmt.Errorf("a tensor has shape %v and strides %v", shape, stride)
		}
		high, low := bits.Mul64(count, uint64(n))
		if high != 0 || low > uint64(from.count) {
			return nil, fmt.Errorf("a tensor of shape %v is larger than its storage of %d elements", shape, from.count)
		}
		count = low
		if n > 0 {
			high, reach := bits.Mul64(uint64(n-1), uint64(stride[d]))
			if high != 0 || reach > uint64(from.count) {
				return nil, fmt.Errorf("a tensor of shape %v and strides %v is past its storage of %d elements", shape, stride, from.count)
			}
			last += reach
		}
	}
	if offset < 0 || count > 0 && (offset > from.count || uint64(offset)+last >= uint64(from.count)) {
		return nil, fmt.Errorf("a tensor of shape %v at %d is past its storage of %d elements", shape, offset, from.count)
	}
	return &Tensor{Shape: shape, stride: stride, offset: offset, from: from}, nil
}

// maxDimensions is more than vectors have.
const maxDimensions = 8

// Get returns the value of a text or number, and whether the dictionary has it.
func (d *Dict) Get(key any) (any, bool) {
	i, ok := d.at[key]
	if !ok {
		return nil, false
	}
	return d.Values[i], true
}

func (d *Dict) set(key, value any) error {
	switch k := key.(type) {
	case nil, bool, int64, float64:
	case string:
		if len(k) > maxKey {
			return fmt.Errorf("a key of a dictionary has %d bytes", len(k))
		}
	default:
		return fmt.Errorf("a key of a dictionary is %s, neither a text nor a number", Describe(key))
	}
	if i, ok := d.at[key]; ok {
		d.Values[i] = value
		return nil
	}
	if d.at == nil {
		d.at = map[any]int{}
	}
	d.at[key] = len(d.Keys)
	d.Keys, d.Values = append(d.Keys, key), append(d.Values, value)
	return nil
}

// maxKey bounds the keys of dictionaries, in bytes.
const maxKey = 1 << 12

// Describe says what a value is, for errors.
func Describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "None"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "a text"
	case []byte:
		return "bytes"
	case Tuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *List:
		return fmt.Sprintf("a list of %d", len(v.Items))
	case *Dict:
		return fmt.Sprintf("a dictionary of %d", len(v.Keys))
	case *Tensor:
		return fmt.Sprintf("a tensor of shape %v", v.Shape)
	case *Object:
		return "a " + v.Class
	case *storage:
		return "a storage"
	case class:
		return "the class " + v.String()
	}
	return fmt.Sprintf("a %T", value)
}
