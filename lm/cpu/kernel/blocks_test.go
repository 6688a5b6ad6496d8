package kernel

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// storedBlocks are the types of blocks as package gguf knows them.
var storedBlocks = map[Stored]gguf.Type{
	StoredQ4_0: gguf.Q4_0, StoredQ4_1: gguf.Q4_1, StoredQ5_0: gguf.Q5_0, StoredQ5_1: gguf.Q5_1, StoredQ8_0: gguf.Q8_0,
	StoredQ2_K: gguf.Q2_K, StoredQ3_K: gguf.Q3_K, StoredQ4_K: gguf.Q4_K, StoredQ5_K: gguf.Q5_K, StoredQ6_K: gguf.Q6_K,
	StoredIQ4_NL: gguf.IQ4_NL, StoredMXFP4: gguf.MXFP4,
}

// halvesAt are where the scales of a block are that are halves; what else is in a
// block may be any bits.
var halvesAt = map[Stored][]int{
	StoredQ4_0: {0}, StoredQ4_1: {0, 2}, StoredQ5_0: {0}, StoredQ5_1: {0, 2}, StoredQ8_0: {0}, StoredIQ4_NL: {0},
	StoredQ2_K: {80, 82}, StoredQ3_K: {108}, StoredQ4_K: {0, 2}, StoredQ5_K: {0, 2}, StoredQ6_K: {208},
}

// eachBlock runs a test with every type of blocks.
func eachBlock(t *testing.T, test func(t *testing.T, stored Stored)) {
	for stored := range storedTypes {
		if stored.block() != nil {
			t.Run(storedBlocks[stored].String(), func(t *testing.T) { test(t, stored) })
		}
	}
}

// randomBlocks makes rows of blocks of random bits, with scales of either sign.
func randomBlocks(random *rand.Rand, stored Stored, rows, in int) View {
	data := make([]byte, rows*stored.Bytes(in))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	for b := 0; b < len(data); b += stored.block().bytes {
		for _, at := range halvesAt[stored] {
			order.PutUint16(data[b+at:], uint16(random.IntN(2)<<15|random.IntN(3<<10)+9<<10))
		}
		if stored == StoredMXFP4 {
			data[b] = byte(120 + random.IntN(12))
		}
	}
	return View{Data: data, Type: stored, Rows: rows, Cols: in, RowStride: in, ColStride: 1}
}

// widths are numbers of inputs: of one block, an odd number, many.
func widths(stored Stored) []int {
	n := stored.block().elements
	return []int{n, 3 * n, 2048/n*n + 3*n}
}

// Packed rows are, to the bit, the numbers that package gguf expands the blocks to;
// also in another order, and stacked with rows of other types.
func TestPackedBlocksAreTheirNumbers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 3))
	eachSet(t, func(t *testing.T) {
		eachBlock(t, func(t *testing.T, stored Stored) {
			for _, in := range widths(stored) {
				const rows = 83
				v := randomBlocks(random, stored, rows, in)
				want := make([]float32, rows*in)
				storedBlocks[stored].Expand(want, v.Data)
				turned := v
				turned.Order = func(row int) int { return rows - 1 - row }
				floats := View{Type: StoredF32, Rows: 3, Cols: in, RowStride: in, ColStride: 1, Data: bytesOf(wordsOf(want[:3*in]))}
				for _, precision := range []Precision{F32, BF16} {
					m := Pack(precision, v.Slice(2, rows-2), floats, turned.Every(1, 2, 20))
					row := make([]float32, in)
					same := func(r, of int) {
						m.Row(r, row)
						for i, got := range row {
							if math.Float32bits(got) != math.Float32bits(want[of*in+i]) {
								t.Fatalf("%s, %d inputs, row %d: element %d is %v, want %v", precision, in, r, i, got, want[of*in+i])
							}
						}
					}
					for r := range rows - 2 {
						same(r, r+2)
					}
					for r := range 20 {
						same(rows-2+3+r, rows-1-(1+2*r))
					}
				}
			}
		})
	})
}

// A packed matrix takes no more memory than its blocks, but for outputs that fill
// up a unit of 16, and inputs one of 64.
func TestPackedBlocksAreNoLargerThanStored(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 4))
	eachBlock(t, func(t *testing.T, stored Stored) {
		const rows, in = 48, 1024
		v := randomBlocks(random, stored, rows, in)
		if got := Pack(BF16, v).Bytes(); got != len(v.Data) {
			t.Errorf("%d bytes for %d", got, len(v.Data))
		}
	})
}

