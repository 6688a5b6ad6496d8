package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// peaks generates the loops that measure what the machine can do at most.
func (s *amd64) peaks() {
	s.peak("FMAPeak", "runs n rounds of 12 independent fused multiply-adds on vectors of ones and zeros.", func(x, y, sum reg.VecPhysical) {
		s.VFMADD231PS(x, y, sum)
	})
	if s.wide() {
		s.peak("HalfPeak", "runs n rounds of 12 independent VDPBF16PS.", s.dotPairs)
	}
	s.function("Read", "func(x *byte, n int)", "reads n bytes, a multiple of 512, and forgets them.")
	x, n := s.pointer("x"), s.pointer("n")
	s.ADDQ(x, n)
	sums := s.zeros(4)
	s.Label("more")
	s.CMPQ(x, n)
	s.JGE(operand.LabelRef("end"))
	for i := range 512 / s.bytes {
		to := sums[i%len(sums)]
		s.VADDPS(operand.Mem{Base: x, Disp: i * s.bytes}, to, to)
	}
	s.ADDQ(operand.I32(512), x)
	s.JMP(operand.LabelRef("more"))
	s.Label("end")
	s.end()
}

func (s *amd64) peak(name, doc string, operation func(x, y, sum reg.VecPhysical)) {
	s.function(name, "func(n int)", doc)
	n := reg.RCX
	s.Load(s.Param("n"), n)
	for i := range 14 {
		s.clear(s.register(i))
	}
	s.Label("more")
	for i := range 12 {
		operation(s.register(12), s.register(13), s.register(i))
	}
	s.DECQ(n)
	s.JNZ(operand.LabelRef("more"))
	s.end()
}
