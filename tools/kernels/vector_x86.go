package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vectors generates the functions over arrays of float32.
func (s *amd64) vectors() {
	s.addScaled()
	s.scale()
	s.sum()
	s.squares()
	s.normalize()
	s.activation("SiLU", s.silu)
	s.activation("GELU", s.gelu)
	s.activation("GELUTanh", s.geluTanh)
	s.activation("ReLU", s.relu)
	s.softCap()
	s.maximum()
	s.scaleMaximum()
	s.expSum("ExpSum", "replaces x by exp(x - shift) and returns the sum", true)
	s.expSum("SumExp", "returns the sum of exp(x - shift)", false)
	s.rope()
	s.round("RoundHalf", "uint16")
	s.round("RoundSingle", "float32")
	s.widen("WidenBF16")
	s.widen("WidenF16")
}

// begin begins a function of that name.
func (s *amd64) begin(name, signature, doc string) {
	s.Function(name)
	s.Attributes(attr.NOSPLIT)
	s.SignatureExpr(signature)
	s.Pragma("noescape")
	s.Doc(strings.Split(name+" "+doc, "\n")...)
}

// function begins a function of this instruction set.
func (s *amd64) function(name, signature, doc string) {
	s.begin(s.name+name, signature, doc)
}

func (s *amd64) pointer(name string) reg.GPVirtual {
	return s.Load(s.Param(name), s.GP64()).(reg.GPVirtual)
}

// vector returns a fresh register.
func (s *amd64) vector() reg.VecVirtual {
	if s.wide() {
		return s.ZMM()
	}
	return s.YMM()
}

// zero returns a register of zeros.
func (s *amd64) zero() reg.VecVirtual {
	v := s.vector()
	s.clear(v)
	return v
}

// spread returns a register with all lanes set to an argument.
func (s *amd64) spread(param string) reg.VecVirtual {
	v := s.vector()
	address, err := s.Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	s.VBROADCASTSS(address.Addr, v)
	return v
}

func (s *amd64) number(f float32) operand.Mem { return s.constant(math.Float32bits(f)) }

// filled returns a register with all lanes set to f.
func (s *amd64) filled(f float32) reg.VecVirtual {
	v := s.vector()
	s.VMOVUPS(s.number(f), v)
	return v
}

// place is where a loop over arrays is: at element index + part*lanes, with a
// mask in the last, incomplete vector.
type place struct {
	s     *amd64
	index reg.GPVirtual
	part  int
	mask  operand.Op // nil: all lanes
}

// element returns the address of the current elements of an array.
func (p place) element(array reg.Register, size int) operand.Mem {
	return operand.Mem{Base: array, Index: p.index, Scale: uint8(size), Disp: p.part * p.s.lanes() * size}
}

// load reads the current elements; lanes beyond the array are zero.
func (p place) load(array reg.Register) reg.VecVirtual {
	v := p.s.vector()
	switch m := p.element(array, 4); {
	case p.mask == nil:
		p.s.VMOVUPS(m, v)
	case p.s.wide():
		p.s.VMOVUPS_Z(m, p.mask, v)
	default:
		p.s.VMASKMOVPS(m, p.mask, v)
	}
	return v
}

func (p place) store(v reg.Register, array reg.Register) {
	switch m := p.element(array, 4); {
	case p.mask == nil:
		p.s.VMOVUPS(v, m)
	case p.s.wide():
		p.s.VMOVUPS(v, p.mask, m)
	default:
		p.s.VMASKMOVPS(v, p.mask, m)
	}
}

// keep replaces what v holds in lanes beyond the array by f.
func (p place) keep(v reg.VecVirtual, f float32) reg.VecVirtual {
	if p.mask == nil {
		return v
	}
	kept := p.s.filled(f)
	if p.s.wide() {
		p.s.VMOVAPS(v, p.mask, kept)
	} else {
		p.s.VBLENDVPS(p.mask, v, kept, kept)
	}
	return kept
}

