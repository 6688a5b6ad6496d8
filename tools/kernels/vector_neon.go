package main

import (
	"math"
	"slices"
)

// vectors generates the functions over arrays of float32.
func (n *neon) vectors() {
	n.addScaled()
	n.scale()
	n.sum("Sum", "(x *float32, n int) float64", "returns the sum of x.", false)
	n.sum("Squares", "(x *float32, n int, mean float64) float64", "returns the sum of (x - mean)².", true)
	n.normalize()
	n.activation("SiLU", n.silu)
	n.activation("GELU", n.gelu)
	n.activation("GELUTanh", n.geluTanh)
	n.activation("ReLU", n.relu)
	n.softCap()
	n.maximum("Maximum", false)
	n.maximum("ScaleMaximum", true)
	n.expSum("ExpSum", "replaces x by exp(x - shift) and returns the sum", true)
	n.expSum("SumExp", "returns the sum of exp(x - shift)", false)
	n.rope()
	n.roundHalf()
	n.roundSingle()
	n.widen("WidenBF16", "SHLL16")
	n.widen("WidenF16", "FCVTLH")
	n.transpose()
}

// loop runs body over the n elements from R0 on, four at a time, with n in R2.
func (n *neon) loop(body func()) {
	n.label("more")
	body()
	n.op("SUBS $4, R2")
	n.op("BNE more")
}

// spread fills a vector register with a float32 argument.
func (n *neon) spread(argument string, v int) {
	n.op("FMOVS %s(FP), F%d", argument, v)
	n.op("VDUP V%d.S[0], V%d.S4", v, v)
}

func (n *neon) addScaled() {
	n.begin("neonAddScaled", "(dst, x *float32, n int, scale float32)", "adds scale*x to dst.", 28)
	n.op("MOVD dst+0(FP), R0")
	n.op("MOVD x+8(FP), R1")
	n.op("MOVD n+16(FP), R2")
	n.spread("scale+24", 3)
	n.loop(func() {
		n.op("VLD1.P 16(R1), [V1.S4]")
		n.op("VLD1 (R0), [V0.S4]")
		n.multiplyAdd(0, 1, 3)
		n.op("VST1.P [V0.S4], 16(R0)")
	})
	n.op("RET")
}

func (n *neon) scale() {
	n.begin("neonScale", "(x *float32, n int, scale float32)", "multiplies x by scale.", 20)
	n.op("MOVD x+0(FP), R0")
	n.op("MOVD n+8(FP), R2")
	n.spread("scale+16", 3)
	n.loop(func() {
		n.op("VLD1 (R0), [V0.S4]")
		n.word("FMUL", 0, 0, 3)
		n.op("VST1.P [V0.S4], 16(R0)")
	})
	n.op("RET")
}

// The constants of exp, from register 16 on; see amd64's exp for what they are.
var expConstants = []float32{
	-104, 89, math.Log2E, 0.693359375, math.Ln2 - 0.693359375,
	0.5, 0.16666576, 0.041666552, 0.008363233, 0.001392625, 1,
}

const one = 26 // the register of the last of them

func (n *neon) expConstants() {
	for i, f := range expConstants {
		n.constant(16+i, f)
	}
	n.op("MOVW $127, R19")
	n.op("VDUP R19, V27.S4")
}

// exp replaces V1 by its exponential, and uses V2 to V6.
func (n *neon) exp() {
	n.word("FMAX", 1, 1, 16)
	n.word("FMIN", 1, 1, 17)
	n.word("FMUL", 2, 1, 18)
	n.word("FRINTN", 2, 2)
	n.multiplySubtract(1, 2, 19)
	n.multiplySubtract(1, 2, 20)
	p, next := 3, 4
	n.move(25, p)
	for c := 24; c >= 21; c-- {
		n.move(c, next)
		n.multiplyAdd(next, p, 1)
		p, next = next, p
	}
	n.word("FMUL", p, p, 1)
	n.move(1, next)
	n.multiplyAdd(next, p, 1)
	n.word("FADD", 1, next, one)
	// 2ⁿ in two factors, of which neither is too large or too small.
	n.word("FCVTNS", 5, 2)
	n.word("SSHR1", 6, 5)
	n.op("VSUB V6.S4, V5.S4, V5.S4")
	for _, exponent := range []int{5, 6} {
		n.op("VADD V27.S4, V%d.S4, V%d.S4", exponent, exponent)
		n.op("VSHL $23, V%d.S4, V%d.S4", exponent, exponent)
		n.word("FMUL", 1, 1, exponent)
	}
}

