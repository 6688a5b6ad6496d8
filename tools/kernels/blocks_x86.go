package main

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// blocks generates the products with blocks of few bits: of AVX-512 those for
// processors that have VNNI, the others do with AVX2.
func (s *amd64) blocks() {
	for _, f := range blockFormats {
		s.unpack(f)
		s.oneRow(f)
	}
	s.unpackedNumbers()
	for rows := 2; rows <= 6; rows++ {
		s.integerTile(rows)
	}
	if !s.wide() {
		s.integers()
	}
}

// parts returns how many vectors 16 words take.
func (s *amd64) parts() int { return 64 / s.bytes }

// part addresses one of them, at a word of every one of 16 outputs.
func (s *amd64) part(base reg.Register, word, part int) operand.Mem {
	return operand.Mem{Base: base, Disp: word*64 + part*s.bytes}
}

// everyWord is a constant with those bits in all lanes, in a register.
func (s *amd64) everyWord(bits uint32) reg.VecVirtual {
	v := s.vector()
	s.VMOVUPS(s.constant(bits), v)
	return v
}

func (s *amd64) andWords(x, y, to operand.Op) {
	if s.wide() {
		s.VPANDD(x, y, to)
	} else {
		s.VPAND(x, y, to)
	}
}

func (s *amd64) orWords(x, y, to operand.Op) {
	if s.wide() {
		s.VPORD(x, y, to)
	} else {
		s.VPOR(x, y, to)
	}
}

// words returns a vector of words.
func (s *amd64) words(m operand.Mem) reg.VecVirtual {
	v := s.vector()
	s.VMOVUPS(m, v)
	return v
}

// unpack generates the function that unpacks one format.
func (s *amd64) unpack(f blockFormat) {
	s.function("Unpack"+f.name, "func(q *uint32, scale, minus *float32, unit *uint32, records int)", unpackDoc)
	q := s.pointer("q")
	u := s.unpacking(f)
	u.each(func(int) {
		for part := range s.parts() {
			u.steps([]int{part}, func(step int, words []reg.VecVirtual) {
				for odd := range 2 {
					v := u.pair(words[0], step, odd)
					if f.offset != 0 {
						u.VPSUBW(u.constant(0x10001*uint32(f.offset)), v, v)
					}
					u.VMOVUPS(v, u.part(q, 2*step+odd, part))
				}
			})
		}
		s.ADDQ(operand.I32(16*64), q)
		u.advance(32 / f.group)
	}, func() {})
	s.end()
}

// oneRow generates the product of one row with a unit, of which nothing is unpacked
// into memory but the scales of large records. What is stored is never below 0: its
// offset times the sum of the activations is taken off the sum of products.
func (s *amd64) oneRow(f blockFormat) {
	s.function("Row"+f.name, "func(dst *float32, a *uint32, scale, minus *float32, unit *uint32, records int)", oneRowDoc)
	dst, a := s.pointer("dst"), s.pointer("a")
	u := s.unpacking(f)
	var parts []int
	var sums []reg.VecVirtual
	for part := range s.parts() {
		parts, sums = append(parts, part), append(sums, s.words(s.part(dst, 0, part)))
	}
	u.inPlace = f.scales == halfEach || f.scales == twoHalves
	u.ahead = 4096
	u.each(func(block int) {
		u.ask(f.perBlock() * 64)
		u.multiply(sums, parts, a, block)
		s.ADDQ(operand.I32(96), a)
		u.advance(32 / f.group)
	}, func() { u.advance(-f.inputs / f.group) })
	for part, sum := range sums {
		s.VMOVUPS(sum, s.part(dst, 0, part))
	}
	s.end()
}