// each runs body over n elements: some vectors at a time, then one at a time,
// then the rest under a mask unless whole says that there is none.
func (s *amd64) each(parts int, whole bool, body func(p place)) {
	n := s.Load(s.Param("n"), s.GP64()).(reg.GPVirtual)
	index := s.GP64()
	s.XORQ(index, index)
	step := func(vectors int) {
		count := vectors * s.lanes()
		s.Label(fmt.Sprintf("by%d", vectors))
		s.CMPQ(n, operand.I32(count))
		after := "rest"
		if vectors > 1 {
			after = "by1"
		}
		s.JL(operand.LabelRef(after))
		for part := range vectors {
			body(place{s: s, index: index, part: part})
		}
		s.ADDQ(operand.I32(count), index)
		s.SUBQ(operand.I32(count), n)
		s.JMP(operand.LabelRef(fmt.Sprintf("by%d", vectors)))
	}
	if parts > 1 {
		step(parts)
	}
	step(1)
	s.Label("rest")
	if !whole {
		s.TESTQ(n, n)
		s.JZ(operand.LabelRef("done"))
		var vector reg.Register
		if !s.wide() {
			vector = s.YMM()
		}
		body(place{s: s, index: index, mask: s.mask(n, s.GP64(), reg.K1, vector)})
		s.Label("done")
	}
}

func (s *amd64) end() {
	s.VZEROUPPER()
	s.RET()
}

// zeros returns some registers of zeros, to sum in.
func (s *amd64) zeros(n int) []reg.VecVirtual {
	sums := make([]reg.VecVirtual, n)
	for i := range sums {
		sums[i] = s.zero()
	}
	return sums
}

// fold combines the halves of a register until one lane is left.
func (s *amd64) fold(v reg.VecVirtual, double bool, combine func(x, y operand.Op, to operand.Op)) reg.Register {
	if s.wide() {
		upper := s.YMM()
		s.VEXTRACTF64X4(operand.U8(1), v, upper)
		combine(upper, v.AsY(), v.AsY())
	}
	upper := s.XMM()
	s.VEXTRACTF128(operand.U8(1), v.AsY(), upper)
	combine(upper, v.AsX(), v.AsX())
	s.VPERMILPD(operand.U8(1), v.AsX(), upper)
	combine(upper, v.AsX(), v.AsX())
	if !double {
		s.VMOVSHDUP(v.AsX(), upper)
		combine(upper, v.AsX(), v.AsX())
	}
	return v.AsX()
}

// total adds the registers and their lanes.
func (s *amd64) total(sums []reg.VecVirtual, double bool) reg.Register {
	add := func(x, y, to operand.Op) {
		if double {
			s.VADDPD(x, y, to)
		} else {
			s.VADDPS(x, y, to)
		}
	}
	for n := len(sums) / 2; n > 0; n /= 2 {
		for i := range n {
			add(sums[i+n], sums[i], sums[i])
		}
	}
	return s.fold(sums[0], double, add)
}

// doubles calls f with the lower and upper half of v as float64.
func (s *amd64) doubles(v reg.VecVirtual, f func(half int, d reg.VecVirtual)) {
	d := s.vector()
	if s.wide() {
		s.VCVTPS2PD(v.AsY(), d)
	} else {
		s.VCVTPS2PD(v.AsX(), d)
	}
	f(0, d)
	d = s.vector()
	if s.wide() {
		upper := s.YMM()
		s.VEXTRACTF64X4(operand.U8(1), v, upper)
		s.VCVTPS2PD(upper, d)
	} else {
		upper := s.XMM()
		s.VEXTRACTF128(operand.U8(1), v, upper)
		s.VCVTPS2PD(upper, d)
	}
	f(1, d)
}

func (s *amd64) addScaled() {
	s.function("AddScaled", "func(dst, x *float32, n int, scale float32)", "adds scale*x to dst.")
	dst, x, scale := s.pointer("dst"), s.pointer("x"), s.spread("scale")
	s.each(2, false, func(p place) {
		sum := p.load(dst)
		s.VFMADD231PS(p.load(x), scale, sum)
		p.store(sum, dst)
	})
	s.end()
}

func (s *amd64) scale() {
	s.function("Scale", "func(x *float32, n int, scale float32)", "multiplies x by scale.")
	x, scale := s.pointer("x"), s.spread("scale")
	s.each(2, false, func(p place) {
		v := p.load(x)
		s.VMULPS(scale, v, v)
		p.store(v, x)
	})
	s.end()
}