// activation generates an activation with an optional gate: f turns V0 into V1.
func (n *neon) activation(name string, f func()) {
	n.begin("neon"+name, "(x, up *float32, n int)", "replaces x by its activation, times up unless that is nil.", 24)
	n.op("MOVD x+0(FP), R0")
	n.op("MOVD up+8(FP), R1")
	n.op("MOVD n+16(FP), R2")
	n.expConstants()
	n.loop(func() {
		n.op("VLD1 (R0), [V0.S4]")
		f()
		n.op("CBZ R1, ungated")
		n.op("VLD1.P 16(R1), [V2.S4]")
		n.word("FMUL", 1, 1, 2)
		n.label("ungated")
		n.op("VST1.P [V1.S4], 16(R0)")
	})
	n.op("RET")
}

// sigmoidal makes V1 into V0 / (1 + exp(-V1)).
func (n *neon) sigmoidal() {
	n.word("FNEG", 1, 1)
	n.exp()
	n.word("FADD", 1, 1, one)
	n.word("FDIV", 1, 0, 1)
}

// horner puts the polynomial in x, whose coefficients are given lowest first, into
// p; it uses the register behind p.
func (n *neon) horner(p, x int, name string, coefficients ...float32) {
	slices.Reverse(coefficients)
	n.table(name, coefficients...)
	from, to := p, p+1
	if len(coefficients)%2 == 0 {
		from, to = to, from // so that the last one ends in p
	}
	n.op("VLD1R.P 4(R9), [V%d.S4]", from)
	for range len(coefficients) - 1 {
		n.op("VLD1R.P 4(R9), [V%d.S4]", to)
		n.multiplyAdd(to, from, x)
		from, to = to, from
	}
}

// choose puts yes into mask where mask is set, and no elsewhere.
func (n *neon) choose(mask, yes, no int) { n.word("BSL", mask, yes, no) }

func (n *neon) relu() {
	n.zero(2)
	n.word("FMAX", 1, 0, 2) // a NaN stays
}

// gelu is amd64's: Φ(-|x|) = exp(-x²/2)·t·p(t)/2 with t = 1/(1 + |x|/√8).
func (n *neon) gelu() {
	const c, half, rest, tail, t, p, mask = 7, 8, 9, 10, 12, 13, 9
	n.constant(c, -14)
	n.word("FMAX", c, 0, c)
	n.constant(half, 14)
	n.word("FMIN", c, c, half)
	n.constant(half, -0.5)
	n.word("FMUL", half, half, c)
	n.word("FMUL", 1, half, c)
	n.word("FNEG", rest, 1)
	n.multiplyAdd(rest, half, c) // what rounding took from the square
	n.exp()
	n.move(1, tail)
	n.multiplyAdd(tail, rest, 1)
	n.word("FABS", 11, c)
	n.constant(half, float32(1/math.Sqrt(8)))
	n.move(one, t)
	n.multiplyAdd(t, 11, half)
	n.word("FDIV", t, one, t)
	n.horner(p, t, "neonGELUTail", 0.28208268, 0.28244504, 0.24257289, 0.20485365, -0.03184176, 0.2856977, -0.49386364, 0.2877683, -0.05971492)
	n.constant(half, 0.5)
	n.word("FMUL", t, t, half)
	n.word("FMUL", p, p, t)
	n.word("FMUL", tail, tail, p)
	n.word("FMUL", tail, tail, c)
	n.word("FSUB", p, 0, tail)
	n.word("FCMLT0", mask, 0)
	n.choose(mask, tail, p)
	n.move(mask, 1)
}

