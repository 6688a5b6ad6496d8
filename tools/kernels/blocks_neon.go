package main

import (
	"fmt"
	"math"
	"math/bits"
)

// blocks generates the products with blocks of few bits. One row has two kernels:
// with 16-bit products, which every arm64 processor has, and with dot products of
// four bytes, for which the activations' integers come apart into a high and a low
// byte. Both add up exactly.
func (n *neon) blocks() {
	for _, f := range blockFormats {
		if f.codebook != nil {
			f.offset = 0 // products of signed bytes need none
		}
		n.unpack(f)
		n.oneRow(f, false)
		n.oneRow(f, true)
	}
	n.unpackedNumbers()
	for rows := 2; rows <= 6; rows++ {
		n.integerTile(rows)
	}
	n.integers()
}

// Registers of the walk over a unit's records, and of vectors. Where there are four
// of something, each holds four of the unit's 16 outputs.
const (
	scaleAt  = 2 // R2
	minusAt  = 3
	recordAt = 4
	records  = 5
	left     = 6 // blocks of a record

	planeA = 12 // four words of the first plane
	planeB = 16 // of the second
	lanes  = 20 // four vectors of what is stored, as integers
	masks  = 26 // two
	codes  = 28 // the codebook
)

func (n *neon) load(names ...string) {
	for i, name := range names {
		n.op("MOVD %s+%d(FP), R%d", name, 8*i, i)
	}
}

// fill fills a vector register with a word.
func (n *neon) fill(v int, bits uint32) {
	n.op("MOVW $0x%08x, R9", bits)
	n.op("VDUP R9, V%d.S4", v)
}

// broadcast fills a vector register with a word of memory.
func (n *neon) broadcast(v, register, offset int) {
	n.address(register, offset)
	n.op("VLD1R (R9), [V%d.S4]", v)
}

// fetchFour loads the words of all 16 outputs; storeFour stores them.
func (n *neon) fetchFour(v, register, word int) {
	n.address(register, 64*word)
	n.op("VLD1 (R9), %s", four(v))
}

func (n *neon) storeFour(v, register, word int) {
	n.address(register, 64*word)
	n.op("VST1 %s, (R9)", four(v))
}

// shift moves bits of lanes ("S4", "H8", "B16") up, or down where by is negative.
func (n *neon) shift(v int, shape string, by, to int) {
	switch {
	case by > 0:
		n.op("VSHL $%d, V%d.%s, V%d.%s", by, v, shape, to, shape)
	case by < 0:
		n.op("VUSHR $%d, V%d.%s, V%d.%s", -by, v, shape, to, shape)
	case v != to:
		n.move(v, to)
	}
}

func (n *neon) and(x, y, to int) { n.op("VAND V%d.B16, V%d.B16, V%d.B16", x, y, to) }
func (n *neon) or(x, y, to int)  { n.op("VORR V%d.B16, V%d.B16, V%d.B16", x, y, to) }

// lane repeats bits in each lane of a number of bytes.
func lane(bits uint32, bytes int) uint32 {
	if bytes == 1 {
		return bits * 0x01010101
	}
	return bits * 0x00010001
}

// prepare loads the constants of the inner loop, for lanes of so many bytes.
func (n *neon) prepare(f blockFormat, bytes int) {
	if f.codebook != nil {
		n.fill(masks, 0x0f0f0f0f)
		n.op("MOVD $codebook%s<>(SB), R9", f.name)
		n.op("VLD1 (R9), [V%d.B16]", codes)
		return
	}
	low := 0
	for i, width := range f.planes {
		n.fill(masks+i, lane(uint32(1<<width-1)<<low, bytes))
		low += width
	}
	if f.planes[0] == 8 && bytes == 1 {
		n.fill(masks, 0x80808080)
	}
}