func (s *amd64) sum() {
	s.function("Sum", "func(x *float32, n int) float64", "returns the sum of x.")
	x := s.pointer("x")
	sums := s.zeros(4)
	s.each(2, false, func(p place) {
		s.doubles(p.load(x), func(half int, d reg.VecVirtual) {
			to := sums[2*p.part+half]
			s.VADDPD(d, to, to)
		})
	})
	s.Store(s.total(sums, true), s.ReturnIndex(0))
	s.end()
}

func (s *amd64) squares() {
	s.function("Squares", "func(x *float32, n int, mean float64) float64", "returns the sum of (x - mean)².")
	x := s.pointer("x")
	mean := s.vector()
	address, err := s.Param("mean").Resolve()
	if err != nil {
		panic(err)
	}
	s.VBROADCASTSD(address.Addr, mean)
	sums := s.zeros(4)
	s.each(2, false, func(p place) {
		v := p.load(x)
		s.doubles(v, func(half int, d reg.VecVirtual) {
			s.VSUBPD(mean, d, d)
			if p.mask != nil {
				d = s.keepHalf(p, half, d)
			}
			s.VFMADD231PD(d, d, sums[2*p.part+half])
		})
	})
	s.Store(s.total(sums, true), s.ReturnIndex(0))
	s.end()
}

// keepHalf clears the float64 of one half of a vector that lie beyond the array.
func (s *amd64) keepHalf(p place, half int, d reg.VecVirtual) reg.VecVirtual {
	kept := s.zero()
	if s.wide() {
		mask := p.mask
		if half == 1 {
			s.KSHIFTRW(operand.U8(8), p.mask, reg.K2)
			mask = reg.K2
		}
		s.VMOVAPD(d, mask, kept)
		return kept
	}
	lanes := s.XMM()
	if half == 0 {
		s.VMOVAPS(p.mask.(reg.VecVirtual).AsX(), lanes)
	} else {
		s.VEXTRACTF128(operand.U8(1), p.mask, lanes)
	}
	s.VPMOVSXDQ(lanes, kept)
	s.VANDPD(d, kept, kept)
	return kept
}

func (s *amd64) normalize() {
	s.function("Normalize", "func(dst, x *float32, n int, mean, scale float32, weight, bias *float32, offset float32)",
		"writes (x-mean)*scale*(offset+weight)+bias; a nil weight or bias is left out.")
	dst, x, weight, bias := s.pointer("dst"), s.pointer("x"), s.pointer("weight"), s.pointer("bias")
	mean, scale, offset := s.spread("mean"), s.spread("scale"), s.spread("offset")
	label := 0
	s.each(1, false, func(p place) {
		label++
		v := p.load(x)
		s.VSUBPS(mean, v, v)
		s.VMULPS(scale, v, v)
		unweighted, unbiased := fmt.Sprint("unweighted", label), fmt.Sprint("unbiased", label)
		s.TESTQ(weight, weight)
		s.JZ(operand.LabelRef(unweighted))
		w := p.load(weight)
		s.VADDPS(offset, w, w)
		s.VMULPS(w, v, v)
		s.Label(unweighted)
		s.TESTQ(bias, bias)
		s.JZ(operand.LabelRef(unbiased))
		s.VADDPS(p.load(bias), v, v)
		s.Label(unbiased)
		p.store(v, dst)
	})
	s.end()
}

// activation generates an activation with an optional gate.
func (s *amd64) activation(name string, f func(x reg.VecVirtual) reg.VecVirtual) {
	s.function(name, "func(x, up *float32, n int)", "replaces x by its activation, times up unless that is nil.")
	x, up := s.pointer("x"), s.pointer("up")
	label := 0
	s.each(1, false, func(p place) {
		label++
		v := f(p.load(x))
		ungated := fmt.Sprint("ungated", label)
		s.TESTQ(up, up)
		s.JZ(operand.LabelRef(ungated))
		s.VMULPS(p.load(up), v, v)
		s.Label(ungated)
		p.store(v, x)
	})
	s.end()
}

// clamp returns x limited to [low, high]; a NaN stays.
func (s *amd64) clamp(x reg.VecVirtual, low, high float32) reg.VecVirtual {
	c, limit := s.filled(low), s.filled(high)
	s.VMAXPS(x, c, c) // the first operand is the result if one is a NaN
	s.VMINPS(c, limit, limit)
	return limit
}

