package exact

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
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
			s, want := New(2), new(big.Rat)
			var numbers []float32
			for range n {
				x := number()
				numbers = append(numbers, x)
				want.Add(want, new(big.Rat).SetFloat64(float64(x)))
				s.Add(0, x)
				s.Add(1, -x)
				s.Added()
			}
			got, err := s.Values()
			rounded, _ := want.Float64()
			if err != nil || got[0] != rounded || got[1] != -rounded {
				t.Errorf("%s, %d of them: %v (%v), want %v", name, n, got, err, rounded)
			}
			for _, x := range numbers { // now nothing is left
				s.Add(0, -x)
				s.Add(1, x)
				s.Added()
			}
			if got, err := s.Values(); err != nil || got[0] != 0 || got[1] != 0 {
				t.Errorf("%s, %d of them and their negatives: %v (%v)", name, n, got, err)
			}
		}
	}
}

// The loop over differences does what adding them one by one does.
func TestExactSumsOfDifferences(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	const width = 50
	loop, single := Sums{width: width}, Sums{width: width}
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
			single.Add(i, a[i]-b[i])
		}
		single.Added()
		loop.AddDifferences(a, b)
	}
	x, err := loop.Values()
	y, err2 := single.Values()
	if err != nil || err2 != nil || !slices.Equal(x, y) {
		t.Errorf("the sums differ (%v, %v)", err, err2)
	}
	a[7] = float32(math.Inf(1))
	loop.AddDifferences(a, b)
	if _, err := loop.Values(); err == nil {
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
		a, b := New(1), New(1)
		for _, i := range random.Perm(n) {
			part := &a
			if random.IntN(2) == 0 {
				part = &b
			}
			part.Add(0, numbers[i])
			part.Added()
		}
		a.Merge(&b)
		got, err := a.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		back := New(1)
		if err := back.Read(got); err != nil || !slices.Equal(got, want) {
			t.Fatalf("another form, or it does not come back: %v", err)
		}
		x, _ := a.Values()
		if y, err := back.Values(); err != nil || !slices.Equal(x, y) {
			t.Fatalf("%v came back as %v (%v)", x, y, err)
		}
	}
}

func TestExactSumsRememberWhatIsNotFinite(t *testing.T) {
	for _, x := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		s, other := New(1), New(1)
		other.Add(0, x)
		other.Added()
		s.Merge(&other)
		if v, err := s.Values(); err == nil {
			t.Errorf("a sum with %v is %v", x, v)
		}
	}
}
