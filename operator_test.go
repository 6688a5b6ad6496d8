package steer

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestOperators(t *testing.T) {
	// The component of (3, 4, 5) along (2, 0, 0) is (3, 0, 0).
	activation, vector := []float32{3, 4, 5}, []float32{2, 0, 0}
	for _, test := range []struct {
		name string
		want [3]float32
	}{
		{"add", [3]float32{2, 0, 0}},
		{"ablate", [3]float32{-3, 0, 0}},
		{"ablate-then-add", [3]float32{-1, 0, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			operator, err := ParseOperator(test.name)
			if err != nil {
				t.Fatal(err)
			}
			delta := make([]float32, 3)
			operator.Delta(delta, activation, vector)
			if [3]float32(delta) != test.want {
				t.Errorf("delta %v, want %v", delta, test.want)
			}
		})
	}
	_, err := ParseOperator("subtract")
	checkError(t, err, `unknown operator "subtract": it is one of add, ablate, ablate-then-add`)
}

func TestAblationLeavesNothingAlongTheVectorWhateverItsLength(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const width = 1000
	activation, vector := make([]float32, width), make([]float32, width)
	for i := range width {
		activation[i], vector[i] = random.Float32()*20-5, random.Float32()-0.3
	}
	for _, multiplier := range []float32{1, -3, 1e-6, 1e15} {
		scaled, delta := make([]float32, width), make([]float32, width)
		for i, v := range vector {
			scaled[i] = multiplier * v
		}
		Ablate().Delta(delta, activation, scaled)
		var along, length float64
		for i, v := range vector {
			along += float64(activation[i]+delta[i]) * float64(v)
			length += float64(v) * float64(v)
		}
		if along /= math.Sqrt(length); math.Abs(along) > 1e-5 {
			t.Errorf("multiplier %g: %g is left along the vector", multiplier, along)
		}
	}
}

func TestOperatorsSayWhatAZeroVectorMeans(t *testing.T) {
	for _, test := range []struct {
		operator Operator
		err      string
	}{
		{Add(), ""},
		{Ablate(), "it is zero: it has no direction to ablate"},
		{AblateThenAdd(), "it is zero: it has no direction to ablate"},
	} {
		acts, err := test.operator.Check([]float32{0, 0})
		if test.err != "" {
			checkError(t, err, test.err)
		} else if acts || err != nil {
			t.Errorf("%s acts: %v, %v", test.operator.Name(), acts, err)
		}
	}
}