// horner returns the polynomial in x with those coefficients, lowest first.
func (s *amd64) horner(x reg.VecVirtual, coefficients ...float32) reg.VecVirtual {
	last := len(coefficients) - 1
	p := s.filled(coefficients[last])
	for i := last - 1; i >= 0; i-- {
		s.VFMADD213PS(s.number(coefficients[i]), x, p)
	}
	return p
}

// exp returns exp(x) = 2ⁿ·exp(r), n whole and |r| at most ln(2)/2, where
// exp(r) = 1 + r + r²·q(r). q is fitted at Chebyshev nodes, with an error of
// 1.4e-7, which is 1.2e-8 of the result.
func (s *amd64) exp(x reg.VecVirtual) reg.VecVirtual {
	r := s.clamp(x, -104, 89) // beyond, the result is 0 or infinite
	n := s.vector()
	s.VMULPS(s.number(math.Log2E), r, n)
	if s.wide() {
		s.VRNDSCALEPS(operand.U8(8), n, n)
	} else {
		s.VROUNDPS(operand.U8(8), n, n)
	}
	const high = 0.693359375 // ln(2) to 9 bits, so that n*high is exact
	s.VFNMADD231PS(s.number(high), n, r)
	s.VFNMADD231PS(s.number(math.Ln2-high), n, r)
	p := s.horner(r, 0.5, 0.16666576, 0.041666552, 0.008363233, 0.001392625)
	s.VMULPS(r, p, p)
	s.VFMADD213PS(r, r, p)
	s.VADDPS(s.number(1), p, p)
	if s.wide() {
		s.VSCALEFPS(n, p, p)
		return p
	}
	// 2ⁿ in two factors, of which neither is too large or too small.
	s.VCVTPS2DQ(n, n)
	first := s.vector()
	s.VPSRAD(operand.U8(1), n, first)
	s.VPSUBD(first, n, n)
	for _, exponent := range []reg.VecVirtual{first, n} {
		s.VPADDD(s.constant(127), exponent, exponent)
		s.VPSLLD(operand.U8(23), exponent, exponent)
		s.VMULPS(exponent, p, p)
	}
	return p
}

// sigmoidal returns x / (1 + exp(-y)).
func (s *amd64) sigmoidal(x, y reg.VecVirtual) reg.VecVirtual {
	negative := s.zero()
	s.VSUBPS(y, negative, negative)
	e := s.exp(negative)
	s.VADDPS(s.number(1), e, e)
	s.VDIVPS(e, x, e)
	return e
}

func (s *amd64) silu(x reg.VecVirtual) reg.VecVirtual { return s.sigmoidal(x, x) }

// geluTanh uses (1 + tanh(y))/2 = 1/(1 + exp(-2y)).
func (s *amd64) geluTanh(x reg.VecVirtual) reg.VecVirtual {
	square := s.vector()
	s.VMULPS(x, x, square)
	factor := float32(2 * math.Sqrt(2/math.Pi))
	y := s.horner(square, factor, 0.044715*factor)
	s.VMULPS(x, y, y)
	return s.sigmoidal(x, y)
}

func (s *amd64) relu(x reg.VecVirtual) reg.VecVirtual {
	zero := s.zero()
	s.VMAXPS(x, zero, zero) // a NaN stays
	return zero
}

// gelu uses Φ(-|x|) = exp(-x²/2)·t·p(t)/2 with t = 1/(1 + |x|/√8): the scaled
// complementary error function divided by t is smooth on the whole range of t,
// and p, fitted at Chebyshev nodes, is within 6e-8 of it.
func (s *amd64) gelu(x reg.VecVirtual) reg.VecVirtual {
	c := s.clamp(x, -14, 14) // Φ(-14) is below the smallest float32
	half, square, rest := s.vector(), s.vector(), s.vector()
	s.VMULPS(s.number(-0.5), c, half)
	s.VMULPS(half, c, square)
	s.VMOVAPS(square, rest)
	s.VFMSUB231PS(half, c, rest) // what rounding took from the square
	tail := s.exp(square)
	s.VFMADD231PS(rest, tail, tail)
	t := s.vector()
	s.and(s.constant(1<<31-1), c, t)
	one := s.filled(1)
	s.VFMADD213PS(one, s.filled(float32(1/math.Sqrt(8))), t)
	s.VDIVPS(t, one, t)
	p := s.horner(t, 0.28208268, 0.28244504, 0.24257289, 0.20485365, -0.03184176, 0.2856977, -0.49386364, 0.2877683, -0.05971492)
	s.VMULPS(s.number(0.5), t, t)
	s.VMULPS(t, p, p)
	s.VMULPS(p, tail, tail)
	s.VMULPS(c, tail, tail)
	positive := s.vector()
	s.VSUBPS(tail, x, positive)
	return s.chooseLess(x, s.zero(), tail, positive)
}

