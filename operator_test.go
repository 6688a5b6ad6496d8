package steer

import "testing"

// The three operators of the reference have names here; what they do is held by
// package operators.
func TestOperatorsOfTheReference(t *testing.T) {
	// The component of (3, 4, 5) along (2, 0, 0) is (3, 0, 0).
	activation, vector := []float32{3, 4, 5}, []float32{2, 0, 0}
	for _, test := range []struct {
		name     string
		operator Operator
		want     [3]float32
	}{
		{"add", Add(), [3]float32{2, 0, 0}},
		{"ablate", Ablate(), [3]float32{-3, 0, 0}},
		{"ablate-then-add", AblateThenAdd(), [3]float32{-1, 0, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			operator, err := ParseOperator(test.name)
			if err != nil || operator != test.operator {
				t.Fatalf("it is read as %v (%v)", operator, err)
			}
			prepared, err := operator.Prepare(vector, 3)
			if err != nil {
				t.Fatal(err)
			}
			delta := make([]float32, 3)
			operator.Delta(delta, activation, prepared)
			if [3]float32(delta) != test.want {
				t.Errorf("delta %v, want %v", delta, test.want)
			}
		})
	}
}
