package kernel

import (
	"cmp"
	"math"
	"sync"
	"unsafe"
)

// blockLayout holds weights as the blocks in which they are stored, with no bit
// more. A unit is 16 outputs, record after record: its halves, [halves, 16], then
// its words, [words, 16]. So a product reads a unit from front to back, as one
// stream.
type blockLayout struct {
	*blockFormat
	stored Stored
	exact  bool // activations stay float32; otherwise they become integers
}

func (l blockLayout) size(in int) (outputs, words int) {
	return unitOutputs, l.records(in) * l.recordWords()
}

// recordWords returns the memory of a record of all outputs of a unit.
func (l blockLayout) recordWords() int { return l.halfWords() + l.words()*unitOutputs }

// halfWords returns the memory of its halves.
func (l blockLayout) halfWords() int { return l.halves * unitOutputs / 2 }

// record returns the halves and the words of record i of a unit.
func (l blockLayout) record(unit []uint32, i int) (halves []uint16, words []uint32) {
	record := unit[i*l.recordWords():][:l.recordWords()]
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(record))), l.halves*unitOutputs), record[l.halfWords():]
}

func (l blockLayout) pack(s *packing, unit []uint32, column int, v View, row, n int) {
	perRecord, records := l.words(), l.records(v.Cols)
	perRow := records * perRecord
	memory := sized(&s.words, (n+unitOutputs)*perRow)
	staged, across := memory[:n*perRow], memory[n*perRow:] // [n, words], [words, 16]
	bytes := v.Type.Bytes(l.inputs)
	var own [2]uint16
	for r := range n {
		blocks := v.stored(row + r)
		for i := range records {
			block := blocks[i*bytes : min((i+1)*bytes, len(blocks))]
			l.repack(staged[r*perRow+i*perRecord:][:perRecord], own[:l.halves], block)
			halves, _ := l.record(unit, i)
			for h, half := range own[:l.halves] {
				halves[h*unitOutputs+column+r] = half
			}
		}
	}
	transpose(across, unitOutputs, bytesOf(staged), perRow*4, n, perRow)
	for i := range records {
		_, words := l.record(unit, i)
		from := across[i*perRecord*unitOutputs:]
		if n == unitOutputs {
			copy(words, from)
			continue
		}
		for w := range perRecord {
			copy(words[w*unitOutputs+column:][:n], from[w*unitOutputs:])
		}
	}
}

// record is what a record holds for one output.
type record struct {
	words        []uint32
	halves       []uint16
	q            []int16   // [inputs]
	scale, minus []float32 // [groups]
}

func (l blockLayout) newRecord() *record {
	groups := l.inputs / l.group
	return &record{make([]uint32, l.words()), make([]uint16, l.halves), make([]int16, l.inputs), make([]float32, groups), make([]float32, groups)}
}

// read reads record i of a column of a unit.
func (r *record) read(l blockLayout, unit []uint32, i, column int) {
	halves, words := l.record(unit, i)
	for w := range r.words {
		r.words[w] = words[w*unitOutputs+column]
	}
	for h := range r.halves {
		r.halves[h] = halves[h*unitOutputs+column]
	}
	l.numbers(r.q, r.scale, r.minus, r.words, r.halves)
}

func (l blockLayout) row(dst []float32, unit []uint32, column int) {
	r := l.newRecord()
	for i := range l.records(len(dst)) {
		r.read(l, unit, i, column)
		for k := range min(l.inputs, len(dst)-i*l.inputs) {
			dst[i*l.inputs+k] = float32(r.scale[k/l.group]*float32(r.q[k])) - r.minus[k/l.group]
		}
	}
}

func (l blockLayout) form(_ *instructionSet, in int) form {
	if l.exact {
		return form{asGiven, in}
	}
	// Rows do not all begin in the same set of the cache.
	return form{integers, l.records(in)*l.inputs/32*integerBlock + 4}
}

