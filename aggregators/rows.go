package aggregators

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/steervec/steer/internal/finite"
)

// rows are the rows of numbers that an accumulator keeps. Their order when they
// are used is that of their bits, so that it does not matter in which order they
// came.
type rows struct {
	width  int
	values []float32 // [samples, width]
}

// Samples returns how many rows there are.
func (r *rows) Samples() int { return len(r.values) / r.width }

func (r *rows) row(i int) []float32 { return r.values[i*r.width : (i+1)*r.width : (i+1)*r.width] }

// add appends a row; nil is none.
func (r *rows) add(row []float32) {
	if row != nil {
		r.values = append(r.values, row[:r.width]...)
	}
}

// each goes through the rows.
func (r *rows) each() iter.Seq[[]float32] { return slices.Chunk(r.values, r.width) }

var errNotFinite = errors.New("the activations hold numbers that are not finite")

// prepare sorts the rows and refuses what no direction can be made of.
func (r *rows) prepare() error {
	if len(r.values) == 0 {
		return errNoSamples
	}
	if !finite.All(r.values) {
		return errNotFinite
	}
	r.sort()
	return nil
}

func (r *rows) sort() {
	order := make([]int, r.Samples())
	for i := range order {
		order[i] = i
	}
	compare := func(i, j int) int {
		a, b := r.row(i), r.row(j)
		for k, v := range a {
			if x, y := math.Float32bits(v), math.Float32bits(b[k]); x < y {
				return -1
			} else if x > y {
				return 1
			}
		}
		return 0
	}
	if slices.IsSortedFunc(order, compare) {
		return
	}
	slices.SortFunc(order, compare)
	sorted := make([]float32, 0, len(r.values))
	for _, i := range order {
		sorted = append(sorted, r.row(i)...)
	}
	r.values = sorted
}

// MarshalBinary writes the width and the rows, sorted.
func (r *rows) MarshalBinary() ([]byte, error) {
	r.sort()
	out := appendHeader(make([]byte, 0, 16+4*len(r.values)), r.width, r.Samples())
	for _, v := range r.values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out, nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (r *rows) UnmarshalBinary(data []byte) error {
	count, data, err := readHeader(data, r.width)
	if err != nil {
		return err
	}
	if len(data)%(4*r.width) != 0 || len(data)/(4*r.width) != count {
		return fmt.Errorf("%d rows of %d numbers in %d bytes", count, r.width, len(data))
	}
	values := make([]float32, len(data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	if err := finite.Check(values); err != nil {
		return err
	}
	r.values = values
	return nil
}

// The binary forms of accumulators begin with the width and the number of
// samples, eight bytes each, little endian.

func appendHeader(out []byte, width, count int) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(out, uint64(width)), uint64(count))
}

func readHeader(data []byte, width int) (count int, rest []byte, err error) {
	if len(data) < 16 {
		return 0, nil, fmt.Errorf("%d bytes are too few", len(data))
	}
	if w := binary.LittleEndian.Uint64(data); w != uint64(width) {
		return 0, nil, fmt.Errorf("the width is %d, not %d", w, width)
	}
	n := binary.LittleEndian.Uint64(data[8:])
	if n > math.MaxInt32 {
		return 0, nil, fmt.Errorf("it is of %d samples", n)
	}
	return int(n), data[16:], nil
}