// codebook keeps a format's table beside the code.
func (n *neon) codebook(f blockFormat) {
	if f.codebook == nil {
		return
	}
	for i, v := range f.codebook {
		fmt.Fprintf(&n.data, "\nDATA codebook%s<>+%d(SB)/1, $0x%02x", f.name, i, uint8(v))
	}
	fmt.Fprintf(&n.data, "\nGLOBL codebook%s<>(SB), RODATA|NOPTR, $16\n", f.name)
}

// each writes the scales of each record, then calls block for each 32 inputs of it,
// whose words recordAt leads to by then, and after for the record.
func (n *neon) each(f blockFormat, block, after func()) {
	n.label("record")
	n.groups(f)
	n.op("ADD $%d, R%d, R%d", f.halves*32+f.head*64, recordAt, recordAt)
	if blocks := f.inputs / 32; blocks > 1 {
		n.op("MOVD $%d, R%d", blocks, left)
		n.label("block")
	}
	block()
	n.op("ADD $%d, R%d, R%d", f.perBlock()*64, recordAt, recordAt)
	n.op("ADD $%d, R%d, R%d", 32/f.group*64, scaleAt, scaleAt)
	n.op("ADD $%d, R%d, R%d", 32/f.group*64, minusAt, minusAt)
	if f.inputs > 32 {
		n.op("SUBS $1, R%d, R%d", left, left)
		n.op("BNE block")
	}
	after()
	n.op("SUBS $1, R%d, R%d", records, records)
	n.op("BNE record")
}

// halvesToNumbers turns half h of a record, of all outputs, into numbers.
func (n *neon) halvesToNumbers(v, h int) {
	n.address(recordAt, h*32)
	n.op("VLD1 (R9), [V%d.H8, V%d.H8]", v+2, v+3)
	n.word("FCVTLH", v, v+2)
	n.word("FCVTLH2", v+1, v+2)
	n.word("FCVTLH", v+2, v+3)
	n.word("FCVTLH2", v+3, v+3)
}

// groups writes scale and minus of a record's groups, with the vectors from 4 on.
func (n *neon) groups(f blockFormat) {
	const d, dmin, v, more, mask = 4, 8, 12, 16, 20
	count := f.inputs / f.group
	if f.scales != exponents && f.scales != halfEach {
		n.halvesToNumbers(d, 0)
	}
	if f.minus() {
		n.halvesToNumbers(dmin, 1)
	}
	// head reads a word of the head, of all outputs.
	head := func(v, word int) {
		n.address(recordAt, f.halves*32+64*word)
		n.op("VLD1 (R9), %s", four(v))
	}
	// field reads bits of a word of all outputs; all of those above where bits is 0.
	field := func(v, word, at, bits int) {
		head(v, word)
		for i := range 4 {
			n.shift(v+i, "S4", -at, v+i)
			if bits > 0 {
				n.and(mask, v+i, v+i)
			}
		}
	}
	sixBitField := func(i int) {
		if i < 15 {
			field(v, i/5, i%5*6, 6)
			return
		}
		field(v, 0, 30, 0)
		for w := 1; w < 3; w++ {
			field(more, w, 30, 0)
			for i := range 4 {
				n.shift(more+i, "S4", 2*w, more+i)
				n.or(more+i, v+i, v+i)
			}
		}
	}
	times := func(by, to, g int) {
		for i := range 4 {
			n.word("SCVTF", v+i, v+i)
			n.word("FMUL", v+i, v+i, by+i)
		}
		n.storeFour(v, to, g)
	}
	switch f.scales {
	case halfEach:
		for g := range count {
			n.halvesToNumbers(d, g)
			n.storeFour(d, scaleAt, g)
		}
	case twoHalves:
		n.storeFour(d, scaleAt, 0)
		for i := range 4 {
			n.word("FNEG", dmin+i, dmin+i)
		}
		n.storeFour(dmin, minusAt, 0)
	case sixBits:
		n.fill(mask, 63)
		for g := range count {
			sixBitField(g)
			times(d, scaleAt, g)
			sixBitField(8 + g)
			times(dmin, minusAt, g)
		}
	case sixBitsSigned:
		n.fill(mask, 63)
		n.fill(mask+1, 32)
		for g := range count {
			sixBitField(g)
			for i := range 4 {
				n.op("VSUB V%d.S4, V%d.S4, V%d.S4", mask+1, v+i, v+i)
			}
			times(d, scaleAt, g)
		}
	case signedBytes:
		for g := range count {
			head(v, g/4)
			for i := range 4 {
				n.shift(v+i, "S4", 24-g%4*8, v+i)
				n.word("SSHR24", v+i, v+i)
			}
			times(d, scaleAt, g)
		}
	case pairsOfNibbles:
		n.fill(mask, 15)
		for g := range count {
			field(v, g/4, g%4*8, 4)
			times(d, scaleAt, g)
			field(v, g/4, g%4*8+4, 4)
			times(dmin, minusAt, g)
		}
	case exponents:
		n.fill(mask, 255)
		n.fill(mask+1, 1)
		n.address(recordAt, 0)
		n.op("VLD1 (R9), [V%d.H8, V%d.H8]", d, d+1)
		for i := range 4 {
			n.word([]string{"UXTL", "UXTL2"}[i%2], dmin+i, d+i/2)
		}
		for g := range count {
			for i := range 4 {
				n.shift(dmin+i, "S4", -8*g, v+i)
				n.and(mask, v+i, v+i)
				n.op("VADD V%d.S4, V%d.S4, V%d.S4", mask+1, v+i, more+i) // of what is subnormal
				n.shift(more+i, "S4", 21, more+i)
				n.op("VSUB V%d.S4, V%d.S4, V%d.S4", mask+1, v+i, v+i)
				n.shift(v+i, "S4", 23, v+i)
				n.word("SMAX", v+i, v+i, more+i)
			}
			n.storeFour(v, scaleAt, g)
		}
	}
}