// Products with blocks are those of float64 with the same numbers: with float32
// activations to rounding, with integers to what the integers leave out. A row has
// the same bits alone, and with integers the same bits with every instruction set.
func TestProductsWithBlocksAreRight(t *testing.T) {
	shapes := []struct{ rows, out int }{{1, 69}, {2, 130}, {3, 5}, {4, 64}, {6, 65}, {5, 16}, {13, 70}}
	eachBlock(t, func(t *testing.T, stored Stored) {
		random := rand.New(rand.NewPCG(2, uint64(stored)))
		for i, shape := range shapes {
			in := widths(stored)[i%3]
			rows, out := shape.rows, shape.out
			v := randomBlocks(random, stored, out, in)
			weights := make([]float32, out*in)
			storedBlocks[stored].Expand(weights, v.Data)
			x, bias := make([]float32, rows*in), make([]float32, out)
			fill(random, x, bias)
			x[random.IntN(len(x))] *= 300 // activations have outliers
			if i%2 == 0 {
				bias = nil
			}
			var first []float32
			eachSet(t, func(t *testing.T) {
				for _, precision := range []Precision{F32, BF16} {
					got := make([]float32, rows*out+1)
					got[rows*out] = 3
					w := Pack(precision, v)
					Product(got, x, rows, w, bias)
					if got[rows*out] != 3 {
						t.Fatalf("%s %v: wrote beyond the result", precision, shape)
					}
					for r := range rows {
						if r%8 == 0 {
							alone := make([]float32, out)
							Product(alone, x[r*in:(r+1)*in], 1, w, bias)
							if !slices.Equal(alone, got[r*out:(r+1)*out]) {
								t.Fatalf("%s %v: row %d has other bits alone", precision, shape, r)
							}
						}
						for o := range out {
							want, size, left := 0.0, 1.0, 0.0
							if bias != nil {
								want = float64(bias[o])
							}
							for from := 0; from < in; from += 32 {
								most := 0.0
								for _, v := range x[r*in+from:][:32] {
									most = max(most, math.Abs(float64(v)))
								}
								for k := from; k < from+32; k++ {
									v, w := float64(x[r*in+k]), float64(weights[o*in+k])
									want += v * w
									size += math.Abs(v * w)
									left += math.Abs(w) * most / mostInteger / 2
								}
							}
							bound := 4e-6 * size // chains of float32 are as long as a row
							if precision == BF16 {
								// What scales times q and minima cancel is rounded as well.
								bound = 1e-6*size + left + 2e-6*cancelled(x[r*in:(r+1)*in], weights[o*in:(o+1)*in])
							}
							if d := math.Abs(float64(got[r*out+o]) - want); !(d <= bound) {
								t.Fatalf("%s %v, %d inputs: row %d output %d is %v, want %v within %v", precision, shape, in, r, o, got[r*out+o], want, bound)
							}
						}
					}
					if precision == BF16 {
						if first == nil {
							first = got
						}
						if !slices.Equal(got, first) {
							t.Fatalf("%v, %d inputs: other bits than with the first instruction set", shape, in)
						}
					}
				}
			})
		}
	})
}

// Products with integers have the same bits on processors of every kind: here they are
// held to what all are to give, so that two that run different tests agree.
func TestProductsWithBlocksHaveTheSameBitsEverywhere(t *testing.T) {
	want := map[Stored]uint64{
		StoredQ4_0: 0xf699757218f64331, StoredQ4_1: 0x117be612630c4819, StoredQ5_0: 0x22dddbd1a0f668a, StoredQ5_1: 0xa481addc3f5a9931,
		StoredQ8_0: 0xc2e74b3b4265194b, StoredQ2_K: 0x5c2f8ed634f9427f, StoredQ3_K: 0xb023728934f4960c, StoredQ4_K: 0x99931d5ec720f88a,
		StoredQ5_K: 0x17871fe58152c42f, StoredQ6_K: 0xe8aec02f690354ec, StoredIQ4_NL: 0x1f9711b97e75dd1e, StoredMXFP4: 0xe4bbb68c0e7fc226,
	}
	eachSet(t, func(t *testing.T) {
		eachBlock(t, func(t *testing.T, stored Stored) {
			random := rand.New(rand.NewPCG(5, uint64(stored)))
			const rows, out = 7, 37
			in := widths(stored)[1]
			x := make([]float32, rows*in)
			for i := range x {
				x[i] = float32(random.IntN(1<<20)-1<<19) / (1 << 18)
			}
			got := make([]float32, rows*out)
			Product(got, x, rows, Pack(BF16, randomBlocks(random, stored, out, in)), nil)
			digest := fnv.New64a()
			digest.Write(bytesOf(wordsOf(got)))
			if sum := digest.Sum64(); sum != want[stored] {
				t.Errorf("the digest is %#x, want %#x", sum, want[stored])
			}
		})
	})
}

