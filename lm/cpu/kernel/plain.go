package kernel

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

// plainLayout holds weights as plain numbers: a unit is a panel, [steps,
// panelWidth] words, a word being one float32 or two bfloat16 of neighbouring
// inputs, the lower half first.
type plainLayout Precision

// steps is how many words an output takes.
func (l plainLayout) steps(in int) int {
	if Precision(l) == F32 {
		return in
	}
	return (in + 1) / 2
}

func (l plainLayout) size(in int) (outputs, words int) { return panelWidth, l.steps(in) * panelWidth }

func (l plainLayout) pack(s *packing, unit []uint32, column int, v View, row, n int) {
	steps := l.steps(v.Cols)
	source, stride := l.stage(s, v, row, n, steps)
	transpose(unit[column:], panelWidth, source, stride, n, steps)
}

// stage returns rows as words [n, steps] in memory, stride bytes apart: where
// they are in the checkpoint if they have the right form there.
func (l plainLayout) stage(s *packing, v View, row, n, steps int) (source []byte, stride int) {
	stored := StoredBF16
	if Precision(l) == F32 {
		stored = StoredF32
	}
	if v.Type == stored && v.ColStride == 1 && v.Order == nil && stored.Bytes(v.Cols) == steps*4 {
		stride = stored.Bytes(v.RowStride)
		return v.Data[row*stride : (row+n-1)*stride+steps*4], stride
	}
	numbers := sized(&s.numbers, n*v.Cols)
	v.read(row, n, numbers)
	words := sized(&s.words, n*steps)
	for r := range n {
		row := numbers[r*v.Cols : (r+1)*v.Cols]
		to := words[r*steps : (r+1)*steps]
		if Precision(l) == F32 {
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
	return bytesOf(words), steps * 4
}

func (l plainLayout) row(dst []float32, unit []uint32, column int) {
	if Precision(l) == F32 {
		for i := range dst {
			dst[i] = math.Float32frombits(unit[i*panelWidth+column])
		}
		return
	}
	for i := range dst {
		word := unit[i/2*panelWidth+column]
		dst[i] = bfloat16.Widen(uint16(word >> (i % 2 * 16)))
	}
}

func (l plainLayout) form(set *instructionSet, in int) form {
	switch {
	case Precision(l) == BF16 && set.tile[half][1] != nil:
		// Rows do not all begin in the same set of the cache.
		return form{halves, l.steps(in) + 16}
	case Precision(l) == BF16:
		return form{rounded, 2 * l.steps(in)}
	case Precision(l) == Mixed && in%2 == 1:
		return form{padded, in + 1}
	}
	return form{asGiven, in}
}

// format is which tiles multiply activations of a form.
func (l plainLayout) format(f form) int {
	switch {
	case Precision(l) == F32:
		return single
	case f.kind == halves:
		return half
	}
	return mixed
}

// panel multiplies with tiles, some steps at a time: their weights stay in the
// second cache while all rows pass.
func (l plainLayout) panel(p *product, panel, from, to int) {
	out, in := panel*panelWidth, p.in
	columns := min(panelWidth, p.out-out)
	words := p.units(out, in)
	if p.set.tile[single][1] == nil {
		for r := from; r < to; r++ {
			l.plain(p, words, r, out, columns)
		}
		return
	}
	const most = 1024
	for first := 0; first < l.steps(in) || first == 0; first += most {
		t := tiles{product: p, format: l.format(p.form), steps: min(most, l.steps(in)-first), step: panelWidth * 4, block: blockWidth * 4}
		t.more, t.last = first > 0, first+t.steps == l.steps(in)
		t.w = unsafe.Add(unsafe.Pointer(unsafe.SliceData(words)), first*t.step)
		t.a = unsafe.Add(unsafe.Pointer(unsafe.SliceData(p.x)), first*[...]int{single: 4, mixed: 8, half: 4}[t.format])
		t.multiply(from, to, out, columns)
	}
}

// plain computes one row with a panel: the specification of the tiles, which
// differ from it in rounding alone.
func (l plainLayout) plain(p *product, words []uint32, row, out, columns int) {
	x := p.x[row*p.form.words : (row+1)*p.form.words]
	dst := p.dst[row*p.stride+out:][:columns]
	const together = 8
	for c := 0; c < columns; c += together {
		var sums [together]float32
		for k := range l.steps(p.in) {
			w := (*[together]uint32)(words[k*panelWidth+c:])
			if Precision(l) == F32 {
				for i := range sums {
					sums[i] += math.Float32frombits(x[k]) * math.Float32frombits(w[i])
				}
				continue
			}
			x0, x1 := math.Float32frombits(x[2*k]), math.Float32frombits(x[2*k+1])
			for i := range sums {
				sums[i] += x0 * math.Float32frombits(w[i]<<16)
			}
			for i := range sums {
				sums[i] += x1 * math.Float32frombits(w[i]&0xffff0000)
			}
		}
		for i, sum := range sums[:min(together, columns-c)] {
			if p.bias != nil {
				sum += p.bias[out+c+i]
			}
			dst[c+i] = sum
		}
	}
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
