package kernel

import (
	"math"
	"unsafe"
)

// blockLayout holds weights as the blocks in which they are stored, with no bit
// more. A unit is 16 outputs: the words of all records, [words, 16], then their
// halves, [halves, 16].
type blockLayout struct {
	*blockFormat
	exact bool // activations stay float32; otherwise they become integers
}

func (l blockLayout) size(in int) (outputs, words int) {
	return unitOutputs, l.records(in) * (l.words()*unitOutputs + l.halves*unitOutputs/2)
}

// parts returns the words and the halves of a unit.
func (l blockLayout) parts(unit []uint32, in int) (words []uint32, halves []uint16) {
	n := l.records(in) * l.words() * unitOutputs
	rest := unit[n:]
	return unit[:n], unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(rest))), l.records(in)*l.halves*unitOutputs)
}

func (l blockLayout) pack(s *packing, unit []uint32, column int, v View, row, n int) {
	perRecord, records := l.words(), l.records(v.Cols)
	perRow := records * perRecord
	words, halves := l.parts(unit, v.Cols)
	staged, bytes := sized(&s.words, n*perRow), v.Type.Bytes(l.inputs)
	var own [2]uint16
	for r := range n {
		blocks := v.stored(row + r)
		for i := range records {
			record := blocks[i*bytes : min((i+1)*bytes, len(blocks))]
			l.repack(staged[r*perRow+i*perRecord:][:perRecord], own[:l.halves], record)
			for h, half := range own[:l.halves] {
				halves[(i*l.halves+h)*unitOutputs+column+r] = half
			}
		}
	}
	transpose(words[column:], unitOutputs, bytesOf(staged), perRow*4, n, perRow)
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

// read reads record i of a column.
func (r *record) read(l blockLayout, words []uint32, halves []uint16, i, column int) {
	for w := range r.words {
		r.words[w] = words[(i*len(r.words)+w)*unitOutputs+column]
	}
	for h := range r.halves {
		r.halves[h] = halves[(i*len(r.halves)+h)*unitOutputs+column]
	}
	l.numbers(r.q, r.scale, r.minus, r.words, r.halves)
}

func (l blockLayout) row(dst []float32, unit []uint32, column int) {
	r := l.newRecord()
	words, halves := l.parts(unit, len(dst))
	for i := range l.records(len(dst)) {
		r.read(l, words, halves, i, column)
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

func (l blockLayout) panel(p *product, panel, from, to int) {
	out := panel * panelWidth
	for c := range min(panelWidth, p.out-out) {
		l.plain(p, out+c, from, to)
	}
}

// plain computes one output for some rows. With integers it is the specification
// to the bit: each product and each sum below is rounded by itself.
func (l blockLayout) plain(p *product, out, from, to int) {
	record := l.newRecord()
	words, halves := l.parts(p.units(out, p.in), p.in)
	sums := make([]float32, to-from)
	for i := range l.records(p.in) {
		record.read(l, words, halves, i, out%unitOutputs)
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
		block := x[first/32*integerBlock:][:integerBlock]
		total := int32(0)
		for k := range l.group {
			total += int32(r.q[first+k]) * integerOf(block, first%32+k)
		}
		scale := r.scale[g] * math.Float32frombits(block[scaleWord])
		*sum += float32(float32(total) * scale)
		if l.minus {
			of := sumWord
			if l.group == 16 {
				of += 1 + first%32/16
			}
			*sum -= float32(r.minus[g] * math.Float32frombits(block[of]))
		}
	}
}

// multiplyExactly adds the product of a record with activations as they are.
func (l blockLayout) multiplyExactly(sum *float32, r *record, x []float32) {
	for k, v := range x[:min(len(x), l.inputs)] {
		*sum += v * (float32(r.scale[k/l.group]*float32(r.q[k])) - r.minus[k/l.group])
	}
}
