package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

var lengths = []int{0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 257, 576}

// near reports whether got is want up to a relative error, or an absolute one
// near zero.
func near(got float32, want, relative, absolute float64) bool {
	if math.IsNaN(want) || math.IsInf(want, 0) || math.Abs(want) > math.MaxFloat32 {
		return math.IsNaN(float64(got)) == math.IsNaN(want) && (math.IsNaN(want) || math.Signbit(want) == math.Signbit(float64(got)))
	}
	return math.Abs(float64(got)-want) <= relative*math.Abs(want)+absolute
}

// awkward are numbers at which functions of one argument go wrong.
func awkward(random *rand.Rand) []float32 {
	x := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 1e-40, -1e-40, 1e-8, 0.3, 0.624, 0.626, -0.625, 5, -5, 9, 14, -13.9, -14.1, 20, -20, 87, 88.7, -87, -103, -110, 300, -300, 1e30, -1e30,
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}
	for range 3000 {
		x = append(x, float32(random.NormFloat64()*math.Exp(2*random.NormFloat64())))
	}
	return x
}

func TestActivationsAreThoseOfFloat64(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		x := awkward(rand.New(rand.NewPCG(3, 1)))
		for _, test := range []struct {
			name string
			kind Activation
			want func(x float64) float64
		}{
			{"SiLU", SiLU, func(x float64) float64 { return x / (1 + math.Exp(-x)) }},
			{"GELU", GELU, func(x float64) float64 { return 0.5 * x * math.Erfc(-x/math.Sqrt2) }},
			{"GELUTanh", GELUTanh, func(x float64) float64 {
				return x / (1 + math.Exp(-2*math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
			}},
			{"ReLU", ReLU, func(x float64) float64 { return max(x, 0) }},
			{"ReLU2", ReLU2, func(x float64) float64 { return float64(float32(max(x, 0) * max(x, 0))) }},
			{"QuickGELU", QuickGELU, func(x float64) float64 { return x / (1 + math.Exp(-1.702*x)) }},
		} {
			got := slices.Clone(x)
			Activate(test.kind, got)
			gated, up := slices.Clone(x), make([]float32, len(x))
			for i := range up {
				up[i] = 2
			}
			ActivateGated(test.kind, gated, up)
			for i, v := range x {
				want := test.want(float64(v))
				if math.IsInf(float64(v), -1) {
					continue // 0 or NaN, by how it is computed
				}
				if !near(got[i], want, 1e-6, 1e-7) {
					t.Fatalf("%s(%v) is %v, want %v", test.name, v, got[i], want)
				}
				if !near(gated[i], 2*want, 1e-6, 2e-7) {
					t.Fatalf("gated %s(%v) is %v, want %v", test.name, v, gated[i], 2*want)
				}
			}
		}
	})
}

func TestXIELUIsThatOfFloat64(t *testing.T) {
	a := XIELU{Positive: 0.8, Negative: 0.9, Beta: 0.5, Epsilon: -1e-6}
	x := []float32{-100, -3, -1, -1e-3, -1e-7, 0, 1e-7, 1e-3, 1, 3, 100}
	got := slices.Clone(x)
	a.Activate(got)
	for i, v := range x {
		x := float64(v)
		want := 0.8*x*x + 0.5*x
		if x <= 0 {
			want = (math.Expm1(min(x, -1e-6))-x)*0.9 + 0.5*x
		}
		if !near(got[i], want, 1e-6, 1e-7) {
			t.Errorf("xIELU(%v) is %v, want %v", v, got[i], want)
		}
	}
}

func TestSoftCapIsATanh(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		x := awkward(rand.New(rand.NewPCG(3, 2)))
		got := slices.Clone(x)
		SoftCap(got, 30)
		for i, v := range x {
			if want := 30 * math.Tanh(float64(v)/30); !near(got[i], want, 1e-6, 0) && !(math.Abs(want) < 1e-37) {
				t.Fatalf("30*tanh(%v/30) is %v, want %v", v, got[i], want)
			}
		}
	})
}

func TestSoftmaxAndLogSumExpAreThoseOfFloat64(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(3, 3))
		for _, n := range lengths[1:] {
			x := make([]float32, n)
			fill(random, x)
			Scale(x, 10)
			var total float64
			for _, v := range x {
				total += math.Exp(float64(v))
			}
			if got := LogSumExp(x); !near(got, math.Log(total), 1e-6, 1e-6) {
				t.Errorf("log-sum-exp of %d is %v, want %v", n, got, math.Log(total))
			}
			got := slices.Clone(x)
			Softmax(got)
			for i, v := range x {
				if want := math.Exp(float64(v)) / total; !near(got[i], want, 1e-5, 1e-38) {
					t.Fatalf("softmax of %d: element %d is %v, want %v", n, i, got[i], want)
				}
			}
		}
	})
}

