package linear

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestABasisIsOrthonormalAndHoldsWhatItSpans(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	var basis Basis
	var rows [][]float64
	for range 5 {
		row := make([]float64, 9)
		for i := range row {
			row[i] = random.NormFloat64() * math.Exp(20*random.Float64())
		}
		rows = append(rows, append([]float64{}, row...))
		if !basis.Extend(row, 1e-9) {
			t.Fatal("a row that is apart from the others is not taken")
		}
	}
	for i, a := range basis {
		for j, b := range basis {
			product, want := 0.0, 0.0
			for k := range a {
				product += a[k] * b[k]
			}
			if i == j {
				want = 1
			}
			if math.Abs(product-want) > 1e-12 {
				t.Errorf("vectors %d and %d have the product %v", i, j, product)
			}
		}
	}
	for i, row := range rows {
		if before, after := basis.Remove(append([]float64{}, row...)); after > 1e-12*before {
			t.Errorf("of row %d a share of %v is left", i, after/before)
		}
		if basis.Extend(row, 1e-9) {
			t.Errorf("row %d is taken twice", i)
		}
	}
	for name, x := range map[string][]float64{"zero": make([]float64, 9), "infinite": {math.Inf(1), 0, 0, 0, 0, 0, 0, 0, 0}} {
		if basis.Extend(x, 0) {
			t.Errorf("a vector that is %s is taken", name)
		}
	}
}
