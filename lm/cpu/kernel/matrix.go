package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"
	"unsafe"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

// Matrix is a weight [Out, In], packed once for the product x·Wᵀ. It is
// immutable and safe for any number of callers.
type Matrix struct {
	Out, In   int
	Precision Precision

	// words is [panels, steps, panelWidth]: each panel holds neighbouring
	// outputs, and each word of a step one float32 or two bfloat16 of
	// neighbouring inputs, the lower half first. What the shape leaves over is 0.
	words []uint32
	steps int // words of an output
}

const panelWidth = 64

// panels returns the number of panels.
func (m *Matrix) panels() int { return (m.Out + panelWidth - 1) / panelWidth }

// panel returns the words of one panel, [steps, panelWidth].
func (m *Matrix) panel(i int) []uint32 {
	return m.words[i*m.steps*panelWidth : (i+1)*m.steps*panelWidth]
}

// Pack copies the rows of the views, one under the other, into a matrix for
// products of the given precision. All views must have the same number of
// columns. The work is shared over the workers; each view's memory is read
// once and released on the way.
func Pack(precision Precision, views ...View) *Matrix {
	m := &Matrix{In: views[0].Cols, Precision: precision}
	for _, v := range views {
		if v.Cols != m.In {
			panic(fmt.Sprintf("kernel: views of %d and %d columns in one matrix", m.In, v.Cols))
		}
		m.Out += v.Rows
	}
	m.steps = m.In
	if precision != F32 {
		m.steps = (m.In + 1) / 2
	}
	m.words = allocate(m, m.panels()*m.steps*panelWidth)
	if len(m.words) == 0 {
		return m
	}
	Parallel(m.panels(), func(panel int) {
		s := packings.Get().(*packing)
		defer packings.Put(s)
		for from := panel * panelWidth; from < min(m.Out, (panel+1)*panelWidth); from += packRows {
			s.pack(m, views, from)
		}
	})
	for _, v := range views {
		v.release(0, v.Rows)
	}
	return m
}

// packRows is how many rows are packed together, at most.
const packRows = 16

// packing is the memory that packs some rows.
type packing struct {
	words   []uint32 // [packRows, steps]
	numbers []float32
}

var packings = sync.Pool{New: func() any { return new(packing) }}

// pack fills the columns of a panel that hold the rows from, from+1, …
func (s *packing) pack(m *Matrix, views []View, from int) {
	n := min(packRows, m.Out-from)
	at := m.panel(from / panelWidth)[from%panelWidth:]
	for n > 0 {
		first, v := 0, 0
		for from-first >= views[v].Rows {
			first, v = first+views[v].Rows, v+1
		}
		view, row := views[v], from-first
		together := min(n, view.Rows-row)
		source, stride := s.stage(m, view, row, together)
		transpose(at, panelWidth, source, stride, together, m.steps)
		view.release(row, together)
		from, n, at = from+together, n-together, at[together:]
	}
}

// stage returns rows as words [n, steps] in memory, stride bytes apart: where
// they are in the checkpoint if they have the right form there.
func (s *packing) stage(m *Matrix, v View, row, n int) (source []byte, stride int) {
	stored := StoredBF16
	if m.Precision == F32 {
		stored = StoredF32
	}
	if v.Type == stored && v.ColStride == 1 && m.In*stored.Size() == m.steps*4 {
		stride = v.RowStride * stored.Size()
		return v.Data[row*stride : (row+n-1)*stride+m.steps*4], stride
	}
	numbers := sized(&s.numbers, n*m.In)
	v.read(row, n, numbers)
	words := sized(&s.words, n*m.steps)
	for r := range n {
		row := numbers[r*m.In : (r+1)*m.In]
		to := words[r*m.steps : (r+1)*m.steps]
		if m.Precision == F32 {
			for i, x := range row {
				to[i] = math.Float32bits(x)
			}
			continue
		}
		for i := range to {
			to[i] = uint32(bfloat16.Round(row[2*i]))
			if 2*i+1 < len(row) {
				to[i] |= uint32(bfloat16.Round(row[2*i+1])) << 16
			}
		}
	}
	return bytesOf(words), m.steps * 4
}

// transpose copies the little-endian words of n rows, stride bytes apart, to
// every step'th word of dst: column c of row r goes to c*step + r.
func transpose(dst []uint32, step int, src []byte, stride, n, columns int) {
	rows, done := 0, 0 // what vectors do
	if lanes := active.lanes; active.transpose != nil && columns >= lanes {
		rows, done = n/lanes*lanes, columns/lanes*lanes
		for r := 0; r < rows; r += lanes {
			active.transpose((*byte)(unsafe.Pointer(&dst[r])), 4*step, &src[r*stride], stride, done)
		}
	}
	for r := range n {
		row, first := src[r*stride:], 0
		if r < rows {
			first = done
		}
		for c := first; c < columns; c++ {
			dst[c*step+r] = binary.LittleEndian.Uint32(row[4*c:])
		}
	}
}

// bytesOf is the memory of words.
func bytesOf(words []uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 4*len(words))
}

// Row writes row r of the matrix as float32 into dst [In]: the embedding of
// token r when the output matrix is tied to the embedding.
func (m *Matrix) Row(r int, dst []float32) {
	defer runtime.KeepAlive(m) // its memory goes with it
	words := m.panel(r / panelWidth)[r%panelWidth:]
	if m.Precision == F32 {
		for i := range dst[:m.In] {
			dst[i] = math.Float32frombits(words[i*panelWidth])
		}
		return
	}
	for i := range dst[:m.In] {
		word := words[i/2*panelWidth]
		dst[i] = bfloat16.Widen(uint16(word >> (i % 2 * 16)))
	}
}

// Bytes returns the memory that the packed weight takes.
func (m *Matrix) Bytes() int { return 4 * len(m.words) }

// sized returns a buffer of n elements, whose content means nothing.
func sized[T any](buffer *[]T, n int) []T {
	if cap(*buffer) < n {
		*buffer = make([]T, n)
	}
	return (*buffer)[:n]
}