// planes loads the words of a step of four inputs.
func (n *neon) planes(f blockFormat, step int) {
	first := 0
	for i, width := range f.planes {
		n.fetchFour(planeA+4*i, recordAt, first+step%width)
		first += width
	}
}

// bytes makes of what planes has loaded the integers of four inputs, as bytes.
func (n *neon) bytes(f blockFormat, step int) {
	for o := range 4 {
		to, low := lanes+o, 0
		if f.codebook != nil {
			n.shift(planeA+o, "B16", -(step / 4 * 4), to)
			n.and(masks, to, to)
			n.op("VTBL V%d.B16, [V%d.B16], V%d.B16", to, codes, to)
			continue
		}
		if f.planes[0] == 8 { // the bit that stands for the offset
			n.op("VEOR V%d.B16, V%d.B16, V%d.B16", masks, planeA+o, to)
			continue
		}
		for i, width := range f.planes {
			v := to
			if i > 0 {
				v = planeB + o
			}
			n.shift(planeA+4*i+o, "B16", low-step/width*width, v)
			n.and(masks+i, v, v)
			if i > 0 {
				n.or(v, to, to)
			}
			low += width
		}
	}
}

// words makes of what planes has loaded the integers of the even or the odd two of
// four inputs, as 16-bit integers.
func (n *neon) words(f blockFormat, step, odd int) {
	for o := range 4 {
		to, low := lanes+o, 0
		if f.codebook != nil {
			n.shift(planeA+o, "B16", -(step / 4 * 4), to)
			n.and(masks, to, to)
			n.op("VTBL V%d.B16, [V%d.B16], V%d.B16", to, codes, to)
			if odd == 0 {
				n.shift(to, "H8", 8, to)
			}
			n.word("SSHR8H", to, to)
			continue
		}
		for i, width := range f.planes {
			v := to
			if i > 0 {
				v = 24 + i - 1
			}
			n.shift(planeA+4*i+o, "H8", low-8*odd-step/width*width, v)
			n.and(masks+i, v, v)
			if i > 0 {
				n.or(v, to, to)
			}
			low += width
		}
	}
}