// multiply adds the product of a block of 32 inputs. An activation that is loaded
// meets all parts.
func (u unpacking) multiply(sums []reg.VecVirtual, parts []int, a reg.Register, block int) {
	totals := make([][2]reg.VecVirtual, 32/u.f.group*len(parts)) // by group and part
	chains := 1
	if u.wide() && u.f.group == 32 {
		chains = 2 // a dot product's sum comes later than an addition's
	}
	u.steps(parts, func(step int, words []reg.VecVirtual) {
		for odd := range 2 {
			at := operand.Mem{Base: a, Disp: step/4*48 + step%4*8 + 4*odd}
			var x reg.VecVirtual
			if !u.wide() {
				x = u.vector()
				u.VBROADCASTSS(at, x)
			}
			for i := range parts {
				total := &totals[step*4/u.f.group*len(parts)+i][odd%chains]
				first := *total == nil
				v := u.pair(words[i], step, odd)
				switch {
				case u.wide():
					if first {
						*total = u.zero()
					}
					u.VPDPWSSD_BCST(at, v, *total)
				case first:
					u.VPMADDWD(x, v, v)
					*total = v
				default:
					u.VPMADDWD(x, v, v)
					u.VPADDD(v, *total, *total)
				}
			}
		}
	})
	for g := range 32 / u.f.group {
		u.addGroup(sums, totals[g*len(parts):], parts, a, block, g)
	}
}

// addGroup adds the products of a group, scaled.
func (u unpacking) addGroup(sums []reg.VecVirtual, totals [][2]reg.VecVirtual, parts []int, a reg.Register, block, g int) {
	last := ((g+1)*u.f.group/16-1)*48 + 32 // behind the group's integers
	load := func(at int) reg.VecVirtual {
		v := u.vector()
		u.VBROADCASTSS(operand.Mem{Base: a, Disp: at}, v)
		return v
	}
	var offset, less reg.VecVirtual
	if u.f.offset != 0 {
		offset = load(last + 12)
		if u.f.group == 32 {
			u.VPADDD(load(44), offset, offset)
		}
		u.VPSLLD(operand.U8(bits.TrailingZeros(uint(u.f.offset))), offset, offset)
	}
	scale := load(last)
	if u.f.minus() {
		less = load(last + 4 + u.f.group/32*4)
	}
	for i, part := range parts {
		total, sum := totals[i][0], sums[i]
		if totals[i][1] != nil {
			u.VPADDD(totals[i][1], total, total)
		}
		if offset != nil {
			u.VPSUBD(offset, total, total)
		}
		u.VCVTDQ2PS(total, total)
		both := u.vector()
		u.VMULPS(u.scaleOf(block, g, part), scale, both)
		u.VMULPS(both, total, total)
		u.VADDPS(total, sum, sum)
		if less != nil {
			v := u.vector()
			u.VMULPS(u.minusOf(block, g, part), less, v)
			if u.inPlace { // the minimum, not what is less
				u.VADDPS(v, sum, sum)
			} else {
				u.VSUBPS(v, sum, sum)
			}
		}
	}
}

// unpacking is a walk over the records of a unit.
type unpacking struct {
	*amd64
	f                    blockFormat
	scale, minus, record reg.GPVirtual
	inPlace              bool // scales are halves of the record, and stay there
	ahead                int  // how many bytes before they are used words are asked for; 0: not at all
	constant             func(bits uint32) reg.VecVirtual
	codebook             reg.VecVirtual
}

func (s *amd64) unpacking(f blockFormat) unpacking {
	constants := map[uint32]reg.VecVirtual{}
	u := unpacking{amd64: s, f: f, scale: s.pointer("scale"), minus: s.pointer("minus"), record: s.pointer("unit")}
	u.constant = func(bits uint32) reg.VecVirtual {
		if _, ok := constants[bits]; !ok {
			constants[bits] = s.everyWord(bits)
		}
		return constants[bits]
	}
	u.prepare()
	return u
}