// tanh returns x + x³·p(x²) near 0, with p fitted at Chebyshev nodes, and
// ±(1 - 2/(exp(2|x|) + 1)) elsewhere.
func (s *amd64) tanh(x reg.VecVirtual) reg.VecVirtual {
	size, sign, double := s.vector(), s.vector(), s.vector()
	s.and(s.constant(1<<31-1), x, size)
	s.and(s.constant(1<<31), x, sign)
	s.VADDPS(size, size, double)
	e := s.exp(double)
	s.VADDPS(s.number(1), e, e)
	s.VDIVPS(e, s.filled(2), e)
	far := s.filled(1)
	s.VSUBPS(e, far, far)
	if s.wide() {
		s.VPORD(sign, far, far)
	} else {
		s.VORPS(sign, far, far)
	}
	square := s.vector()
	s.VMULPS(x, x, square)
	near := s.horner(square, -0.33333328, 0.1333277, -0.053850908, 0.02099718, -0.006096714)
	s.VMULPS(square, near, near)
	s.VFMADD213PS(x, x, near)
	return s.chooseLess(size, s.filled(0.625), near, far)
}

func (s *amd64) and(x, y, to operand.Op) {
	if s.wide() {
		s.VPANDD(x, y, to)
	} else {
		s.VANDPS(x, y, to)
	}
}

// chooseLess returns yes in the lanes where a < b and no in the others. It
// overwrites no.
func (s *amd64) chooseLess(a, b, yes, no reg.VecVirtual) reg.VecVirtual {
	const less = 0x11
	if s.wide() {
		s.VCMPPS(operand.U8(less), b, a, reg.K2)
		s.VMOVAPS(yes, reg.K2, no)
	} else {
		s.VCMPPS(operand.U8(less), b, a, b)
		s.VBLENDVPS(b, yes, no, no)
	}
	return no
}

func (s *amd64) softCap() {
	s.function("SoftCap", "func(x *float32, n int, limit float32)", "replaces x by limit*tanh(x/limit).")
	x, limit := s.pointer("x"), s.spread("limit")
	s.each(1, false, func(p place) {
		v := p.load(x)
		s.VDIVPS(limit, v, v)
		v = s.tanh(v)
		s.VMULPS(limit, v, v)
		p.store(v, x)
	})
	s.end()
}

// largest begins a maximum.
func (s *amd64) largest(n int) []reg.VecVirtual {
	largest := make([]reg.VecVirtual, n)
	for i := range largest {
		largest[i] = s.filled(float32(math.Inf(-1)))
	}
	return largest
}

// most returns the largest of all lanes.
func (s *amd64) most(largest []reg.VecVirtual) reg.Register {
	for n := len(largest) / 2; n > 0; n /= 2 {
		for i := range n {
			s.VMAXPS(largest[i+n], largest[i], largest[i])
		}
	}
	return s.fold(largest[0], false, func(x, y, to operand.Op) { s.VMAXPS(x, y, to) })
}

func (s *amd64) maximum() {
	s.function("Maximum", "func(x *float32, n int) float32", "returns the largest element; NaNs may be missed.")
	x := s.pointer("x")
	largest := s.largest(4)
	s.each(4, false, func(p place) {
		to := largest[p.part]
		s.VMAXPS(p.keep(p.load(x), float32(math.Inf(-1))), to, to)
	})
	s.Store(s.most(largest), s.ReturnIndex(0))
	s.end()
}