// unpack generates the function that unpacks one format.
func (n *neon) unpack(f blockFormat) {
	n.codebook(f)
	n.begin("neonUnpack"+f.name, "(q *uint32, scale, minus *float32, unit *uint32, records int)", unpackDoc, 40)
	for i, name := range []string{"q", "scale", "minus", "unit", "records"} {
		n.op("MOVD %s+%d(FP), R%d", name, 8*i, i+1)
	}
	n.prepare(f, 2)
	if f.offset != 0 {
		n.fill(codes, lane(uint32(f.offset), 2))
	}
	n.each(f, func() {
		for step := range 8 {
			n.planes(f, step)
			for odd := range 2 {
				n.words(f, step, odd)
				if f.offset != 0 {
					for o := range 4 {
						n.op("VSUB V%d.H8, V%d.H8, V%d.H8", codes, lanes+o, lanes+o)
					}
				}
				n.op("VST1.P %s, 64(R1)", four(lanes))
			}
		}
	}, func() {})
	n.op("RET")
}

// oneRow generates the product of one row with a unit, of which nothing is unpacked
// into memory but the scales. Sums are V0 to V3, those of integers V4 to V11.
func (n *neon) oneRow(f blockFormat, dot bool) {
	name, size := "neonRow", 2
	if dot {
		name, size = "neonDotRow", 1
	}
	n.begin(name+f.name, "(dst *float32, a *uint32, scale, minus *float32, unit *uint32, records int)", oneRowDoc, 48)
	n.load("dst", "a", "scale", "minus", "unit", "records")
	n.prepare(f, size)
	if dot {
		n.op("MOVD $fourInOrder<>(SB), R9")
		n.op("VLD1 (R9), [V31.B16]")
	}
	n.fetchFour(0, 0, 0)
	offset := f.offset
	if dot && f.planes[0] == 8 {
		offset = 0
	}
	n.each(f, func() {
		for g := range 32 / f.group {
			first, last := g*f.group/4, (g+1)*f.group/4
			if dot {
				n.dotGroup(f, first, last)
			} else {
				n.longGroup(f, first, last)
			}
			n.scaleGroup(f, g, offset)
		}
		n.op("ADD $96, R1")
	}, func() {
		n.op("SUB $%d, R%d, R%d", f.inputs/f.group*64, scaleAt, scaleAt)
		n.op("SUB $%d, R%d, R%d", f.inputs/f.group*64, minusAt, minusAt)
	})
	n.storeFour(0, 0, 0)
	n.op("RET")
}

// longGroup sums up steps of four inputs, each as two pairs of 16-bit integers, and
// leaves the sums in V12 to V15.
func (n *neon) longGroup(f blockFormat, first, last int) {
	for step := first; step < last; step++ {
		n.planes(f, step)
		for odd := range 2 {
			n.words(f, step, odd)
			n.broadcast(30, 1, step/4*48+step%4*8+4*odd)
			name := "SMLAL"
			if step == first && odd == 0 {
				name = "SMULL"
			}
			for o := range 4 {
				n.word(name, 4+2*o, lanes+o, 30)
				n.word(name+"2", 5+2*o, lanes+o, 30)
			}
		}
	}
	for o := range 4 {
		n.op("VADDP V%d.S4, V%d.S4, V%d.S4", 5+2*o, 4+2*o, planeA+o)
	}
}

// dotGroup does so with products of bytes: V29 and V30 hold the upper and the lower
// bytes of 16 activations.
func (n *neon) dotGroup(f blockFormat, first, last int) {
	for v := 4; v < 12; v++ {
		n.zero(v)
	}
	for step := first; step < last; step++ {
		if step%4 == 0 {
			n.address(1, step/4*48)
			n.op("VLD1 (R9), [V24.H8, V25.H8]")
			n.word("RSHRN8", 29, 24)
			n.word("RSHRN82", 29, 25)
			n.word("XTN", 30, 24)
			n.word("XTN2", 30, 25)
			for _, v := range []int{29, 30} {
				n.op("VTBL V31.B16, [V%d.B16], V%d.B16", v, v)
			}
		}
		n.planes(f, step)
		n.bytes(f, step)
		for o := range 4 {
			n.dot(4+2*o, lanes+o, 29, step%4)
			n.dot(5+2*o, lanes+o, 30, step%4)
		}
	}
	for o := range 4 {
		n.shift(4+2*o, "S4", 8, 4+2*o)
		n.op("VADD V%d.S4, V%d.S4, V%d.S4", 5+2*o, 4+2*o, planeA+o)
	}
}