// each writes the scales of each record, then calls block for each 32 inputs of it,
// whose words u.record leads to by then, and after for the record. Two blocks are
// unrolled, and block learns which it is.
func (u unpacking) each(block func(i int), after func()) {
	records, count := u.Load(u.Param("records"), u.GP64()).(reg.GPVirtual), u.GP64()
	u.Label("record")
	u.ask(u.headBytes())
	if !u.inPlace {
		for part := range u.parts() {
			u.groups(part)
		}
	}
	u.ADDQ(operand.I32(u.headBytes()), u.record)
	if blocks := u.f.inputs / 32; blocks <= 2 {
		for i := range blocks {
			block(i)
			u.ADDQ(operand.I32(u.f.perBlock()*64), u.record)
		}
	} else {
		u.MOVQ(operand.I32(blocks), count)
		u.Label("block")
		block(0)
		u.ADDQ(operand.I32(u.f.perBlock()*64), u.record)
		u.DECQ(count)
		u.JNZ(operand.LabelRef("block"))
	}
	after()
	u.DECQ(records)
	u.JNZ(operand.LabelRef("record"))
}

// ask asks for memory before it is used: a hardware stream ends with its page of 4 kB,
// and there is too much to do for each of its lines for the next ones to be loaded
// while it is multiplied.
func (u unpacking) ask(bytes int) {
	if u.ahead > 0 {
		for at := 0; at < bytes; at += 64 {
			u.PREFETCHT0(operand.Mem{Base: u.record, Disp: u.ahead + at})
		}
	}
}

// headBytes is what lies before a record's blocks.
func (u unpacking) headBytes() int { return u.f.halves*32 + u.f.head*64 }

// advance goes on by some groups' scales.
func (u unpacking) advance(groups int) {
	if u.inPlace {
		return
	}
	u.ADDQ(operand.I32(groups*64), u.scale)
	if u.f.minus() {
		u.ADDQ(operand.I32(groups*64), u.minus)
	}
}

// prepare loads the constants of the inner loop before it begins.
func (u *unpacking) prepare() {
	if u.f.codebook != nil {
		u.codebook = u.vector()
		u.VMOVUPS(u.global("codebook"+u.f.name, func(word int) (four uint32) {
			for i := range 4 {
				four |= uint32(uint8(int(u.f.codebook[word%4*4+i])+u.f.offset)) << (8 * i)
			}
			return four
		}), u.codebook)
	}
	if u.direct() {
		u.constant(0x10001 * (1<<u.f.planes[0] - 1))
		return
	}
	low := 0
	for _, bits := range u.f.planes {
		u.constant(0x1010101 * (1<<bits - 1) << low)
		low += bits
	}
	u.constant(0x00ff00ff)
}

// half returns half h of a record as numbers, of which so many bytes have passed.
func (u unpacking) half(h, part, passed int) reg.VecVirtual {
	v := u.vector()
	u.VCVTPH2PS(operand.Mem{Base: u.record, Disp: h*32 + part*u.bytes/2 - passed}, v)
	return v
}

// head returns a word of the record's head.
func (u unpacking) head(word, part int) reg.VecVirtual {
	m := u.part(u.record, word, part)
	m.Disp += u.f.halves * 32
	return u.words(m)
}

// field returns bits of such a word as 32-bit integers; mask 0 leaves those above.
func (u unpacking) field(word, part, shift int, mask uint32) reg.VecVirtual {
	v := u.head(word, part)
	if shift > 0 {
		u.VPSRLD(operand.U8(shift), v, v)
	}
	if mask != 0 {
		u.andWords(u.constant(mask), v, v)
	}
	return v
}

// sixBits returns field i of those that three words hold, five in each and the last
// in what is left.
func (u unpacking) sixBits(i, part int) reg.VecVirtual {
	if i < 15 {
		return u.field(i/5, part, i%5*6, 63)
	}
	v := u.field(0, part, 30, 0)
	for w := 1; w < 3; w++ {
		more := u.field(w, part, 30, 0)
		u.VPSLLD(operand.U8(2*w), more, more)
		u.orWords(more, v, v)
	}
	return v
}

// scaleOf returns the scale of a group of a block.
func (u unpacking) scaleOf(block, g, part int) operand.Op {
	if u.inPlace {
		return u.half(block, part, u.headBytes()+block*u.f.perBlock()*64)
	}
	return u.part(u.scale, g, part)
}

// minusOf returns its minimum.
func (u unpacking) minusOf(block, g, part int) operand.Op {
	if u.inPlace {
		return u.half(block+1, part, u.headBytes()+block*u.f.perBlock()*64)
	}
	return u.part(u.minus, g, part)
}

