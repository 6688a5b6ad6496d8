package main

import (
	"encoding/binary"
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// amd64 generates one instruction set.
type amd64 struct {
	*build.Context
	name    string
	bytes   int // of a vector register
	globals map[string]operand.Mem
}

// lanes is the number of float32 in a vector register.
func (s *amd64) lanes() int { return s.bytes / 4 }

func (s *amd64) wide() bool { return s.bytes == 64 }

// register returns the physical vector register of that number.
func (s *amd64) register(n int) reg.VecPhysical {
	if s.wide() {
		return []reg.VecPhysical{
			reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
			reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
			reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
			reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
		}[n]
	}
	return []reg.VecPhysical{
		reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
		reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15,
	}[n]
}

// format says what a tile multiplies.
type format int

const (
	single format = iota // float32 by float32
	mixed                // pairs of bfloat16 weights by pairs of float32
	half                 // pairs of bfloat16 by pairs of bfloat16
)

func (f format) String() string { return []string{"Single", "Mixed", "Half"}[f] }

// A tile is the product of up to six rows with a few vectors of columns, whose
// sums stay in registers while k advances.
type tile struct {
	format  format
	rows    int
	vectors int
	masked  bool // the last columns of a vector may be missing; one vector only
}

const tileDoc = `multiplies %d rows of a, aStride bytes apart, with %s
of w: step k reads %s of each row and the vectors at
w + k*wStep + v*wSpan. The sums begin at dst if more is set, else at 0; bias (nil: 0)
is added at the end. All strides are in bytes.`

// tiles generates the products.
func (s *amd64) tiles() {
	vectors := 2
	formats := []format{single, mixed}
	if s.wide() {
		vectors = 4
		formats = append(formats, half)
	}
	for _, f := range formats {
		for rows := 1; rows <= 6; rows++ {
			s.tile(fmt.Sprintf("%s%s%d", s.name, f, rows), tile{format: f, rows: rows, vectors: vectors})
		}
		if !s.wide() {
			s.tile(fmt.Sprintf("%s%sPanel", s.name, f), tile{format: f, rows: 1, vectors: 8})
		}
	}
	for rows := 1; rows <= 6; rows++ {
		s.tile(fmt.Sprintf("%sNarrow%d", s.name, rows), tile{format: single, rows: rows, vectors: 1, masked: true})
	}
}

func (s *amd64) tile(name string, t tile) {
	step := map[format]string{single: "one element", mixed: "two elements", half: "one pair of elements"}[t.format]
	columns := fmt.Sprintf("%d columns", t.vectors*s.lanes())
	signature := "func(a *byte, aStride int, w *byte, wStep, wSpan, k int, dst *float32, dstStride int, more bool, bias *float32)"
	if t.masked {
		columns = fmt.Sprintf("up to %d columns", s.lanes())
		signature = signature[:len(signature)-1] + ", columns int)"
	}
	s.begin(name, signature, fmt.Sprintf(tileDoc, t.rows, columns, step))

	a, a3, aStride := reg.RSI, reg.RDI, reg.RAX
	w, wStep, span, span3, k := reg.RBX, reg.RCX, reg.RDX, reg.R8, reg.R9
	dst, dst3, dstStride := reg.R10, reg.R11, reg.R12

	sum := func(r, v int) reg.VecPhysical { return s.register(r*t.vectors + v) }
	free := t.rows * t.vectors
	var mask operand.Op // of the columns that exist
	if t.masked {
		s.Load(s.Param("columns"), reg.R13)
		mask = s.mask(reg.R13, reg.RAX, reg.K1, s.register(15))
	}
	load := func(m operand.Mem, to reg.VecPhysical) {
		switch {
		case !t.masked:
			s.VMOVUPS(m, to)
		case s.wide():
			s.VMOVUPS_Z(m, mask, to)
		default:
			s.VMASKMOVPS(m, mask, to)
		}
	}
	store := func(from reg.VecPhysical, m operand.Mem) {
		switch {
		case !t.masked:
			s.VMOVUPS(from, m)
		case s.wide():
			s.VMOVUPS(from, mask, m)
		default:
			s.VMASKMOVPS(from, mask, m)
		}
	}
	// row addresses vector v of row r, given pointers to rows 0 and 3.
	row := func(p, p3 reg.Register, stride reg.Register, r, displacement int) operand.Mem {
		m := operand.Mem{Base: p, Disp: displacement}
		if r >= 3 {
			m.Base = p3
		}
		if r%3 > 0 {
			m.Index, m.Scale = stride, uint8(r%3)
		}
		return m
	}
	third := func(p, p3, stride reg.Register) {
		if t.rows > 3 {
			s.LEAQ(operand.Mem{Base: stride, Index: stride, Scale: 2}, p3)
			s.ADDQ(p, p3)
		}
	}

	s.Load(s.Param("a"), a)
	s.Load(s.Param("aStride"), aStride)
	s.Load(s.Param("w"), w)
	s.Load(s.Param("wStep"), wStep)
	if t.vectors > 1 && t.vectors <= 4 {
		s.Load(s.Param("wSpan"), span)
		s.LEAQ(operand.Mem{Base: span, Index: span, Scale: 2}, span3)
	}
	s.Load(s.Param("k"), k)
	third(a, a3, aStride)
	weight := func(v int) operand.Mem {
		switch {
		case v == 0:
			return operand.Mem{Base: w}
		case t.vectors > 4:
			return operand.Mem{Base: w, Disp: v * s.bytes}
		case v == 3:
			return operand.Mem{Base: w, Index: span3, Scale: 1}
		default:
			return operand.Mem{Base: w, Index: span, Scale: uint8(v)}
		}
	}

	s.Load(s.Param("dst"), dst)
	s.Load(s.Param("dstStride"), dstStride)
	third(dst, dst3, dstStride)
	s.Load(s.Param("more"), reg.R13B)
	s.TESTB(reg.R13B, reg.R13B)
	s.JZ(operand.LabelRef("zero"))
	for r := range t.rows {
		for v := range t.vectors {
			load(row(dst, dst3, dstStride, r, v*s.bytes), sum(r, v))
		}
	}
	s.JMP(operand.LabelRef("multiply"))
	s.Label("zero")
	for r := range t.rows {
		for v := range t.vectors {
			s.clear(sum(r, v))
		}
	}

	s.Label("multiply")
	var fraction reg.VecPhysical // selects the upper bfloat16 of a pair
	if t.format == mixed {
		fraction = s.register(15)
		if s.wide() {
			fraction = s.register(31)
		}
		s.MOVL(operand.U32(0xffff0000), reg.R13L)
		s.VMOVD(reg.R13L, fraction.AsX())
		s.VPBROADCASTD(fraction.AsX(), fraction)
	}
	held := min(t.vectors, 4) // weights in registers
	weights := func(v int) reg.VecPhysical { return s.register(free + v%held) }
	broadcast := func(r int) reg.VecPhysical {
		if s.wide() || t.format != mixed && t.vectors < 8 {
			return s.register(free + held + r%2)
		}
		return s.register(free + held)
	}
	// multiply advances the sums by one element (or pair) of a at that offset.
	multiply := func(offset int, fetch func(v int)) {
		for first := 0; first < t.vectors; first += held {
			for v := first; v < first+held; v++ {
				fetch(v)
			}
			for r := range t.rows {
				s.VBROADCASTSS(row(a, a3, aStride, r, offset), broadcast(r))
				for v := first; v < first+held; v++ {
					if t.format == half {
						s.dotPairs(broadcast(r), weights(v), sum(r, v))
					} else {
						s.VFMADD231PS(broadcast(r), weights(v), sum(r, v))
					}
				}
			}
		}
	}
	size := 4
	if t.format == mixed {
		size = 8
	}
	advance := func(i int) {
		if t.format != mixed {
			multiply(i*size, func(v int) { load(weight(v), weights(v)) })
		} else {
			multiply(i*size, func(v int) { // the first of each pair
				if s.wide() {
					s.VPSLLD(operand.U8(16), weight(v), weights(v))
					return
				}
				s.VMOVUPS(weight(v), weights(v))
				s.VPSLLD(operand.U8(16), weights(v), weights(v))
			})
			multiply(i*size+4, func(v int) { // the second
				if s.wide() {
					s.VPANDD(weight(v), fraction, weights(v))
				} else {
					s.VPAND(weight(v), fraction, weights(v))
				}
			})
		}
		s.ADDQ(wStep, w)
	}
	next := func(steps int) {
		s.ADDQ(operand.I32(steps*size), a)
		if t.rows > 3 {
			s.ADDQ(operand.I32(steps*size), a3)
		}
		s.SUBQ(operand.I8(steps), k)
	}
	s.SUBQ(operand.I8(4), k)
	s.JL(operand.LabelRef("rest"))
	s.Label("four")
	for i := range 4 {
		advance(i)
	}
	next(4)
	s.JGE(operand.LabelRef("four"))
	s.Label("rest")
	s.ADDQ(operand.I8(4), k)
	s.JZ(operand.LabelRef("finish"))
	s.Label("one")
	advance(0)
	next(1)
	s.JNZ(operand.LabelRef("one"))

	s.Label("finish")
	bias := reg.RBX
	s.Load(s.Param("bias"), bias)
	s.TESTQ(bias, bias)
	s.JZ(operand.LabelRef("store"))
	for v := range t.vectors {
		load(operand.Mem{Base: bias, Disp: v * s.bytes}, s.register(free))
		for r := range t.rows {
			s.VADDPS(s.register(free), sum(r, v), sum(r, v))
		}
	}
	s.Label("store")
	for r := range t.rows {
		for v := range t.vectors {
			store(sum(r, v), row(dst, dst3, dstStride, r, v*s.bytes))
		}
	}
	s.VZEROUPPER()
	s.RET()
}

// clear sets a register to zeros.
func (s *amd64) clear(v reg.Register) {
	if s.wide() {
		s.VPXORD(v, v, v)
	} else {
		s.VXORPS(v, v, v)
	}
}

// mask makes a mask of the first n lanes: in opmask for AVX-512, in vector for
// AVX2. n is at most the number of lanes; it and scratch are lost.
func (s *amd64) mask(n, scratch reg.Register, opmask reg.OpmaskPhysical, vector reg.Register) operand.Op {
	if s.wide() {
		s.MOVQ(operand.I32(-1), scratch)
		s.BZHIQ(n, scratch, scratch)
		s.KMOVW(scratch.(reg.GP).As32(), opmask)
		return opmask
	}
	s.NEGQ(n)
	s.LEAQ(s.maskTable(), scratch)
	s.VMOVUPS(operand.Mem{Base: scratch, Index: n, Scale: 4, Disp: 32}, vector)
	return vector
}

// maskTable is eight words of ones followed by eight of zeros.
func (s *amd64) maskTable() operand.Mem {
	return s.global("mask", func(word int) uint32 {
		if word < 8 {
			return 1<<32 - 1
		}
		return 0
	})
}

// constant is a vector whose lanes all have those bits.
func (s *amd64) constant(bits uint32) operand.Mem {
	return s.global(fmt.Sprintf("all_%08x", bits), func(int) uint32 { return bits })
}

// global returns 64 bytes of read-only data, defined at the first use.
func (s *amd64) global(name string, word func(int) uint32) operand.Mem {
	name = s.name + "_" + name
	if m, ok := s.globals[name]; ok {
		return m
	}
	m := s.StaticGlobal(name)
	s.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := 0; i < 16; i += 2 {
		s.AppendDatum(operand.U64(uint64(word(i)) | uint64(word(i+1))<<32))
	}
	s.globals[name] = m
	return m
}

// dotPairs is VDPBF16PS, which Go's assembler lacks:
// EVEX.512.F3.0F38.W0 52 /r.
func (s *amd64) dotPairs(x, y, sum reg.VecPhysical) {
	s.Comment(fmt.Sprintf("VDPBF16PS %s, %s, %s", x.Asm(), y.Asm(), sum.Asm()))
	s.encoded(0x02, 0x02, 0x52, x, y, sum)
}

// encoded emits an EVEX instruction on three 512-bit registers, in Go's order
// of operands: table is the opcode map, prefix its mandatory prefix (2: F3, 3: F2).
func (s *amd64) encoded(table, prefix, opcode byte, rm, v, r reg.VecPhysical) {
	bit := func(n reg.VecPhysical, i uint) byte { return byte(n.ID().Index()>>i) & 1 }
	not := func(n reg.VecPhysical, i uint) byte { return 1 - bit(n, i) }
	code := []byte{
		0x62,
		not(r, 3)<<7 | not(rm, 4)<<6 | not(rm, 3)<<5 | not(r, 4)<<4 | table,
		not(v, 3)<<6 | not(v, 2)<<5 | not(v, 1)<<4 | not(v, 0)<<3 | 1<<2 | prefix,
		0b10<<5 | not(v, 4)<<3,
		opcode,
		0b11<<6 | byte(r.ID().Index()&7)<<3 | byte(rm.ID().Index()&7),
	}
	s.Instruction(&ir.Instruction{Opcode: "LONG", Operands: []operand.Op{operand.U32(binary.LittleEndian.Uint32(code))}})
	s.Instruction(&ir.Instruction{Opcode: "WORD", Operands: []operand.Op{operand.U16(binary.LittleEndian.Uint16(code[4:]))}})
}