// dot adds to each of the words of d the dot product of the four bytes of x with those
// of one word of y.
func (n *neon) dot(d, x, y, word int) {
	code := 0x4f80e000 | uint32(word&1)<<21 | uint32(word>>1)<<11 | uint32(y)<<16 | uint32(x)<<5 | uint32(d)
	n.op("WORD $0x%08x // SDOT V%d.S4, V%d.B16, V%d.4B[%d]", code, d, x, y, word)
}

// scaleGroup adds the sums of a group, times both scales, to those of the row.
func (n *neon) scaleGroup(f blockFormat, g, offset int) {
	last := ((g+1)*f.group/16-1)*48 + 32 // behind the group's integers
	if offset != 0 {
		n.broadcast(24, 1, last+12)
		if f.group == 32 {
			n.broadcast(25, 1, 44)
			n.op("VADD V25.S4, V24.S4, V24.S4")
		}
		n.shift(24, "S4", bits.TrailingZeros(uint(offset)), 24)
	}
	n.broadcast(25, 1, last)
	n.fetchFour(planeB, scaleAt, g)
	for o := range 4 {
		if offset != 0 {
			n.op("VSUB V24.S4, V%d.S4, V%d.S4", planeA+o, planeA+o)
		}
		n.word("SCVTF", planeA+o, planeA+o)
		n.word("FMUL", planeB+o, planeB+o, 25)
		n.word("FMUL", planeA+o, planeA+o, planeB+o)
		n.word("FADD", o, o, planeA+o)
	}
	if f.minus() {
		n.broadcast(25, 1, last+4+f.group/32*4)
		n.fetchFour(planeB, minusAt, g)
		for o := range 4 {
			n.word("FMUL", planeB+o, planeB+o, 25)
			n.word("FSUB", o, o, planeB+o)
		}
	}
}

// unpackedNumbers generates what expands for float32 activations.
func (n *neon) unpackedNumbers() {
	n.begin("neonUnpackedNumbers", "(dst *float32, q *uint32, scale, minus *float32, groups, halves int)", floatsDoc, 48)
	n.load("dst", "q", "scale", "minus", "groups", "halves")
	n.label("group")
	n.op("VLD1.P 64(R2), %s", four(0))
	n.op("VLD1.P 64(R3), %s", four(4))
	n.op("LSL $2, R5, R6") // steps of four inputs
	n.label("step")
	n.op("VLD1.P 64(R1), %s", four(8))
	n.op("VLD1.P 64(R1), %s", four(12))
	for upper := range 2 {
		for odd := range 2 {
			for o := range 4 {
				from := 8 + 4*odd + o
				if upper == 0 {
					n.shift(from, "S4", 16, 16+o)
					from = 16 + o
				}
				n.word("SSHR16", 16+o, from)
				n.word("SCVTF", 16+o, 16+o)
				n.word("FMUL", 16+o, 16+o, o)
				n.word("FSUB", 16+o, 16+o, 4+o)
			}
			n.op("VST1.P %s, 64(R0)", four(16))
		}
	}
	n.op("SUBS $1, R6")
	n.op("BNE step")
	n.op("SUBS $1, R4")
	n.op("BNE group")
	n.op("RET")
}

