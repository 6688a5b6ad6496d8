package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pack generates the transposition of 32-bit words.
func (s *amd64) pack() {
	n := s.lanes()
	s.function("Transpose", "func(dst *byte, dstStep int, src *byte, srcStride, n int)", fmt.Sprintf(`copies column c of %d rows of n words,
srcStride bytes apart, to dst + c*dstStep; n is a multiple of %d.`, n, n))
	dst, src, stride, count := reg.RDI, reg.RSI, reg.RAX, reg.RCX
	s.Load(s.Param("dst"), dst)
	s.Load(s.Param("src"), src)
	s.Load(s.Param("srcStride"), stride)
	s.Load(s.Param("n"), count)
	triple, second, step := reg.RDX, reg.RBX, reg.R8
	s.Load(s.Param("dstStep"), step)
	s.LEAQ(operand.Mem{Base: stride, Index: stride, Scale: 2}, triple)
	s.Label("block")
	s.MOVQ(src, second)
	rows := make([]reg.VecPhysical, n)
	for r := range n {
		rows[r] = s.register(r)
		m := operand.Mem{Base: second}
		switch r % 4 {
		case 1, 2:
			m.Index, m.Scale = stride, uint8(r%4)
		case 3:
			m.Index, m.Scale = triple, 1
		}
		s.VMOVUPS(m, rows[r])
		if r%4 == 3 {
			s.LEAQ(operand.Mem{Base: second, Index: stride, Scale: 4}, second)
		}
	}
	spare := func(i int) reg.VecPhysical { return s.register(n + i) }
	// Pairs of words, then quartets: within each 128-bit lane.
	for r := 0; r < n; r += 2 {
		s.VUNPCKLPS(rows[r+1], rows[r], spare(r))
		s.VUNPCKHPS(rows[r+1], rows[r], spare(r+1))
	}
	for r := 0; r < n; r += 4 {
		s.VUNPCKLPD(spare(r+2), spare(r), rows[r])
		s.VUNPCKHPD(spare(r+2), spare(r), rows[r+1])
		s.VUNPCKLPD(spare(r+3), spare(r+1), rows[r+2])
		s.VUNPCKHPD(spare(r+3), spare(r+1), rows[r+3])
	}
	// rows[4q+c] holds, in lane l, words of rows 4q…4q+3 in column 4l+c.
	if !s.wide() {
		for c := range 4 {
			s.VPERM2F128(operand.U8(0x20), rows[4+c], rows[c], spare(c))
			s.VPERM2F128(operand.U8(0x31), rows[4+c], rows[c], spare(4+c))
		}
	} else {
		for c := range 4 {
			s.VSHUFF32X4(operand.U8(0x88), rows[4+c], rows[c], spare(0))    // lanes 0, 2 of quarters 0 and 1
			s.VSHUFF32X4(operand.U8(0xdd), rows[4+c], rows[c], spare(1))    // lanes 1, 3
			s.VSHUFF32X4(operand.U8(0x88), rows[12+c], rows[8+c], spare(2)) // of quarters 2 and 3
			s.VSHUFF32X4(operand.U8(0xdd), rows[12+c], rows[8+c], spare(3))
			s.VSHUFF32X4(operand.U8(0x88), spare(2), spare(0), rows[c])
			s.VSHUFF32X4(operand.U8(0x88), spare(3), spare(1), rows[4+c])
			s.VSHUFF32X4(operand.U8(0xdd), spare(2), spare(0), rows[8+c])
			s.VSHUFF32X4(operand.U8(0xdd), spare(3), spare(1), rows[12+c])
		}
	}
	for c := range n {
		from := rows[c]
		if !s.wide() {
			from = spare(c)
		}
		s.VMOVUPS(from, operand.Mem{Base: dst})
		s.ADDQ(step, dst)
	}
	s.ADDQ(operand.I32(4*n), src)
	s.SUBQ(operand.I32(n), count)
	s.JNZ(operand.LabelRef("block"))
	s.end()
}