// times turns integers into numbers, times d, and stores them.
func (u unpacking) times(d, v reg.VecVirtual, to reg.Register, g, part int) {
	u.VCVTDQ2PS(v, v)
	u.VMULPS(d, v, v)
	u.VMOVUPS(v, u.part(to, g, part))
}

// groups writes scale and minus.
func (u unpacking) groups(part int) {
	n := u.f.inputs / u.f.group
	var d, dmin reg.VecVirtual
	if u.f.scales != exponents && u.f.scales != halfEach {
		d = u.half(0, part, 0)
	}
	if u.f.minus() {
		dmin = u.half(1, part, 0)
	}
	switch u.f.scales {
	case halfEach:
		for g := range n {
			u.VMOVUPS(u.half(g, part, 0), u.part(u.scale, g, part))
		}
	case twoHalves:
		u.VMOVUPS(d, u.part(u.scale, 0, part))
		u.VXORPS(u.amd64.constant(1<<31), dmin, dmin)
		u.VMOVUPS(dmin, u.part(u.minus, 0, part))
	case sixBits:
		for g := range n {
			u.times(d, u.sixBits(g, part), u.scale, g, part)
			u.times(dmin, u.sixBits(8+g, part), u.minus, g, part)
		}
	case sixBitsSigned:
		for g := range n {
			v := u.sixBits(g, part)
			u.VPSUBD(u.constant(32), v, v)
			u.times(d, v, u.scale, g, part)
		}
	case signedBytes:
		for g := range n {
			v := u.head(g/4, part)
			if g%4 < 3 {
				u.VPSLLD(operand.U8(24-g%4*8), v, v)
			}
			u.VPSRAD(operand.U8(24), v, v)
			u.times(d, v, u.scale, g, part)
		}
	case pairsOfNibbles:
		for g := range n {
			u.times(d, u.field(g/4, part, g%4*8, 15), u.scale, g, part)
			u.times(dmin, u.field(g/4, part, g%4*8+4, 15), u.minus, g, part)
		}
	case exponents:
		for g := range n {
			e := u.vector()
			u.VPMOVZXWD(operand.Mem{Base: u.record, Disp: part * u.bytes / 2}, e)
			if g == 0 {
				u.andWords(u.constant(255), e, e)
			} else {
				u.VPSRLD(operand.U8(8), e, e)
			}
			usual, subnormal := u.vector(), u.vector()
			u.VPSUBD(u.constant(1), e, usual)
			u.VPSLLD(operand.U8(23), usual, usual)
			u.VPADDD(u.constant(1), e, subnormal)
			u.VPSLLD(operand.U8(21), subnormal, subnormal)
			u.VPMAXSD(subnormal, usual, usual)
			u.VMOVUPS(usual, u.part(u.scale, g, part))
		}
	}
}

// steps calls f for each four inputs of a block with what a pair of them is taken
// from, for each of the parts: word for word, so that each word is loaded once.
func (u unpacking) steps(parts []int, f func(step int, from []reg.VecVirtual)) {
	bits := u.f.planes[0]
	words := make([]reg.VecVirtual, len(parts))
	for word := range bits {
		for i, part := range parts {
			words[i] = u.words(u.part(u.record, word, part))
		}
		for step := word; step < 8; step += bits {
			from := slices.Clone(words)
			if !u.direct() {
				for i, part := range parts {
					from[i] = u.four(words[i], step, part)
				}
			}
			f(step, from)
		}
	}
}

// direct says that pairs are taken from words as they are: there is one plane of
// numbers.
func (u unpacking) direct() bool { return len(u.f.planes) == 1 && u.f.codebook == nil }

// pair returns what is stored of the even or the odd inputs of four.
func (u unpacking) pair(from reg.VecVirtual, step, odd int) reg.VecVirtual {
	bits, shift := 8, 8*odd
	if u.direct() {
		bits = u.f.planes[0]
		shift += step / bits * bits
	}
	v := u.vector()
	switch {
	case shift == 0:
		u.andWords(u.constant(0x10001*(1<<bits-1)), from, v)
	case shift+bits == 16:
		u.VPSRLW(operand.U8(shift), from, v)
	default:
		u.VPSRLW(operand.U8(shift), from, v)
		u.andWords(u.constant(0x10001*(1<<bits-1)), v, v)
	}
	return v
}