// panel unpacks a stretch of the panel's inputs at a time, which stays in the first
// and second cache while all rows pass.
func (l blockLayout) panel(p *product, panel, from, to int) {
	out := panel * panelWidth
	columns := min(panelWidth, p.out-out)
	if p.set.blocks.unpack[l.stored] == nil {
		for c := range columns {
			l.plain(p, out+c, from, to)
		}
		return
	}
	s := stretches.Get().(*stretchOfBlocks)
	defer stretches.Put(s)
	if l.exact {
		l.exactPanel(p, s, out, from, to)
	} else {
		l.integerPanel(p, s, out, from, to)
	}
}

// stretchInputs is how many inputs of a panel are unpacked at a time; all records
// divide it.
const stretchInputs = 256

// stretchOfBlocks is what some inputs of a panel are unpacked to, by unit.
type stretchOfBlocks struct {
	q            [panelWidth / unitOutputs][stretchInputs / 2 * unitOutputs]uint32   // pairs of integers, [pairs, 16]
	scale, minus [panelWidth / unitOutputs][stretchInputs / 16 * unitOutputs]float32 // [groups, 16]
	numbers      [panelWidth / unitOutputs][stretchInputs * unitOutputs]float32      // for exact products
	dst          []float32                                                           // [rows, panelWidth], where a panel is not full
}

// minima returns those of a unit; nil where the format has none.
func (l blockLayout) minima(s *stretchOfBlocks, unit int) *float32 {
	if !l.minus {
		return nil
	}
	return &s.minus[unit][0]
}

// noMinima stand for those of formats without.
var noMinima [stretchInputs / 16 * unitOutputs]float32

var stretches = sync.Pool{New: func() any { return new(stretchOfBlocks) }}

// recordsAt leads to those that begin at an input of one unit.
func (l blockLayout) recordsAt(p *product, out, first int) *uint32 {
	return &p.units(out, p.in)[first/l.inputs*l.recordWords()]
}

// unpack unpacks inputs, from a multiple of the stretch on, of a panel.
func (l blockLayout) unpack(p *product, s *stretchOfBlocks, out, units, first, inputs int) {
	for unit := range units {
		p.set.blocks.unpack[l.stored](&s.q[unit][0], &s.scale[unit][0], &s.minus[unit][0], l.recordsAt(p, out+unit*unitOutputs, first), inputs/l.inputs)
	}
}

// integerPanel computes some rows of a panel with integers.
func (l blockLayout) integerPanel(p *product, s *stretchOfBlocks, out, from, to int) {
	columns := min(panelWidth, p.out-out)
	units := (columns + unitOutputs - 1) / unitOutputs
	width := units * unitOutputs // of what is computed
	if to-from > 1 {
		width = panelWidth
	}
	dst, stride := p.dst[from*p.stride+out:], p.stride
	if columns < width {
		dst, stride = sized(&s.dst, (to-from)*panelWidth), panelWidth
	}
	for r := range to - from {
		clear(dst[r*stride:][:width])
	}
	padded := l.records(p.in) * l.inputs
	if to-from == 1 {
		for unit := range units {
			p.set.blocks.row[l.stored](&dst[unit*unitOutputs], l.activations(p, from, 0), &s.scale[0][0], &s.minus[0][0], l.recordsAt(p, out+unit*unitOutputs, 0), padded/l.inputs)
		}
		padded = 0
	}
	for first := 0; first < padded; first += stretchInputs {
		inputs := min(stretchInputs, padded-first)
		l.unpack(p, s, out, units, first, inputs)
		l.integerTiles(p, s, from, to, first, inputs, units, dst, stride)
	}
	for r := range to - from {
		row := p.dst[(from+r)*p.stride+out:][:columns]
		if columns < width {
			copy(row, dst[r*stride:])
		}
		if p.bias != nil {
			for c := range row {
				row[c] += p.bias[out+c]
			}
		}
	}
}