// tanh makes V1 of V0, as amd64's does: x + x³·p(x²) near 0, and elsewhere
// ±(1 - 2/(exp(2|x|) + 1)).
func (n *neon) tanh() {
	const size, far, near, square, sign, mask = 7, 8, 9, 10, 12, 13
	n.word("FABS", size, 0)
	n.word("FADD", 1, size, size)
	n.exp()
	n.word("FADD", 1, 1, one)
	n.constant(far, 2)
	n.word("FDIV", far, far, 1)
	n.word("FSUB", far, one, far)
	n.constant(sign, float32(math.Copysign(0, -1)))
	n.choose(sign, 0, far)
	n.word("FMUL", square, 0, 0)
	n.horner(1, square, "neonTanhNear", -0.33333328, 0.1333277, -0.053850908, 0.02099718, -0.006096714)
	n.word("FMUL", 1, 1, square)
	n.move(0, near)
	n.multiplyAdd(near, 1, 0)
	n.constant(mask, 0.625)
	n.word("FCMGT", mask, mask, size)
	n.choose(mask, near, sign)
	n.move(mask, 1)
}

func (n *neon) softCap() {
	n.begin("neonSoftCap", "(x *float32, n int, limit float32)", "replaces x by limit*tanh(x/limit).", 20)
	n.op("MOVD x+0(FP), R0")
	n.op("MOVD n+8(FP), R2")
	n.spread("limit+16", 28)
	n.expConstants()
	n.loop(func() {
		n.op("VLD1 (R0), [V0.S4]")
		n.word("FDIV", 0, 0, 28)
		n.tanh()
		n.word("FMUL", 1, 1, 28)
		n.op("VST1.P [V1.S4], 16(R0)")
	})
	n.op("RET")
}

func (n *neon) silu() {
	n.move(0, 1)
	n.sigmoidal()
}

// geluTanh uses (1 + tanh(y))/2 = 1/(1 + exp(-2y)).
func (n *neon) geluTanh() {
	factor := float32(2 * math.Sqrt(2/math.Pi))
	n.constant(7, factor)
	n.constant(28, 0.044715*factor)
	n.word("FMUL", 2, 0, 0)
	n.multiplyAdd(7, 2, 28)
	n.word("FMUL", 1, 7, 0)
	n.sigmoidal()
}

func (n *neon) maximum(name string, scaled bool) {
	arguments, doc, result := "(x *float32, n int) float32", "returns the largest element; NaNs may be missed.", "ret+16"
	bytes := 20
	if scaled {
		arguments, doc, result = "(x *float32, n int, scale float32) float32", "multiplies x by scale and returns the largest product; NaNs may be missed.", "ret+24"
		bytes = 28
	}
	n.begin("neon"+name, arguments, doc, bytes)
	n.op("MOVD x+0(FP), R0")
	n.op("MOVD n+8(FP), R2")
	if scaled {
		n.spread("scale+16", 3)
	}
	n.constant(1, float32(math.Inf(-1)))
	n.loop(func() {
		n.op("VLD1 (R0), [V0.S4]")
		if scaled {
			n.word("FMUL", 0, 0, 3)
			n.op("VST1 [V0.S4], (R0)")
		}
		n.word("FMAX", 1, 1, 0)
		n.op("ADD $16, R0")
	})
	n.word("FMAXV", 0, 1)
	n.op("FMOVS F0, %s(FP)", result)
	n.op("RET")
}

