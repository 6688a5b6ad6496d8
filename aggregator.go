package steer

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Aggregator turns the activations of one layer into one direction. It is a
// recipe; New starts a fresh accumulation.
type Aggregator interface {
	// Name names the recipe and its options, for the provenance of vectors.
	Name() string
	// New returns an empty accumulator for activations of this width.
	New(width int) Accumulator
}

// Accumulator takes the activations of samples as they come and keeps what the
// direction needs of them. It belongs to one goroutine.
type Accumulator interface {
	// Add takes one sample's activations, each [width]. It does not keep the slices.
	Add(positive, negative []float32)
	// Merge adds what another accumulator of the same recipe and width has taken.
	Merge(other Accumulator) error
	// Direction returns the direction [width] of what was added so far. It is an
	// error where there is none, as when nothing was added.
	Direction() ([]float32, error)

	// The binary form continues to the same bits where it left off. Unmarshalling
	// checks its input and needs an accumulator of the same recipe and width.
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// AggregatorFunc makes an aggregator of a function that sees all rows,
// positive [samples][width] and negative [samples][width], row by row of the
// same samples, and returns a direction [width].
func AggregatorFunc(name string, f func(positive, negative [][]float32) ([]float32, error)) Aggregator {
	return rowsAggregator{name, f}
}

// rowsAggregator keeps every row for a function of all of them.
type rowsAggregator struct {
	name string
	f    func(positive, negative [][]float32) ([]float32, error)
}

func (a rowsAggregator) Name() string { return a.name }

func (a rowsAggregator) New(width int) Accumulator { return &allRows{aggregator: a, width: width} }

type allRows struct {
	aggregator rowsAggregator
	width      int
	rows       []float32 // [samples, 2, width]: positive, negative
}

func (a *allRows) Add(positive, negative []float32) {
	a.rows = append(append(a.rows, positive[:a.width]...), negative[:a.width]...)
}

func (a *allRows) Merge(other Accumulator) error {
	o, ok := other.(*allRows)
	if !ok || o.width != a.width {
		return errMerge(a, other)
	}
	a.rows = append(a.rows, o.rows...)
	return nil
}

func errMerge(a, b Accumulator) error {
	return fmt.Errorf("merge: %T cannot take %T of another recipe or width", a, b)
}

func (a *allRows) Direction() ([]float32, error) {
	if len(a.rows) == 0 {
		return nil, errNoSamples
	}
	if err := allFinite(a.rows); err != nil {
		return nil, err
	}
	var positive, negative [][]float32
	for at := 0; at < len(a.rows); at += 2 * a.width {
		positive = append(positive, a.rows[at:at+a.width:at+a.width])
		negative = append(negative, a.rows[at+a.width:at+2*a.width:at+2*a.width])
	}
	direction, err := a.aggregator.f(positive, negative)
	if err != nil {
		return nil, fmt.Errorf("aggregator %s: %w", a.aggregator.name, err)
	}
	if len(direction) != a.width {
		return nil, fmt.Errorf("aggregator %s returned %d elements for activations of %d", a.aggregator.name, len(direction), a.width)
	}
	return direction, nil
}

var errNoSamples = errors.New("no samples were added")

func allFinite[T float32 | float64](x []T) error {
	for _, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("the activations hold %v", v)
		}
	}
	return nil
}

func (a *allRows) MarshalBinary() ([]byte, error) {
	return appendFloat32s(appendHeader(nil, a.width, len(a.rows)/(2*a.width)), a.rows), nil
}

func (a *allRows) UnmarshalBinary(data []byte) error {
	count, rest, err := readHeader(data, a.width)
	if err != nil {
		return err
	}
	a.rows, err = readFloat32s(rest, 2*a.width, count)
	return err
}

// The binary forms begin with the width and a count, eight bytes each, little
// endian.

func appendHeader(out []byte, width, count int) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(out, uint64(width)), uint64(count))
}

func readHeader(data []byte, width int) (count int, rest []byte, err error) {
	if len(data) < 16 {
		return 0, nil, fmt.Errorf("state of %d bytes is too short", len(data))
	}
	if w := binary.LittleEndian.Uint64(data); w != uint64(width) {
		return 0, nil, fmt.Errorf("state of width %d, want %d", w, width)
	}
	n := binary.LittleEndian.Uint64(data[8:])
	if n > math.MaxInt32 {
		return 0, nil, fmt.Errorf("state of %d samples", n)
	}
	return int(n), data[16:], nil
}

func appendFloat32s(out []byte, x []float32) []byte {
	for _, v := range x {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

// readFloat32s reads count rows of a width, which must be all of data.
func readFloat32s(data []byte, width, count int) ([]float32, error) {
	if len(data)%4 != 0 || len(data)/4 != width*count {
		return nil, fmt.Errorf("state of %d rows of %d numbers in %d bytes", count, width, len(data))
	}
	out := make([]float32, width*count)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out, nil
}

func appendFloat64s(out []byte, x []float64) []byte {
	for _, v := range x {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
	}
	return out
}

// readFloat64s reads n numbers and returns what follows them.
func readFloat64s(data []byte, n int) ([]float64, []byte, error) {
	if len(data)/8 < n {
		return nil, nil, fmt.Errorf("state ends before %d numbers", n)
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return out, data[8*n:], nil
}
