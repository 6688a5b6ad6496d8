package kernel

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Matrix is a weight [Out, In], packed once for the product x·Wᵀ. It is
// immutable and safe for any number of callers.
type Matrix struct {
	Out, In int
	stripes []stripe // one under the other
}

// stripe is neighbouring outputs of a matrix that lie in memory in one layout.
type stripe struct {
	layout
	from, out int      // the first output and their number
	words     []uint32 // [units] of the layout; what the shape leaves over is 0
}

// A layout is how the weights of a stripe lie in memory, and how they are
// multiplied. It is a value: equal ones mean the same.
type layout interface {
	// size returns how many neighbouring outputs, a divisor of panelWidth, make a
	// unit of memory, and how many words a unit takes for so many inputs.
	size(in int) (outputs, words int)

	// pack copies n rows of a view [Rows, in] into a unit, from a column on.
	pack(s *packing, unit []uint32, column int, v View, row, n int)

	// row writes the weights of one column of a unit into dst [in].
	row(dst []float32, unit []uint32, column int)

	// form returns the form in which a product with it reads its activations.
	form(set *instructionSet, in int) form

	// panel computes the rows from, …, to-1 of a product with one panel.
	panel(p *product, panel, from, to int)
}

// panelWidth is how many outputs a task of a product computes.
const panelWidth = 64

// panels returns the number of panels.
func (m *Matrix) panels() (n int) {
	for i := range m.stripes {
		n += m.stripes[i].panels()
	}
	return n
}

func (s *stripe) panels() int { return (s.out + panelWidth - 1) / panelWidth }

// units returns the memory from the unit on that holds an output of the stripe.
func (s *stripe) units(output, in int) []uint32 {
	outputs, words := s.size(in)
	return s.words[output/outputs*words:]
}

// Pack copies the rows of the views, one under the other, into a matrix for
// products of the given precision. All views must have the same number of
// columns. The work is shared over the workers; each view's memory is read
// once and released on the way.
func Pack(precision Precision, views ...View) *Matrix {
	m := &Matrix{In: views[0].Cols}
	for _, v := range views {
		if v.Cols != m.In {
			panic(fmt.Sprintf("kernel: views of %d and %d columns in one matrix", m.In, v.Cols))
		}
	}
	for len(views) > 0 {
		s, n := stripe{layout: layoutOf(precision, views[0].Type), from: m.Out}, 0
		for ; n < len(views) && layoutOf(precision, views[n].Type) == s.layout; n++ {
			s.out += views[n].Rows
		}
		m.Out += s.out
		s.fill(m, views[:n])
		m.stripes, views = append(m.stripes, s), views[n:]
	}
	return m
}

// layoutOf is how weights that are stored so lie for products of a precision.
func layoutOf(precision Precision, stored Stored) layout {
	if f := stored.block(); f != nil {
		return blockLayout{f, stored, precision != BF16}
	}
	return plainLayout(precision)
}

// fill packs the views of a stripe.
func (s *stripe) fill(m *Matrix, views []View) {
	outputs, words := s.size(m.In)
	s.words = allocate(m, (s.out+outputs-1)/outputs*words)
	if len(s.words) > 0 {
		tasks := (s.out + packRows - 1) / packRows
		// What has been read is given back some tasks at a time: for a few pages that would
		// cost more than reading them.
		together := max(releaseBytes/max(packRows*views[0].Type.Bytes(m.In), 1), 1)
		left := make([]atomic.Int32, (tasks+together-1)/together)
		for i := range left {
			left[i].Store(int32(min(together, tasks-i*together)))
		}
		Parallel(tasks, func(task int) {
			p := packings.Get().(*packing)
			defer packings.Put(p)
			s.packRows(p, m.In, views, task*packRows)
			if i := task / together; left[i].Add(-1) == 0 {
				release(views, i*together*packRows, min((i+1)*together*packRows, s.out))
			}
		})
	}
	for _, v := range views {
		v.release(0, v.Rows)
	}
}

// releaseBytes is how much of what has been read is given back together.
const releaseBytes = 8 << 20

// release gives back the rows from, …, to-1 of views that stand one under the other.
func release(views []View, from, to int) {
	for _, v := range views {
		if first, last := max(from, 0), min(to, v.Rows); first < last {
			v.release(first, last-first)
		}
		from, to = from-v.Rows, to-v.Rows
	}
}

// packRows is how many rows are packed together, at most; it divides all units.
const packRows = 16

// packing is the memory that packs some rows.
type packing struct {
	words   []uint32 // [packRows, words of one output]
	numbers []float32
}

var packings = sync.Pool{New: func() any { return new(packing) }}

// packRows fills the columns of a unit that hold the rows from, from+1, …
func (s *stripe) packRows(p *packing, in int, views []View, from int) {
	outputs, words := s.size(in)
	unit := s.units(from, in)[:words]
	for n := min(packRows, s.out-from); n > 0; {
		first, v := 0, 0
		for from-first >= views[v].Rows {
			first, v = first+views[v].Rows, v+1
		}
		row := from - first
		together := min(n, views[v].Rows-row)
		s.pack(p, unit, from%outputs, views[v], row, together)
		from, n = from+together, n-together
	}
}

// Row writes row r of the matrix as float32 into dst [In]: the embedding of
// token r when the output matrix is tied to the embedding.
func (m *Matrix) Row(r int, dst []float32) {
	defer runtime.KeepAlive(m) // its memory goes with it
	i := 0
	for r >= m.stripes[i].from+m.stripes[i].out {
		i++
	}
	s := &m.stripes[i]
	outputs, _ := s.size(m.In)
	s.row(dst[:m.In], s.units(r-s.from, m.In), (r-s.from)%outputs)
}

// Bytes returns the memory that the packed weight takes.
func (m *Matrix) Bytes() (n int) {
	for _, s := range m.stripes {
		n += 4 * len(s.words)
	}
	return n
}

// sized returns a buffer of n elements, whose content means nothing.
func sized[T any](buffer *[]T, n int) []T {
	if cap(*buffer) < n {
		*buffer = make([]T, n)
	}
	return (*buffer)[:n]
}
