package finite

import (
	"math"
	"testing"
)

func BenchmarkAll(b *testing.B) {
	x := make([]float32, 49152)
	for b.Loop() {
		if !All(x) {
			b.Fatal("zeros are finite")
		}
	}
}

func TestWhatIsNotFiniteIsFound(t *testing.T) {
	for _, test := range []struct {
		x    []float32
		want string
	}{
		{nil, ""},
		{[]float32{0, -math.MaxFloat32, math.MaxFloat32, 1e-45}, ""},
		{[]float32{1, float32(math.NaN()), float32(math.Inf(1))}, "element 1 is NaN"},
		{[]float32{float32(math.Inf(-1)), 2}, "element 0 is -Inf"},
		{[]float32{0, 1, 2, 3, 4, 5, float32(math.NaN()), 7, 8}, "element 6 is NaN"},
		{[]float32{0, 1, 2, 3, float32(math.Inf(1)), float32(math.Inf(-1)), 6, 7}, "element 4 is +Inf"},
	} {
		got := ""
		if err := Check(test.x); err != nil {
			got = err.Error()
		}
		if got != test.want || All(test.x) != (test.want == "") {
			t.Errorf("%v: %q, want %q", test.x, got, test.want)
		}
	}
}
