package aggregators

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
)

// scatter is Σ δδᵀ over rows δ in integers, so that it does not depend on their
// order. A row is rounded to integers below 2^20 in units that its largest element
// chooses, a power of 16 for each bin; the products of a bin add up exactly.
type scatter struct {
	bins  map[int]*bin // by the power of 16 above the largest element
	spare []float64    // a row in units
}

// bin is the sum over rows of one unit: the upper triangle, [width(width+1)/2].
type bin struct {
	rows   int
	sums   []int64
	recent []float64 // of the last rows, whole numbers below 2^53; nil: none
	added  int       // rows in recent
}

// settle moves the recent rows to the sums.
func (b *bin) settle() {
	for i, v := range b.recent {
		b.sums[i] += int64(v)
	}
	clear(b.recent)
	b.added = 0
}

const (
	unitBits  = 20      // of an element
	mostRows  = 1 << 22 // of a bin: their products stay below 2^62
	binPowers = 4       // powers of two that a bin spans
	mostAdded = 1 << 13 // rows whose products stay below 2^53
)

// fold adds a row. One that is zero or not finite leaves no trace.
func (s *scatter) fold(row []float32) {
	largest := 0.0
	for _, v := range row {
		largest = max(largest, math.Abs(float64(v))) // NaN stays
	}
	if largest == 0 || largest-largest != 0 {
		return
	}
	_, power := math.Frexp(largest) // largest < 2^power
	number := int(math.Ceil(float64(power) / binPowers))
	width := len(row)
	b := s.bins[number]
	if b == nil {
		if s.bins == nil {
			s.bins = map[int]*bin{}
		}
		b = &bin{sums: make([]int64, width*(width+1)/2)}
		s.bins[number] = b
	}
	if b.recent == nil {
		b.recent = make([]float64, len(b.sums))
	}
	b.rows++
	unit := math.Ldexp(1, unitBits-binPowers*number)
	s.spare = s.spare[:0]
	for _, v := range row {
		s.spare = append(s.spare, math.RoundToEven(float64(v)*unit))
	}
	recent := b.recent
	for i, x := range s.spare {
		floats.AddScaled(recent[:width-i], x, s.spare[i:])
		recent = recent[width-i:]
	}
	if b.added++; b.added == mostAdded {
		b.settle()
	}
}

func (s *scatter) merge(other *scatter) {
	for number, o := range other.bins {
		o.settle()
		b := s.bins[number]
		if b == nil {
			if s.bins == nil {
				s.bins = map[int]*bin{}
			}
			s.bins[number] = &bin{rows: o.rows, sums: slices.Clone(o.sums)}
			continue
		}
		b.rows += o.rows
		for i, v := range o.sums {
			b.sums[i] += v
		}
	}
}

// matrix returns the sum [width, width].
func (s *scatter) matrix(width int) ([]float64, error) {
	if len(s.bins) == 0 {
		return nil, errors.New("all differences are zero")
	}
	out := make([]float64, width*width)
	for _, number := range slices.Sorted(maps.Keys(s.bins)) {
		b := s.bins[number]
		b.settle()
		if b.rows > mostRows {
			return nil, fmt.Errorf("%d differences of about the same length; at most %d can be", b.rows, mostRows)
		}
		unit, at := math.Ldexp(1, 2*(binPowers*number-unitBits)), 0
		for i := range width {
			for k := i; k < width; k++ {
				out[i*width+k] += float64(b.sums[at]) * unit
				out[k*width+i] = out[i*width+k]
				at++
			}
		}
	}
	return out, nil
}

// appendTo appends the bins in ascending order: number, rows and sums.
func (s *scatter) appendTo(out []byte) []byte {
	for _, number := range slices.Sorted(maps.Keys(s.bins)) {
		b := s.bins[number]
		b.settle()
		out = slices.Grow(out, 16+8*len(b.sums))
		out = binary.LittleEndian.AppendUint64(out, uint64(number))
		out = binary.LittleEndian.AppendUint64(out, uint64(b.rows))
		for _, v := range b.sums {
			out = binary.LittleEndian.AppendUint64(out, uint64(v))
		}
	}
	return out
}

// read takes what appendTo wrote of at most count rows, which must be all of data.
func (s *scatter) read(data []byte, width, count int) error {
	*s = scatter{bins: map[int]*bin{}}
	triangle, last := width*(width+1)/2, math.MinInt
	for len(data) > 0 {
		if (len(data)-16)/8 < triangle || len(data) < 16 {
			return fmt.Errorf("the scatter matrix of width %d ends within a bin", width)
		}
		number, rows := int(int64(binary.LittleEndian.Uint64(data))), binary.LittleEndian.Uint64(data[8:])
		if number <= last || number < -40 || number > 32 {
			return fmt.Errorf("bin %d of the scatter matrix is out of order or range", number)
		}
		if rows < 1 || rows > uint64(count) {
			return fmt.Errorf("bin %d of the scatter matrix is of %d rows of %d samples", number, rows, count)
		}
		b := &bin{rows: int(rows), sums: make([]int64, triangle)}
		for i := range b.sums {
			v := int64(binary.LittleEndian.Uint64(data[16+8*i:]))
			if most := int64(min(rows, mostRows)) << (2 * unitBits); v < -most || v > most {
				return fmt.Errorf("bin %d of the scatter matrix holds a sum that is out of range", number)
			}
			b.sums[i] = v
		}
		s.bins[number], last, data = b, number, data[16+8*triangle:]
	}
	return nil
}