// activations leads to those of a row from an input on.
func (l blockLayout) activations(p *product, row, first int) *uint32 {
	return &p.x[row*p.form.words+first/16*integerHalf]
}

// integerTiles multiplies two rows or more with what is unpacked.
func (l blockLayout) integerTiles(p *product, s *stretchOfBlocks, from, to, first, inputs, units int, dst []float32, stride int) {
	count := (to - from + tileRows - 1) / tileRows
	for r := from; r < to; {
		rows := (to - r + count - 1) / count // of equal height, nearly: never one alone
		for unit := 0; unit < units; unit += p.set.blocks.units {
			p.set.blocks.tile[rows](l.activations(p, r, first), p.form.words*4, &s.q[unit][0], &s.scale[unit][0], l.minima(s, unit),
				inputs/l.group, l.group/16, &dst[(r-from)*stride+unit*unitOutputs], stride*4)
		}
		r, count = r+rows, count-1
	}
}

// exactPanel computes some rows of a panel with activations as they are.
func (l blockLayout) exactPanel(p *product, s *stretchOfBlocks, out, from, to int) {
	columns := min(panelWidth, p.out-out)
	units := (columns + unitOutputs - 1) / unitOutputs
	for first := 0; first < p.in; first += stretchInputs {
		padded := min(stretchInputs, l.records(p.in)*l.inputs-first)
		l.unpack(p, s, out, units, first, padded)
		for unit := range units {
			p.set.blocks.numbers(&s.numbers[unit][0], &s.q[unit][0], &s.scale[unit][0], cmp.Or(l.minima(s, unit), &noMinima[0]), padded/l.group, l.group/16)
		}
		t := tiles{product: p, format: single, steps: min(stretchInputs, p.in-first), step: unitOutputs * 4, block: len(s.numbers[0]) * 4}
		t.more, t.last = first > 0, first+t.steps == p.in
		t.w, t.a = unsafe.Pointer(&s.numbers), unsafe.Pointer(&p.x[first])
		t.multiply(from, to, out, columns)
	}
}

// plain computes one output for some rows. With integers it is the specification
// to the bit: each product and each sum below is rounded by itself.
func (l blockLayout) plain(p *product, out, from, to int) {
	record := l.newRecord()
	unit := p.units(out, p.in)
	sums := make([]float32, to-from)
	for i := range l.records(p.in) {
		record.read(l, unit, i, out%unitOutputs)
		for r := range sums {
			x := p.x[(from+r)*p.form.words:][:p.form.words]
			if l.exact {
				l.multiplyExactly(&sums[r], record, numbersOf(x[i*l.inputs:]))
			} else {
				l.multiply(&sums[r], record, x[i*l.inputs/32*integerBlock:])
			}
		}
	}
	for r, sum := range sums {
		if p.bias != nil {
			sum += p.bias[out]
		}
		p.dst[(from+r)*p.stride+out] = sum
	}
}

// multiply adds the product of a record with activations as integers.
func (l blockLayout) multiply(sum *float32, r *record, x []uint32) {
	for g := range r.scale {
		first := g * l.group
		total := int32(0)
		for k := first; k < first+l.group; k++ {
			total += int32(r.q[k]) * integerOf(x, k)
		}
		half := x[first/16*integerHalf:]
		scale := r.scale[g] * math.Float32frombits(half[scaleWord])
		*sum += float32(float32(total) * scale)
		if l.minus {
			*sum -= float32(r.minus[g] * math.Float32frombits(half[sumWord+l.group/32]))
		}
	}
}

// multiplyExactly adds the product of a record with activations as they are.
func (l blockLayout) multiplyExactly(sum *float32, r *record, x []float32) {
	for k, v := range x[:min(len(x), l.inputs)] {
		*sum += v * (float32(r.scale[k/l.group]*float32(r.q[k])) - r.minus[k/l.group])
	}
}