func TestNormsAreThoseOfFloat64(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(3, 4))
		for _, n := range lengths[1:] {
			x, weight, bias := make([]float32, n), make([]float32, n), make([]float32, n)
			fill(random, x, weight, bias)
			for i := range x {
				x[i] = x[i]*3 + 5
			}
			var mean, square, variance float64
			for _, v := range x {
				mean += float64(v) / float64(n)
				square += float64(v) * float64(v) / float64(n)
			}
			for _, v := range x {
				variance += (float64(v) - mean) * (float64(v) - mean) / float64(n)
			}
			rms, layer, plain := make([]float32, n), make([]float32, n), slices.Clone(x)
			RMSNorm(rms, x, weight, 1e-5, 1)
			LayerNorm(layer, x, weight, bias, 1e-5)
			RMSNorm(plain, plain, nil, 1e-5, 0)
			for i, v := range x {
				if want := float64(v) / math.Sqrt(square+1e-5) * (1 + float64(weight[i])); !near(rms[i], want, 1e-6, 1e-6) {
					t.Fatalf("rms norm of %d: element %d is %v, want %v", n, i, rms[i], want)
				}
				if want := (float64(v)-mean)/math.Sqrt(variance+1e-5)*float64(weight[i]) + float64(bias[i]); !near(layer[i], want, 2e-6, 4e-6) {
					t.Fatalf("layer norm of %d: element %d is %v, want %v", n, i, layer[i], want)
				}
				if want := float64(v) / math.Sqrt(square+1e-5); !near(plain[i], want, 1e-6, 0) {
					t.Fatalf("norm in place of %d: element %d is %v, want %v", n, i, plain[i], want)
				}
			}
		}
	})
}

func TestVectorsAreAddedScaledAndTurned(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(3, 5))
		for _, n := range lengths {
			x, y := make([]float32, n+1), make([]float32, n+1)
			fill(random, x, y)
			sum := slices.Clone(y)
			AddScaled(sum[:n], x, 0.5)
			scaled := slices.Clone(x)
			Scale(scaled[:n], 3)
			for i := range n {
				if !near(sum[i], float64(y[i])+0.5*float64(x[i]), 1e-6, 1e-7) || scaled[i] != 3*x[i] {
					t.Fatalf("%d elements: wrong at %d", n, i)
				}
			}
			if sum[n] != y[n] || scaled[n] != x[n] {
				t.Fatalf("%d elements: wrote beyond", n)
			}
			cos, sin, pairs := make([]float32, n), make([]float32, n), make([]float32, 2*n+1)
			fill(random, cos, sin, pairs)
			for _, interleaved := range []bool{false, true} {
				got := slices.Clone(pairs)
				Rope(got, cos, sin, interleaved)
				for i := range n {
					a, b := i, i+n
					if interleaved {
						a, b = 2*i, 2*i+1
					}
					wantA := float64(pairs[a])*float64(cos[i]) - float64(pairs[b])*float64(sin[i])
					wantB := float64(pairs[b])*float64(cos[i]) + float64(pairs[a])*float64(sin[i])
					if !near(got[a], wantA, 1e-6, 1e-6) || !near(got[b], wantB, 1e-6, 1e-6) {
						t.Fatalf("rope of %d pairs: wrong at %d", n, i)
					}
				}
				if got[2*n] != pairs[2*n] {
					t.Fatalf("rope of %d pairs wrote beyond", n)
				}
			}
		}
	})
}

func TestRoundingGivesTheNearestBFloat16(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		x := awkward(rand.New(rand.NewPCG(3, 6)))
		for upper := range uint32(1 << 16) { // each number, what lies next to it, and halfway
			for _, lower := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
				x = append(x, math.Float32frombits(upper<<16|lower))
			}
		}
		got := make([]uint16, len(x))
		RoundBF16(got, x)
		single := slices.Clone(x)
		roundSingle(single)
		for i, v := range x {
			if got[i] != bfloat16.Round(v) || math.Float32bits(single[i]) != uint32(bfloat16.Round(v))<<16 {
				t.Fatalf("%v becomes %#x and %v, want %#x", v, got[i], single[i], bfloat16.Round(v))
			}
		}
	})
}

// Vectors of every length are computed without memory of their own, and those
// that are only read are not written to, as others may read them too.
func TestVectorsNeitherAllocateNorWriteWhatTheyRead(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, n := range lengths[1:] {
			x, y := make([]float32, n), make([]float32, n)
			fill(rand.New(rand.NewPCG(3, 7)), x, y)
			var group sync.WaitGroup
			for range 4 { // under the race detector a write shows
				group.Go(func() {
					LogSumExp(x)
					maximum(x)
				})
			}
			group.Wait()
			if allocations := testing.AllocsPerRun(20, func() {
				Scale(y, 1)
				AddScaled(y, x, 0)
				LogSumExp(x)
				Activate(SiLU, y)
			}); allocations > 0.5 {
				t.Errorf("%d elements: %v allocations", n, allocations)
			}
		}
	})
}