func (n *neon) expSum(name, doc string, store bool) {
	n.begin("neon"+name, "(x *float32, n int, shift float32) float64", doc+".", 32)
	n.op("MOVD x+0(FP), R0")
	n.op("MOVD n+8(FP), R2")
	n.spread("shift+16", 28)
	n.expConstants()
	n.zero(29)
	n.zero(30)
	n.loop(func() {
		n.op("VLD1 (R0), [V1.S4]")
		n.word("FSUB", 1, 1, 28)
		n.exp()
		if store {
			n.op("VST1 [V1.S4], (R0)")
		}
		n.op("ADD $16, R0")
		n.word("FCVTL", 2, 1)
		n.word("FCVTL2", 3, 1)
		n.word("FADD2D", 29, 29, 2)
		n.word("FADD2D", 30, 30, 3)
	})
	n.total("ret+24")
}

// sum generates the sum of the elements, or of the squares of their distances
// from a mean, in float64.
func (n *neon) sum(name, arguments, doc string, squares bool) {
	bytes, result := 24, "ret+16"
	if squares {
		bytes, result = 32, "ret+24"
	}
	n.begin("neon"+name, arguments, doc, bytes)
	n.op("MOVD x+0(FP), R0")
	n.op("MOVD n+8(FP), R2")
	if squares {
		n.op("FMOVD mean+16(FP), F28")
		n.op("VDUP V28.D[0], V28.D2")
	}
	n.zero(29)
	n.zero(30)
	n.loop(func() {
		n.op("VLD1.P 16(R0), [V1.S4]")
		n.word("FCVTL", 2, 1)
		n.word("FCVTL2", 3, 1)
		for i, sum := range []int{29, 30} {
			if squares {
				n.word("FSUB2D", 2+i, 2+i, 28)
				n.op("VFMLA V%d.D2, V%d.D2, V%d.D2", 2+i, 2+i, sum)
			} else {
				n.word("FADD2D", sum, sum, 2+i)
			}
		}
	})
	n.total(result)
}

// total returns the sum of the four float64 in V29 and V30.
func (n *neon) total(result string) {
	n.word("FADD2D", 29, 29, 30)
	n.word("FADDPD", 0, 29)
	n.op("FMOVD F0, %s(FP)", result)
	n.op("RET")
}

func (n *neon) normalize() {
	n.begin("neonNormalize", "(dst, x *float32, n int, mean, scale float32, weight, bias *float32, offset float32)",
		"writes (x-mean)*scale*(offset+weight)+bias; a nil weight or bias is left out.", 52)
	for i, argument := range []string{"dst+0", "x+8", "n+16"} {
		n.op("MOVD %s(FP), R%d", argument, i)
	}
	n.op("MOVD weight+32(FP), R3")
	n.op("MOVD bias+40(FP), R4")
	n.spread("mean+24", 28)
	n.spread("scale+28", 29)
	n.spread("offset+48", 30)
	n.loop(func() {
		n.op("VLD1.P 16(R1), [V0.S4]")
		n.word("FSUB", 0, 0, 28)
		n.word("FMUL", 0, 0, 29)
		n.op("CBZ R3, unweighted")
		n.op("VLD1.P 16(R3), [V1.S4]")
		n.word("FADD", 1, 1, 30)
		n.word("FMUL", 0, 0, 1)
		n.label("unweighted")
		n.op("CBZ R4, unbiased")
		n.op("VLD1.P 16(R4), [V1.S4]")
		n.word("FADD", 0, 0, 1)
		n.label("unbiased")
		n.op("VST1.P [V0.S4], 16(R0)")
	})
	n.op("RET")
}

func (n *neon) rope() {
	n.begin("neonRope", "(x, y, cos, sin *float32, n int)", "turns the pairs (x, y).", 40)
	n.op("MOVD x+0(FP), R0")
	n.op("MOVD y+8(FP), R1")
	n.op("MOVD cos+16(FP), R3")
	n.op("MOVD sin+24(FP), R4")
	n.op("MOVD n+32(FP), R2")
	n.loop(func() {
		n.op("VLD1 (R0), [V0.S4]")
		n.op("VLD1 (R1), [V1.S4]")
		n.op("VLD1.P 16(R3), [V2.S4]")
		n.op("VLD1.P 16(R4), [V3.S4]")
		n.word("FMUL", 4, 0, 2)
		n.multiplySubtract(4, 1, 3)
		n.word("FMUL", 5, 0, 3)
		n.multiplyAdd(5, 1, 2)
		n.op("VST1.P [V4.S4], 16(R0)")
		n.op("VST1.P [V5.S4], 16(R1)")
	})
	n.op("RET")
}