// four returns what all planes, or the codebook, have of four inputs, as bytes, given
// the word of the first plane.
func (u unpacking) four(word reg.VecVirtual, step, part int) reg.VecVirtual {
	var q reg.VecVirtual
	first, low := 0, 0
	for i, bits := range u.f.planes {
		if i > 0 {
			word = u.words(u.part(u.record, first+step%bits, part))
		}
		v := u.vector()
		switch shift := step/bits*bits - low; {
		case shift > 0:
			u.VPSRLW(operand.U8(shift), word, v)
			word = v
		case shift < 0:
			u.VPSLLW(operand.U8(-shift), word, v)
			word = v
		}
		u.andWords(u.constant(0x1010101*(1<<bits-1)<<low), word, v)
		if i == 0 {
			q = v
		} else {
			u.orWords(v, q, q)
		}
		first += bits
		low += bits
	}
	if u.codebook != nil {
		u.VPSHUFB(q, u.codebook, q)
	}
	return q
}

// unpackedNumbers generates what expands for float32 activations.
func (s *amd64) unpackedNumbers() {
	s.function("UnpackedNumbers", "func(dst *float32, q *uint32, scale, minus *float32, groups, halves int)", floatsDoc)
	dst, q, scale, minus := s.pointer("dst"), s.pointer("q"), s.pointer("scale"), s.pointer("minus")
	groups := s.Load(s.Param("groups"), s.GP64()).(reg.GPVirtual)
	halves := s.Load(s.Param("halves"), s.GP64()).(reg.GPVirtual)
	count := s.GP64()
	s.Label("group")
	var by, less []reg.VecVirtual
	for part := range s.parts() {
		by, less = append(by, s.words(s.part(scale, 0, part))), append(less, s.words(s.part(minus, 0, part)))
	}
	s.MOVQ(halves, count)
	s.SHLQ(operand.U8(2), count) // steps of four inputs
	s.Label("step")
	for part := range s.parts() {
		for odd := range 2 {
			for upper := range 2 {
				v := s.words(s.part(q, odd, part))
				if upper == 0 {
					s.VPSLLD(operand.U8(16), v, v)
				}
				s.VPSRAD(operand.U8(16), v, v)
				s.VCVTDQ2PS(v, v)
				s.VMULPS(by[part], v, v)
				s.VSUBPS(less[part], v, v)
				s.VMOVUPS(v, s.part(dst, odd+2*upper, part))
			}
		}
	}
	s.ADDQ(operand.I32(128), q)
	s.ADDQ(operand.I32(256), dst)
	s.DECQ(count)
	s.JNZ(operand.LabelRef("step"))
	s.ADDQ(operand.I32(64), scale)
	s.ADDQ(operand.I32(64), minus)
	s.DECQ(groups)
	s.JNZ(operand.LabelRef("group"))
	s.end()
}