// integerTile generates the product of some rows with a unit: all of it at once up to
// three rows, else one half after the other, for which the registers suffice. Sums are
// two vectors for four outputs, of the even and the odd inputs side by side.
func (n *neon) integerTile(rows int) {
	n.begin(fmt.Sprint("neonInteger", rows), "(a *uint32, aStride int, q *uint32, scale, minus *float32, groups, halves int, dst *float32, dstStride int)",
		fmt.Sprintf(integerTileDoc, rows, 16), 72)
	vectors := 4
	if rows > 3 {
		vectors = 2
	}
	const x = 24 // a broadcast pair of activations, or what scales
	const q = 26
	list := func(first int) string {
		if vectors == 4 {
			return four(first)
		}
		return fmt.Sprintf("[V%d.S4, V%d.S4]", first, first+1)
	}
	for pass := range 4 / vectors {
		label := func(name string) string { return fmt.Sprint(name, pass) }
		n.load("a", "aStride", "q", "scale", "minus", "groups", "halves", "dst", "dstStride")
		at := pass * vectors * 16 // bytes of the outputs before
		if at > 0 {
			for _, r := range []int{2, 3, 7} {
				n.op("ADD $%d, R%d", at, r)
			}
			n.op("CBZ R4, %s", label("rows"))
			n.op("ADD $%d, R4", at)
			n.label(label("rows"))
		}
		for r := range rows { // R10… are rows of a, R20… of dst
			if r == 0 {
				n.op("MOVD R0, R10")
				n.op("MOVD R7, R20")
				continue
			}
			n.op("ADD R1, R%d, R%d", 9+r, 10+r)
			n.op("ADD R8, R%d, R%d", 19+r, 20+r)
		}
		n.label(label("group"))
		sum := func(r, v int) int { return (r*vectors + v) * 2 }
		for i := range rows * vectors * 2 {
			n.zero(i)
		}
		n.op("MOVD R6, R19")
		n.label(label("half"))
		for range 8 {
			n.op("VLD1 (R2), %s", list(q))
			n.op("ADD $64, R2")
			for r := range rows {
				n.op("VLD1R.P 4(R%d), [V%d.S4]", 10+r, x)
				for v := range vectors {
					n.word("SMLAL", sum(r, v), q+v, x)
					n.word("SMLAL2", sum(r, v)+1, q+v, x)
				}
			}
		}
		for r := range rows {
			n.op("ADD $16, R%d", 10+r)
		}
		n.op("SUBS $1, R19")
		n.op("BNE %s", label("half"))
		for r := range rows {
			for v := range vectors {
				n.op("VADDP V%d.S4, V%d.S4, V%d.S4", sum(r, v)+1, sum(r, v), sum(r, v))
				n.word("SCVTF", sum(r, v), sum(r, v))
			}
		}
		// The odd registers are free from here on; those of the first row hold dst.
		n.op("VLD1 (R3), %s", list(q))
		n.op("ADD $64, R3")
		for r := range rows {
			n.op("SUB $16, R%d, R9", 10+r)
			n.op("VLD1R (R9), [V%d.S4]", x)
			for v := range vectors {
				n.word("FMUL", 1, q+v, x)
				n.word("FMUL", sum(r, v), sum(r, v), 1)
				n.op("ADD $%d, R%d, R9", 16*v, 20+r)
				n.op("VLD1 (R9), [V1.S4]")
				n.word("FADD", sum(r, v), sum(r, v), 1)
			}
		}
		n.op("CBZ R4, %s", label("store"))
		n.op("VLD1 (R4), %s", list(q))
		n.op("ADD $64, R4")
		for r := range rows {
			n.op("ADD R6<<2, R%d, R9", 10+r) // the sum of 16 or of 32 activations lies behind the scale
			n.op("SUB $16, R9")
			n.op("VLD1R (R9), [V%d.S4]", x)
			for v := range vectors {
				n.word("FMUL", 1, q+v, x)
				n.word("FSUB", sum(r, v), sum(r, v), 1)
			}
		}
		n.label(label("store"))
		for r := range rows {
			for v := range vectors {
				n.op("ADD $%d, R%d, R9", 16*v, 20+r)
				n.op("VST1 [V%d.S4], (R9)", sum(r, v))
			}
		}
		n.op("SUBS $1, R5")
		n.op("BNE %s", label("group"))
	}
	n.op("RET")
}

