package steer

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/floats"
)

// Sums of any float32 numbers are those of rational arithmetic, rounded once;
// also past many carries, and of numbers that cancel.
func TestExactSumsAreExact(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	kinds := map[string]func() float32{
		"any bits": func() float32 {
			for {
				if x := math.Float32frombits(random.Uint32()); x-x == 0 {
					return x
				}
			}
		},
		"the largest":  func() float32 { return math.MaxFloat32 },
		"the smallest": func() float32 { return -math.SmallestNonzeroFloat32 },
		"ordinary":     func() float32 { return float32(random.NormFloat64()) },
	}
	for name, number := range kinds {
		for _, n := range []int{1, 2, 253, 254, 255, 3000} {
			s, want := exactSums{width: 2}, new(big.Rat)
			var numbers []float32
			for range n {
				x := number()
				numbers = append(numbers, x)
				want.Add(want, new(big.Rat).SetFloat64(float64(x)))
				s.add(0, x)
				s.add(1, -x)
				s.added()
			}
			got, err := s.values()
			rounded, _ := want.Float64()
			if err != nil || got[0] != rounded || got[1] != -rounded {
				t.Errorf("%s, %d of them: %v (%v), want %v", name, n, got, err, rounded)
			}
			for _, x := range numbers { // now nothing is left
				s.add(0, -x)
				s.add(1, x)
				s.added()
			}
			if got, err := s.values(); err != nil || got[0] != 0 || got[1] != 0 {
				t.Errorf("%s, %d of them and their negatives: %v (%v)", name, n, got, err)
			}
		}
	}
}

// The loop over differences does what adding them one by one does.
func TestExactSumsOfDifferences(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	const width = 50
	loop, single := exactSums{width: width}, exactSums{width: width}
	a, b := make([]float32, width), make([]float32, width)
	for range 600 {
		for i := range a {
			a[i], b[i] = float32(random.NormFloat64()), float32(random.NormFloat64())
			switch random.IntN(4) {
			case 0:
				a[i] = math.Float32frombits(random.Uint32() &^ (1 << 30)) // small, also below the normal range
			case 1:
				a[i] = b[i]
			}
			single.add(i, a[i]-b[i])
		}
		single.added()
		loop.addDifferences(a, b)
	}
	x, err := loop.values()
	y, err2 := single.values()
	if err != nil || err2 != nil || !slices.Equal(x, y) {
		t.Errorf("the sums differ (%v, %v)", err, err2)
	}
	a[7] = float32(math.Inf(1))
	loop.addDifferences(a, b)
	if _, err := loop.values(); err == nil {
		t.Error("an infinite difference is a number")
	}
}

// Equal sums have equal bytes however they were reached, and come back from them.
func TestExactSumsHaveOneForm(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	const n = 700
	numbers := make([]float32, n)
	for i := range numbers {
		numbers[i] = float32(random.NormFloat64() * math.Ldexp(1, random.IntN(200)-100))
	}
	var want []byte
	for range 10 {
		a, b := exactSums{width: 1}, exactSums{width: 1}
		for _, i := range random.Perm(n) {
			part := &a
			if random.IntN(2) == 0 {
				part = &b
			}
			part.add(0, numbers[i])
			part.added()
		}
		a.merge(&b)
		got, err := a.appendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		back := exactSums{width: 1}
		if err := back.read(got); err != nil || !slices.Equal(got, want) {
			t.Fatalf("another form, or it does not come back: %v", err)
		}
		x, _ := a.values()
		if y, err := back.values(); err != nil || !slices.Equal(x, y) {
			t.Fatalf("%v came back as %v (%v)", x, y, err)
		}
	}
}

func TestExactSumsRememberWhatIsNotFinite(t *testing.T) {
	for _, x := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		s, other := exactSums{width: 1}, exactSums{width: 1}
		other.add(0, x)
		other.added()
		s.merge(&other)
		if v, err := s.values(); err == nil {
			t.Errorf("a sum with %v is %v", x, v)
		}
	}
}

// Every part of where statistics come from keeps them apart.
func TestOriginsDifferInEveryPart(t *testing.T) {
	base := origin{Layers: []int{1}, Widths: []int{8}}
	for name, change := range map[string]func(o *origin){
		"family":          func(o *origin) { o.Family = "x" },
		"weights":         func(o *origin) { o.WeightsHash = "x" },
		"number format":   func(o *origin) { o.DType = "x" },
		"instruction set": func(o *origin) { o.Instructions = "x" },
		"steering":        func(o *origin) { o.Steering = "x" },
		"layer type":      func(o *origin) { o.Site = "x" },
		"layers":          func(o *origin) { o.Layers = []int{2} },
		"widths":          func(o *origin) { o.Widths = []int{9} },
		"aggregator":      func(o *origin) { o.Aggregator = "x" },
		"reading":         func(o *origin) { o.Read = "x" },
	} {
		other := base
		change(&other)
		checkError(t, base.differs(other), name)
	}
	checkError(t, base.differs(base), "")
}

func BenchmarkMean(b *testing.B) {
	const width = 4096
	random := rand.New(rand.NewPCG(3, 3))
	positive, negative := make([]float32, width), make([]float32, width)
	for i := range width {
		positive[i], negative[i] = float32(random.NormFloat64()), float32(random.NormFloat64())
	}
	b.Run("exact", func(b *testing.B) {
		a := Mean().New(width)
		for b.Loop() {
			a.Add(positive, negative)
		}
	})
	b.Run("float64", func(b *testing.B) { // what a sum that rounds would cost
		sum := make([]float64, width)
		for b.Loop() {
			for i := range sum {
				sum[i] += float64(positive[i]) - float64(negative[i])
			}
		}
	})
}

func BenchmarkScatter(b *testing.B) {
	const width = 576
	random := rand.New(rand.NewPCG(3, 3))
	row := make([]float32, width)
	for i := range row {
		row[i] = float32(random.NormFloat64())
	}
	b.Run("integers", func(b *testing.B) {
		var s scatter
		for b.Loop() {
			s.fold(row)
		}
	})
	b.Run("float64", func(b *testing.B) { // what a matrix that rounds would cost
		sums, wide := make([]float64, width*width), widen(make([]float64, width), row)
		for b.Loop() {
			for i, v := range wide {
				floats.AddScaled(sums[i*width:(i+1)*width], v, wide)
			}
		}
	})
}