// integerTile generates the product of some rows with a unit, or with a panel of
// four where AVX-512 has the registers.
func (s *amd64) integerTile(rows int) {
	units := 1
	if s.wide() {
		units = 4
	}
	vectors := units * s.parts()
	s.function(fmt.Sprint("Integer", rows), "func(a *uint32, aStride int, q *uint32, scale, minus *float32, groups, halves int, dst *float32, dstStride int)",
		fmt.Sprintf(integerTileDoc, rows, units*16))
	a, a3, aStride := reg.RSI, reg.RDI, reg.RAX
	q, scale, minus, groups, halves := reg.RBX, reg.RCX, reg.RDX, reg.R8, reg.R9
	dst, dst3, dstStride, count, sums := reg.R10, reg.R11, reg.R12, reg.R13, reg.R15
	for _, argument := range []struct {
		name string
		to   reg.Register
	}{{"a", a}, {"aStride", aStride}, {"q", q}, {"scale", scale}, {"minus", minus}, {"groups", groups}, {"halves", halves}, {"dst", dst}, {"dstStride", dstStride}} {
		s.Load(s.Param(argument.name), argument.to)
	}
	if rows > 3 {
		s.LEAQ(operand.Mem{Base: aStride, Index: aStride, Scale: 2}, a3)
		s.ADDQ(a, a3)
		s.LEAQ(operand.Mem{Base: dstStride, Index: dstStride, Scale: 2}, dst3)
		s.ADDQ(dst, dst3)
	}
	row := func(p, p3, stride reg.Register, r, displacement int) operand.Mem {
		m := operand.Mem{Base: p, Disp: displacement}
		if r >= 3 {
			m.Base = p3
		}
		if r%3 > 0 {
			m.Index, m.Scale = stride, uint8(r%3)
		}
		return m
	}
	// unit addresses vector v of what each unit has so many bytes of.
	unit := func(base reg.Register, v, bytes, displacement int) operand.Mem {
		return operand.Mem{Base: base, Disp: v/s.parts()*bytes + v%s.parts()*s.bytes + displacement}
	}
	sum := func(r, v int) reg.VecPhysical { return s.register(r*vectors + v) }
	free := rows * vectors
	held := min(vectors, 4)
	weight := func(v int) reg.VecPhysical { return s.register(free + v%held) }
	broadcast, product := s.register(free+held), s.register(free+held+1)

	s.Label("group")
	for i := range free {
		s.clear(s.register(i))
	}
	s.MOVQ(halves, count)
	s.Label("half")
	for pair := range 8 {
		for v := range vectors {
			s.VMOVUPS(unit(q, v, unitBytes, pair*64), weight(v))
		}
		for r := range rows {
			s.VBROADCASTSS(row(a, a3, aStride, r, pair*4), broadcast)
			for v := range vectors {
				to := sum(r, v)
				if s.wide() {
					s.VPDPWSSD(broadcast, weight(v), to)
				} else {
					s.VPMADDWD(broadcast, weight(v), product)
					s.VPADDD(product, to, to)
				}
			}
		}
	}
	s.ADDQ(operand.I32(48), a)
	if rows > 3 {
		s.ADDQ(operand.I32(48), a3)
	}
	s.ADDQ(operand.I32(8*64), q)
	s.DECQ(count)
	s.JNZ(operand.LabelRef("half"))

	for v := range vectors {
		s.VMOVUPS(unit(scale, v, scaleBytes, 0), weight(v))
	}
	for r := range rows {
		s.VBROADCASTSS(row(a, a3, aStride, r, -16), broadcast)
		for v := range vectors {
			to := sum(r, v)
			s.VMULPS(broadcast, weight(v), product)
			s.VCVTDQ2PS(to, to)
			s.VMULPS(product, to, to)
			s.VADDPS(row(dst, dst3, dstStride, r, v*s.bytes), to, to)
		}
	}
	s.ADDQ(operand.I32(64), scale)
	s.TESTQ(minus, minus)
	s.JZ(operand.LabelRef("store"))
	for v := range vectors {
		s.VMOVUPS(unit(minus, v, scaleBytes, 0), weight(v))
	}
	s.ADDQ(operand.I32(64), minus)
	// The sum of 16 or of 32 activations lies behind the scale.
	s.LEAQ(operand.Mem{Base: a, Index: halves, Scale: 4, Disp: -16}, count)
	if rows > 3 {
		s.LEAQ(operand.Mem{Base: a3, Index: halves, Scale: 4, Disp: -16}, sums)
	}
	for r := range rows {
		s.VBROADCASTSS(row(count, sums, aStride, r, 0), broadcast)
		for v := range vectors {
			s.VMULPS(broadcast, weight(v), product)
			s.VSUBPS(product, sum(r, v), sum(r, v))
		}
	}
	s.Label("store")
	for r := range rows {
		for v := range vectors {
			s.VMOVUPS(sum(r, v), row(dst, dst3, dstStride, r, v*s.bytes))
		}
	}
	s.DECQ(groups)
	s.JNZ(operand.LabelRef("group"))
	s.end()
}