// round generates a conversion to bfloat16, nearest, ties to even, a NaN stays a
// NaN: the rounded bits are the upper halves of V1.
func (n *neon) round(name, arguments string, store func()) {
	n.begin("neon"+name, arguments, "rounds x to bfloat16.", 24)
	for i, argument := range []string{"dst+0", "x+8", "n+16"} {
		n.op("MOVD %s(FP), R%d", argument, i)
	}
	for i, bits := range []uint32{1, 0x7fff, 1 << 22, 0xffff0000} {
		n.op("MOVW $0x%08x, R19", bits)
		n.op("VDUP R19, V%d.S4", 28+i)
	}
	n.loop(func() {
		n.op("VLD1.P 16(R1), [V0.S4]")
		n.op("VUSHR $16, V0.S4, V2.S4")
		n.op("VAND V28.B16, V2.B16, V2.B16")
		n.op("VADD V29.S4, V2.S4, V2.S4")
		n.op("VADD V0.S4, V2.S4, V2.S4")
		n.op("VORR V30.B16, V0.B16, V3.B16")
		n.word("FCMEQ", 1, 0, 0)
		n.choose(1, 2, 3)
		store()
	})
	n.op("RET")
}

func (n *neon) roundHalf() {
	n.round("RoundHalf", "(dst *uint16, x *float32, n int)", func() {
		n.word("SHRN16", 1, 1)
		n.op("VST1.P [V1.H4], 8(R0)")
	})
}

func (n *neon) roundSingle() {
	n.round("RoundSingle", "(dst, x *float32, n int)", func() {
		n.op("VAND V31.B16, V1.B16, V1.B16")
		n.op("VST1.P [V1.S4], 16(R0)")
	})
}

func (n *neon) widen(name, instruction string) {
	n.begin("neon"+name, "(dst *float32, x *uint16, n int)", "converts to float32.", 24)
	for i, argument := range []string{"dst+0", "x+8", "n+16"} {
		n.op("MOVD %s(FP), R%d", argument, i)
	}
	n.loop(func() {
		n.op("VLD1.P 8(R1), [V0.H4]")
		n.word(instruction, 0, 0)
		n.op("VST1.P [V0.S4], 16(R0)")
	})
	n.op("RET")
}

func (n *neon) transpose() {
	n.begin("neonTranspose", "(dst *byte, dstStep int, src *byte, srcStride, n int)",
		"copies column c of 4 rows of n words to dst + c*dstStep.", 40)
	n.op("MOVD dst+0(FP), R0")
	n.op("MOVD dstStep+8(FP), R1")
	n.op("MOVD src+16(FP), R3")
	n.op("MOVD srcStride+24(FP), R7")
	n.op("MOVD n+32(FP), R2")
	for r := 4; r < 7; r++ { // R3 to R6 are the rows
		n.op("ADD R7, R%d, R%d", r-1, r)
	}
	n.loop(func() {
		for r := range 4 {
			n.op("VLD1.P 16(R%d), [V%d.S4]", 3+r, r)
		}
		zip := func(upper, x, y, to int) { n.op("VZIP%d V%d.S4, V%d.S4, V%d.S4", 1+upper, y, x, to) }
		for i := range 4 { // V4, V5: rows 0 and 2; V6, V7: rows 1 and 3
			zip(i%2, i/2, i/2+2, 4+i)
		}
		for c := range 4 {
			zip(c%2, 4+c/2, 6+c/2, 8+c)
			n.op("VST1 [V%d.S4], (R0)", 8+c)
			n.op("ADD R1, R0")
		}
	})
	n.op("RET")
}
