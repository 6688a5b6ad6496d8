package steer_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/steervec/steer"
)

// noise returns a vector of random rows at layers 0 and 4.
func noise(random *rand.Rand, rank, width int) *steer.Vector {
	v := &steer.Vector{Rank: rank, Layers: map[int][]float32{}}
	for _, layer := range []int{0, 4} {
		for range max(1, rank) * width {
			v.Layers[layer] = append(v.Layers[layer], float32(random.NormFloat64()))
		}
	}
	return v
}

func dot(a, b []float32) (sum float64) {
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// What is orthogonalised has no part in any of the others, and what was taken away
// lies in the space that they span.
func TestOrthogonalisingLeavesNothingOfTheOthers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const width = 24
	for range 20 {
		v, a, b := noise(random, 0, width), noise(random, 0, width), noise(random, 3, width)
		got, err := v.Orthogonalise(a, b)
		if err != nil {
			t.Fatal(err)
		}
		for layer, values := range got.Layers {
			rows := [][]float32{a.Layers[layer], b.Layers[layer][:width], b.Layers[layer][width : 2*width], b.Layers[layer][2*width:]}
			for r, row := range rows {
				if d := dot(values, row); math.Abs(d) > 1e-5 {
					t.Fatalf("layer %d: the product with row %d is %g", layer, r, d)
				}
			}
			taken := make([]float32, width)
			for i := range taken {
				taken[i] = v.Layers[layer][i] - values[i]
			}
			if d := dot(taken, values); math.Abs(d) > 1e-5 {
				t.Fatalf("layer %d: what was taken is not orthogonal to what is left: %g", layer, d)
			}
		}
		again, err := got.Orthogonalise(a, b)
		if err != nil {
			t.Fatal(err)
		}
		if cosines, err := again.Cosine(got); err != nil || math.Abs(cosines[4]-1) > 1e-12 {
			t.Fatalf("a second time it turns: %v (%v)", cosines, err)
		}
	}
}

// The principal directions are orthonormal, and no other direction holds more of the
// rows than the first.
func TestPrincipalDirectionsHoldTheMost(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const width = 10
	vectors := []*steer.Vector{noise(random, 0, width), noise(random, 2, width), noise(random, 0, width)}
	got, err := steer.Principal(3, vectors...)
	if err != nil {
		t.Fatal(err)
	}
	if got.Rank != 3 || got.Operator != "ablate" || len(got.Layers[4]) != 3*width {
		t.Fatalf("rank %d, operator %q, %d elements", got.Rank, got.Operator, len(got.Layers[4]))
	}
	held := func(direction []float32) (sum float64) {
		for _, v := range vectors {
			for rows := v.Layers[4]; len(rows) > 0; rows = rows[width:] {
				d := dot(rows[:width], direction)
				sum += d * d
			}
		}
		return sum
	}
	row := func(n int) []float32 { return got.Layers[4][n*width : (n+1)*width] }
	for a := range 3 {
		for b := range 3 {
			want := 0.0
			if a == b {
				want = 1
			}
			if d := dot(row(a), row(b)); math.Abs(d-want) > 1e-6 {
				t.Errorf("the product of directions %d and %d is %g", a, b, d)
			}
		}
		if a > 0 && held(row(a)) > held(row(a-1)) {
			t.Errorf("direction %d holds more than the one before", a)
		}
	}
	for range 200 {
		other, err := noise(random, 0, width).Normalise()
		if err != nil {
			t.Fatal(err)
		}
		if held(other.Layers[4]) > held(row(0)) {
			t.Fatal("another direction holds more than the first")
		}
	}
	if one, err := steer.Principal(1, vectors...); err != nil || one.Rank != 0 || one.Operator != "" {
		t.Errorf("one direction is of rank %d and acts as %q (%v)", one.Rank, one.Operator, err)
	}
}

func TestSpacesMakeTheSmallestOfTheirAngles(t *testing.T) {
	plane := &steer.Vector{Rank: 2, Layers: map[int][]float32{1: {1, 0, 0, 1, 1, 0}}}
	for name, test := range map[string]struct {
		row  []float32
		want float64
	}{
		"in the plane":   {[]float32{-3, 1, 0}, 1},
		"out of it":      {[]float32{0, 0, 2}, 0},
		"half out of it": {[]float32{0, 1, 1}, math.Sqrt2 / 2},
	} {
		cosines, err := plane.Cosine(&steer.Vector{Layers: map[int][]float32{1: test.row}})
		if err != nil || math.Abs(cosines[1]-test.want) > 1e-12 {
			t.Errorf("%s: %v (%v), want %v", name, cosines, err, test.want)
		}
	}
}

func TestAveragesAreMeans(t *testing.T) {
	a := &steer.Vector{Layers: map[int][]float32{2: {1, 2}}}
	b := &steer.Vector{Layers: map[int][]float32{2: {3, -6}}}
	got, err := steer.Average(a, b, a)
	if err != nil {
		t.Fatal(err)
	}
	if want := float32(5) / 3; got.Layers[2][0] != want || got.Layers[2][1] != float32(-2)/3 {
		t.Errorf("the mean is %v", got.Layers[2])
	}
	rows, err := (&steer.Vector{Rank: 2, Layers: map[int][]float32{2: {3, 4, 0, 2}}}).Normalise()
	if err != nil || rows.Layers[2][0] != 0.6 || rows.Layers[2][3] != 1 {
		t.Errorf("normalised row by row it is %v (%v)", rows.Layers[2], err)
	}
}