// integers generates the preparation of activations.
func (n *neon) integers() {
	words := func(name string, words ...uint32) {
		for i, w := range words {
			fmt.Fprintf(&n.data, "\nDATA %s<>+%d(SB)/4, $0x%08x", name, 4*i, w)
		}
		fmt.Fprintf(&n.data, "\nGLOBL %s<>(SB), RODATA|NOPTR, $%d\n", name, 4*len(words))
	}
	// Each four 16-bit numbers in the order 0, 2, 1, 3, and bytes in that order in their own.
	words("fourApart", 0x05040100, 0x07060302, 0x0d0c0908, 0x0f0e0b0a)
	words("fourInOrder", 0x03010200, 0x07050604, 0x0b090a08, 0x0f0d0e0c)
	n.begin("neonIntegers", "(to *uint32, x *float32, blocks int)", integersDoc, 24)
	n.load("to", "x", "blocks")
	n.op("MOVD $fourApart<>(SB), R9")
	n.op("VLD1 (R9), [V31.B16]")
	n.label("block")
	n.op("VLD1.P 64(R1), %s", four(0))
	n.op("VLD1.P 64(R1), %s", four(4))
	n.word("FABS", 16, 0)
	for v := 1; v < 8; v++ {
		n.word("FABS", 17, v)
		n.word("SMAX", 16, 16, 17) // of bits: NaN is above infinity
	}
	n.word("SMAXV", 16, 16)
	n.op("VMOV V16.S[0], R3")
	n.op("MOVW $0x%08x, R4", math.Float32bits(127*256))
	n.op("FMOVS R4, F17")
	n.op("FDIVS F17, F16, F18") // the scale
	n.op("MOVW $0x%08x, R4", math.Float32bits(float32(math.Ldexp(1, -126))))
	n.op("FMOVS R4, F17")
	n.op("FMAXS F17, F18, F18")
	n.op("MOVW $0x%08x, R4", math.Float32bits(1))
	n.op("FMOVS R4, F17")
	n.op("FDIVS F18, F17, F19")
	n.op("VDUP V19.S[0], V19.S4")
	n.op("MOVW $0x7f800000, R4")
	n.op("CMPW R4, R3")
	n.op("BGE infinite")
	for v := range 8 {
		n.word("FMUL", v, v, 19)
		n.word("FCVTNS", v, v)
	}
	n.label("write")
	for half := range 2 {
		v := 4 * half
		n.word("SQXTN", 20, v)
		n.word("SQXTN2", 20, v+1)
		n.word("SQXTN", 21, v+2)
		n.word("SQXTN2", 21, v+3)
		for i := 20; i < 22; i++ {
			n.op("VTBL V31.B16, [V%d.B16], V%d.B16", i, i)
		}
		n.address(0, 48*half)
		n.op("VST1 [V20.B16, V21.B16], (R9)")
		for i := 1; i < 4; i++ {
			n.op("VADD V%d.S4, V%d.S4, V%d.S4", v+i, v, v)
		}
		n.op("VADDV V%d.S4, V%d", v, v)
		n.op("VMOV V%d.S[0], R%d", v, 10+half)
	}
	n.op("ADDW R10, R11, R12")
	n.op("SCVTFWS R12, F20")
	n.op("FMULS F18, F20, F20")
	for half := range 2 {
		n.op("SCVTFWS R%d, F21", 10+half)
		n.op("FMULS F18, F21, F21")
		n.op("FMOVS F18, %d(R0)", 48*half+32)
		n.op("FMOVS F21, %d(R0)", 48*half+36)
		n.op("FMOVS F20, %d(R0)", 48*half+40)
		n.op("MOVW R%d, %d(R0)", 10+half, 48*half+44)
	}
	n.op("ADD $96, R0")
	n.op("SUBS $1, R2")
	n.op("BNE block")
	n.op("RET")
	n.label("infinite")
	n.op("MOVW $0x7fffffff, R4")
	n.op("FMOVS R4, F18")
	for v := range 8 {
		n.zero(v)
	}
	n.op("B write")
}