// cancelled bounds the parts of a product that may cancel: a weight is scale·q less
// a minimum, of which either may be as large as the largest weight of its block.
func cancelled(x, w []float32) (sum float64) {
	for from := 0; from < len(x); from += 32 {
		most := 0.0
		for _, v := range w[from : from+32] {
			most = max(most, math.Abs(float64(v)))
		}
		for _, v := range x[from : from+32] {
			sum += 2 * most * math.Abs(float64(v))
		}
	}
	return sum
}

// The largest activations with the largest weights stay within 32 bits; zeros stay
// zeros, the smallest numbers vanish, and what is not finite shows in its row alone.
func TestProductsWithBlocksAtTheEdges(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	eachSet(t, func(t *testing.T) {
		eachBlock(t, func(t *testing.T, stored Stored) {
			in := widths(stored)[1]
			v := randomBlocks(rand.New(rand.NewPCG(3, 1)), stored, 16, in)
			for b := 0; b < len(v.Data); b += stored.block().bytes {
				for i := range stored.block().bytes {
					v.Data[b+i] = []byte{0x00, 0xff, 0x80, 0x7f}[b/stored.block().bytes%4]
				}
				for _, at := range halvesAt[stored] {
					order.PutUint16(v.Data[b+at:], 0x3c00)
				}
				if stored == StoredMXFP4 {
					v.Data[b] = 127
				}
			}
			weights := make([]float32, 16*in)
			storedBlocks[stored].Expand(weights, v.Data)
			w := Pack(BF16, v)
			for _, c := range []float32{0, 1, -1, 3e38, -3e38, 1e-40, inf, nan} {
				x := make([]float32, 2*in)
				for i := range in {
					x[i] = c
					x[in+i] = 1
				}
				got := make([]float32, 2*16)
				Product(got, x, 2, w, nil)
				for o, g := range got[:16] {
					sum, size := 0.0, 0.0
					for _, v := range weights[o*in : (o+1)*in] {
						sum += float64(v)
						size += math.Abs(float64(v))
					}
					switch c64 := float64(c); {
					case math.IsInf(c64, 0) || c != c:
						if !math.IsNaN(float64(g)) {
							t.Fatalf("%v gives %v", c, g)
						}
					case c == 1e-40:
						if math.Abs(float64(g)) > 1e-37*size {
							t.Fatalf("%v gives %v", c, g)
						}
					default:
						want := sum * c64
						if float64(float32(want)) != want && math.IsInf(float64(float32(want)), 0) {
							continue // the sum is too large
						}
						if c == 3e38 || c == -3e38 {
							continue // parts of the sum may be too large
						}
						if d := math.Abs(float64(g) - want); d > 1e-4*size*math.Abs(c64) {
							t.Fatalf("%v gives %v, want %v", c, g, want)
						}
					}
				}
				for o, g := range got[16:] {
					if g != g {
						t.Fatalf("the row beside one of %v has output %d not finite", c, o)
					}
				}
			}
		})
	})
}

// Integers are the nearest multiples of the scale, and the same with every set.
func TestActivationsBecomeIntegers(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 1))
	for _, size := range []float32{1, 1e-30, 1e-38, 1e30, 0} {
		for _, n := range []int{32, 1, 33, 100, 256} {
			x := make([]float32, n)
			fill(random, x)
			for i := range x {
				x[i] *= size
			}
			blocks := (n + 31) / 32
			var first []uint32
			eachSet(t, func(t *testing.T) {
				got := make([]uint32, blocks*integerBlock)
				prepareIntegers(got, x)
				if first == nil {
					first = got
				}
				if !slices.Equal(first, got) {
					t.Fatalf("%d of size %v: other bits than with the first instruction set", n, size)
				}
				for i, v := range x {
					block := got[i/32*integerBlock:]
					scale := float64(math.Float32frombits(block[scaleWord]))
					if d := math.Abs(float64(integerOf(block, i%32))*scale - float64(v)); d > 0.501*scale {
						t.Fatalf("%v becomes %d times %v", v, integerOf(block, i%32), scale)
					}
				}
			})
		}
	}
}