func (s *amd64) scaleMaximum() {
	s.function("ScaleMaximum", "func(x *float32, n int, scale float32) float32", "multiplies x by scale and returns the largest product; NaNs may be missed.")
	x, scale := s.pointer("x"), s.spread("scale")
	largest := s.largest(2)
	s.each(2, false, func(p place) {
		v := p.load(x)
		s.VMULPS(scale, v, v)
		p.store(v, x)
		to := largest[p.part]
		s.VMAXPS(p.keep(v, float32(math.Inf(-1))), to, to)
	})
	s.Store(s.most(largest), s.ReturnIndex(0))
	s.end()
}

func (s *amd64) expSum(name, doc string, store bool) {
	s.function(name, "func(x *float32, n int, shift float32) float64", doc+".")
	x, shift := s.pointer("x"), s.spread("shift")
	sums := s.zeros(2)
	s.each(1, false, func(p place) {
		v := p.load(x)
		s.VSUBPS(shift, v, v)
		e := s.exp(v)
		if store {
			p.store(e, x)
		}
		s.doubles(p.keep(e, 0), func(half int, d reg.VecVirtual) { s.VADDPD(d, sums[half], sums[half]) })
	})
	s.Store(s.total(sums, true), s.ReturnIndex(0))
	s.end()
}

func (s *amd64) rope() {
	s.function("Rope", "func(x, cos, sin *float32, n int)", "turns the pairs (x[i], x[i+n]).")
	x, cos, sin := s.pointer("x"), s.pointer("cos"), s.pointer("sin")
	second := s.pointer("n")
	s.LEAQ(operand.Mem{Base: x, Index: second, Scale: 4}, second)
	s.each(1, false, func(p place) {
		a, b, c, d := p.load(x), p.load(second), p.load(cos), p.load(sin)
		newA, newB := s.vector(), s.vector()
		s.VMULPS(d, b, newA)
		s.VFMSUB231PS(c, a, newA)
		s.VMULPS(d, a, newB)
		s.VFMADD231PS(c, b, newB)
		p.store(newA, x)
		p.store(newB, second)
	})
	s.end()
}

// round generates the conversion to bfloat16 (nearest, ties to even, a NaN
// stays a NaN), stored as such or as float32.
func (s *amd64) round(name, to string) {
	s.function(name, "func(dst *"+to+", x *float32, n int)", "rounds x to bfloat16; n is a multiple of 16.")
	dst, x := s.pointer("dst"), s.pointer("x")
	one, below, quiet := s.vector(), s.vector(), s.vector()
	s.VMOVUPS(s.constant(1), one)
	s.VMOVUPS(s.constant(0x7fff), below)
	s.VMOVUPS(s.constant(1<<22), quiet)
	s.each(1, true, func(p place) {
		v, t := p.load(x), s.vector()
		s.VPSRLD(operand.U8(16), v, t)
		s.and(one, t, t)
		s.VPADDD(below, t, t)
		s.VPADDD(v, t, t)
		const unordered = 3
		if s.wide() {
			s.VCMPPS(operand.U8(unordered), v, v, reg.K2)
			s.VPORD(quiet, v, reg.K2, t)
		} else {
			nan, silent := s.vector(), s.vector()
			s.VCMPPS(operand.U8(unordered), v, v, nan)
			s.VORPS(quiet, v, silent)
			s.VBLENDVPS(nan, silent, t, t)
		}
		switch {
		case to == "float32":
			s.and(s.constant(0xffff0000), t, t)
			p.store(t, dst)
		case s.wide():
			s.VPSRLD(operand.U8(16), t, t)
			s.VPMOVDW(t, p.element(dst, 2))
		default:
			s.VPSRLD(operand.U8(16), t, t)
			s.VPACKUSDW(t, t, t)
			s.VPERMQ(operand.U8(0b1000), t, t)
			s.VMOVUPS(t.AsX(), p.element(dst, 2))
		}
	})
	s.end()
}

func (s *amd64) widen(name string) {
	s.function(name, "func(dst *float32, x *uint16, n int)", "converts to float32; n is a multiple of 16.")
	dst, x := s.pointer("dst"), s.pointer("x")
	s.each(1, true, func(p place) {
		v := s.vector()
		if name == "WidenF16" {
			s.VCVTPH2PS(p.element(x, 2), v)
		} else {
			s.VPMOVZXWD(p.element(x, 2), v)
			s.VPSLLD(operand.U8(16), v, v)
		}
		p.store(v, dst)
	})
	s.end()
}
