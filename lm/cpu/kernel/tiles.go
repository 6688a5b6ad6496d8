package kernel

import (
	"sync"
	"unsafe"
)

// blockWidth is how many columns lie side by side wherever tiles read them.
const blockWidth = 16

// tiles is some steps of a product's rows with the columns of a panel.
type tiles struct {
	*product
	format int
	a      unsafe.Pointer // the activations of row 0 at the first step
	w      unsafe.Pointer // the weights of the first column
	steps  int
	step   int // bytes from one step's weights to the next
	block  int // bytes from one block of columns to the next

	more bool // the sums go on from what is in dst
	last bool // the bias is added
}

// multiply computes the columns of the rows from, …, to-1 that begin at an output.
func (t *tiles) multiply(from, to, out, columns int) {
	count := (to - from + tileRows - 1) / tileRows
	for r := from; r < to; {
		rows := (to - r + count - 1) / count // of equal height, nearly
		t.tile(r, rows, out, columns)
		r, count = r+rows, count-1
	}
}

// tile computes the columns of a few rows.
func (t *tiles) tile(row, rows, out, columns int) {
	stride := t.form.words * 4
	a := (*byte)(unsafe.Add(t.a, row*stride))
	tile, wide := t.set.tile[t.format][rows], t.set.columns
	if rows == 1 && t.set.panel[t.format] != nil && t.block == blockWidth*4 {
		tile, wide = t.set.panel[t.format], panelWidth
	}
	span := t.set.lanes * 4 // from vector to vector
	if t.set.lanes == blockWidth {
		span = t.block
	}
	for c := 0; c < columns; c += wide {
		w := (*byte)(unsafe.Add(t.w, c/blockWidth*t.block))
		at := row*t.stride + out + c
		if c+wide > columns {
			t.edge(tile, a, w, span, row, rows, out+c, columns-c)
			continue
		}
		var bias *float32
		if t.bias != nil && t.last {
			bias = &t.bias[out+c]
		}
		tile(a, stride, w, t.step, span, t.steps, &t.dst[at], t.stride*4, t.more, bias)
	}
}

// edge computes a tile of which only some columns exist.
func (t *tiles) edge(tile tileFunc, a, w *byte, span, row, rows, out, columns int) {
	buffer := edges.Get().(*[tileRows * panelWidth]float32)
	defer edges.Put(buffer)
	if t.more {
		for r := range rows {
			copy(buffer[r*panelWidth:][:columns], t.dst[(row+r)*t.stride+out:])
		}
	}
	tile(a, t.form.words*4, w, t.step, span, t.steps, &buffer[0], panelWidth*4, t.more, nil)
	for r := range rows {
		to := t.dst[(row+r)*t.stride+out:][:columns]
		copy(to, buffer[r*panelWidth:])
		if t.bias != nil && t.last {
			for c := range to {
				to[c] += t.bias[out+c]
			}
		}
	}
}

var edges = sync.Pool{New: func() any { return new([tileRows * panelWidth]float32) }}