// integers generates the preparation of activations, for AVX-512 as well.
func (s *amd64) integers() {
	s.function("Integers", "func(to *uint32, x *float32, blocks int)", integersDoc)
	to, x := s.pointer("to"), s.pointer("x")
	blocks := s.Load(s.Param("blocks"), s.GP64()).(reg.GPVirtual)
	magnitude, largest := s.everyWord(0x7fffffff), s.everyWord(0x7f7fffff)
	order := s.vector()
	s.VMOVUPS(s.global("pairs", func(word int) uint32 {
		// Each four 16-bit numbers in the order 0, 2, 1, 3.
		return []uint32{0x05040100, 0x07060302, 0x0d0c0908, 0x0f0e0b0a}[word%4]
	}), order)
	s.Label("block")
	var values []reg.VecVirtual
	most := s.vector()
	for i := range 4 {
		v := s.words(operand.Mem{Base: x, Disp: 32 * i})
		values = append(values, v)
		m := most
		if i > 0 {
			m = s.vector()
		}
		s.VPAND(magnitude, v, m)
		if i > 0 {
			s.VPMAXSD(m, most, most)
		}
	}
	upper := s.XMM()
	s.VEXTRACTI128(operand.U8(1), most, upper)
	s.VPMAXSD(upper, most.AsX(), most.AsX())
	for _, shuffle := range []int{0x4e, 0xb1} {
		s.VPSHUFD(operand.U8(shuffle), most.AsX(), upper)
		s.VPMAXSD(upper, most.AsX(), most.AsX())
	}
	infinite := s.vector()
	s.VPBROADCASTD(most.AsX(), infinite)
	s.VPCMPGTD(largest, infinite, infinite)
	scale, inverse := most.AsX(), s.vector()
	s.VDIVSS(s.number(127*256), scale, scale)
	s.VMAXSS(s.number(float32(math.Ldexp(1, -126))), scale, scale)
	one := s.XMM()
	s.VMOVSS(s.number(1), one)
	s.VDIVSS(scale, one, one)
	s.VBROADCASTSS(one, inverse)
	s.VORPS(infinite.AsX(), scale, scale)
	var totals []reg.Register
	for half := range 2 {
		pair := values[2*half : 2*half+2]
		for _, v := range pair {
			s.VMULPS(inverse, v, v)
			s.VCVTPS2DQ(v, v)
			s.VPANDN(v, infinite, v)
		}
		packed, total, upper := s.vector(), s.vector(), s.XMM()
		s.VPACKSSDW(pair[1], pair[0], packed)
		s.VPERMQ(operand.U8(0xd8), packed, packed)
		s.VPSHUFB(order, packed, packed)
		s.VMOVUPS(packed, operand.Mem{Base: to, Disp: 48 * half})
		s.VPADDD(pair[0], pair[1], total)
		s.VEXTRACTI128(operand.U8(1), total, upper)
		s.VPADDD(upper, total.AsX(), total.AsX())
		for _, shuffle := range []int{0x4e, 0xb1} {
			s.VPSHUFD(operand.U8(shuffle), total.AsX(), upper)
			s.VPADDD(upper, total.AsX(), total.AsX())
		}
		totals = append(totals, total.AsX())
	}
	both := s.XMM()
	s.VPADDD(totals[0], totals[1], both)
	times := func(v reg.Register) {
		s.VCVTDQ2PS(v, v)
		s.VMULPS(scale, v, v)
	}
	times(both)
	for half, total := range totals {
		s.VMOVD(total, operand.Mem{Base: to, Disp: 48*half + 44})
		times(total)
		for i, v := range []reg.Register{scale, total, both} {
			s.VMOVSS(v, operand.Mem{Base: to, Disp: 48*half + 32 + 4*i})
		}
	}
	s.ADDQ(operand.I32(128), x)
	s.ADDQ(operand.I32(96), to)
	s.DECQ(blocks)
	s.JNZ(operand.LabelRef("block"))
	s.end()
}
