package operators

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/engine"
)

// made is an operator with a vector and what it is to do, as the formula says it,
// in float64.
type made struct {
	text    string
	rows    [][]float64
	formula func(h []float64, rows [][]float64) []float64

	idempotent bool // twice is once
	keepsNorm  bool
	fixed      func(h []float64, rows [][]float64) float64 // what must be the same whatever the activation; nil: nothing
}

const width = 24

// everyOperator is each operator with parameters of each sort.
func everyOperator(r *rand.Rand) []made {
	some := func(n int) (rows [][]float64) {
		for range n {
			rows = append(rows, normal(r))
		}
		return rows
	}
	matrix := some(width + 2)
	one, two, three, five := some(1), some(2), some(3), some(5)
	component := func(h []float64, rows [][]float64) float64 { return along(h, rows[0]) }
	slerpTo := func(share float64) func(h []float64, rows [][]float64) []float64 {
		return func(h []float64, rows [][]float64) []float64 {
			a, b := unit(h), unit(rows[0])
			angle := math.Acos(product(a, b))
			return times(plus(times(a, math.Sin((1-share)*angle)), times(b, math.Sin(share*angle))), size(h)/math.Sin(angle))
		}
	}
	return []made{
		{text: "add", rows: one, formula: func(h []float64, rows [][]float64) []float64 { return plus(h, rows[0]) }},
		{text: "add-same-norm", rows: one, keepsNorm: true, formula: func(h []float64, rows [][]float64) []float64 {
			sum := plus(h, rows[0])
			return times(sum, size(h)/size(sum))
		}},
		{text: "add-same-norm:only=grown", rows: one, formula: func(h []float64, rows [][]float64) []float64 {
			sum := plus(h, rows[0])
			return times(sum, min(1, size(h)/size(sum)))
		}},
		{text: "add-nearest", rows: three, formula: func(h []float64, rows [][]float64) []float64 {
			nearest := rows[0]
			for _, row := range rows {
				if product(unit(row), h) > product(unit(nearest), h) {
					nearest = row
				}
			}
			return plus(h, nearest)
		}},
		{text: "ablate", rows: three, idempotent: true, formula: removed(1), fixed: component},
		{text: "ablate:share=0.3", rows: three, formula: removed(0.3)},
		{text: "ablate-then-add", rows: one, idempotent: true, fixed: component, formula: func(h []float64, rows [][]float64) []float64 {
			return plus(removed(1)(h, rows), rows[0])
		}},
		{text: "ablate-positive", rows: one, idempotent: true, formula: removedAbove(0, 1)},
		{text: "ablate-positive:share=0.5", rows: one, formula: removedAbove(0, 0.5)},
		{text: "clamp:at=0.7", rows: one, idempotent: true, fixed: component, formula: clamped(0.7, 0.7)},
		{text: "clamp:floor=0.1", rows: one, idempotent: true, formula: clamped(0.1, math.Inf(1))},
		{text: "clamp:ceiling=-0.1", rows: one, idempotent: true, formula: clamped(math.Inf(-1), -0.1)},
		{text: "clamp:floor=-0.2,ceiling=0.1", rows: one, idempotent: true, formula: clamped(-0.2, 0.1)},
		{text: "rotate:by=30", rows: two, keepsNorm: true, formula: turned(30, false, false)},
		{text: "rotate:by=-200,only=positive", rows: two, keepsNorm: true, formula: turned(-200, false, true)},
		{text: "rotate:to=75", rows: two, keepsNorm: true, idempotent: true, formula: turned(75, true, false),
			fixed: func(h []float64, rows [][]float64) float64 {
				a, b := plane(rows)
				return math.Atan2(product(h, b), product(h, a))
			}},
		{text: "rotate:to=10,only=positive", rows: two, keepsNorm: true, idempotent: true, formula: turned(10, true, true)},
		{text: "slerp:share=0.25", rows: one, keepsNorm: true, formula: slerpTo(0.25)},
		{text: "slerp:share=1", rows: one, keepsNorm: true, idempotent: true, formula: slerpTo(1)},
		{text: "multiply:by=2.5", rows: two, formula: removed(-1.5)},
		{text: "multiply:by=0", rows: two, idempotent: true, fixed: component, formula: removed(1)},
		{text: "affine", rows: two, formula: func(h []float64, rows [][]float64) []float64 {
			out := slices.Clone(rows[1])
			for i := range out {
				out[i] += rows[0][i] * h[i]
			}
			return out
		}},
		{text: "transport", rows: matrix, formula: func(h []float64, rows [][]float64) []float64 {
			out := slices.Clone(rows[1])
			for i := range out {
				out[i] += product(rows[2+i], plus(h, times(rows[0], -1)))
			}
			return out
		}},
		{text: "leace", rows: five, formula: func(h []float64, rows [][]float64) []float64 {
			out := h
			for j := range 2 {
				out = plus(out, times(rows[3+j], -product(rows[1+j], plus(h, times(rows[0], -1)))))
			}
			return out
		}},
		{text: "leace", rows: oblique(five), idempotent: true, formula: func(h []float64, rows [][]float64) []float64 {
			return plus(h, times(rows[2], -product(rows[1], plus(h, times(rows[0], -1)))))
		}, fixed: func(h []float64, rows [][]float64) float64 { return product(h, rows[1]) }},
	}
}

func TestOperatorsDoWhatTheirFormulasSay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for _, test := range everyOperator(r) {
		t.Run(test.text, func(t *testing.T) {
			operator, prepared := test.prepare(t)
			var fixed []float64
			for range 20 {
				h := normal(r)
				got, want := apply(operator, prepared, h), test.formula(h, test.rows)
				if d := distance(got, want); d > 1e-5 {
					t.Fatalf("it is %g from the formula", d)
				}
				if again := apply(operator, prepared, got); test.idempotent && distance(again, got) > 1e-5 {
					t.Errorf("the second time it moves by %g", distance(again, got))
				}
				if test.keepsNorm && math.Abs(size(got)/size(h)-1) > 1e-6 {
					t.Errorf("length %g became %g", size(h), size(got))
				}
				if test.fixed != nil {
					fixed = append(fixed, test.fixed(got, test.rows))
				}
			}
			for _, x := range fixed {
				if math.Abs(x-fixed[0]) > 1e-5 {
					t.Errorf("%g once and %g once", fixed[0], x)
				}
			}
		})
	}
}

// Every operator prints what it was read from, and allocates nothing for a token.
func TestOperatorsAreValuesWithNames(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	seen := map[string]bool{}
	for _, test := range everyOperator(r) {
		operator, prepared := test.prepare(t)
		if operator.Name() != test.text {
			t.Errorf("%s is named %s", test.text, operator.Name())
		}
		if again, err := Parse(operator.Name()); err != nil || again != operator {
			t.Errorf("%s is read as %v (%v)", operator.Name(), again, err)
		}
		h, delta := narrow(normal(r)), make([]float32, width)
		if n := testing.AllocsPerRun(5, func() { operator.Delta(delta, h, prepared) }); n > 0 {
			t.Errorf("%s allocates %v times", test.text, n)
		}
		name, _, _ := strings.Cut(test.text, ":")
		seen[name] = true
	}
	for _, name := range names() {
		if !seen[name] {
			t.Errorf("%s is not among the tests", name)
		}
	}
	for text, want := range map[string]string{"ablate:share=1": "ablate", "clamp:floor=2,ceiling=2": "clamp:at=2", "rotate:to=0": "rotate:to=0"} {
		if operator, err := Parse(text); err != nil || operator.Name() != want {
			t.Errorf("%s is named %v (%v)", text, operator, err)
		}
	}
}

func TestWhatIsNoOperatorIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"subtract":                  `unknown operator "subtract": it is one of add, add-same-norm, add-nearest, ablate`,
		"ablate:":                   `"" is not one KEY=VALUE; it is written ablate[:share=0…1]`,
		"ablate:share":              `"share" is not one KEY=VALUE`,
		"ablate:share=2":            "the share 2 is not from 0 to 1",
		"ablate:share=x":            "share=x is not a number",
		"ablate:share=NaN":          "share=NaN is not a number",
		"ablate:part=1":             `there is no parameter "part"`,
		"ablate:share=1,share=0.5":  "not one KEY=VALUE",
		"add:share=1":               `there is no parameter "share"`,
		"add-same-norm:only=shrunk": "only=shrunk is unknown",
		"clamp":                     "neither floor nor ceiling is given",
		"clamp:floor=2,ceiling=1":   "the floor is above the ceiling",
		"clamp:at=1,floor=0":        `there is no parameter "floor"`,
		"clamp:floor=inf":           "floor=inf is not a number",
		"rotate":                    "by is missing",
		"rotate:by=1,to=2":          `there is no parameter "by"`,
		"slerp":                     "share is missing",
		"multiply":                  "by is missing",
	} {
		if operator, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", text, operator, err, want)
		}
	}
}

// Rows that an operator does not ask for, and rows without a direction, are errors;
// what would change nothing is idle.
func TestVectorsThatDoNotFitAreRefused(t *testing.T) {
	rows := func(values ...float32) []float32 { return values }
	for _, test := range []struct {
		operator engine.Operator
		vector   []float32 // width 2
		want     string    // "": idle
	}{
		{Add(), rows(0, 0), ""},
		{Add(), rows(1, 2, 3, 4), "it has 2 rows; the operator needs 1"},
		{Add(), rows(1, 2, 3), "it has 3 elements, for a width of 2"},
		{AddSameNorm(false), rows(0, 0), ""},
		{AddNearest(), rows(0, 0, 0, 0), ""},
		{AddNearest(), rows(1, 2, 0, 0), "a row is zero"},
		{AddNearest(), nil, "needs one or more rows"},
		{Ablate(1), rows(0, 0), "it is zero: it has no direction"},
		{Ablate(1), rows(1, 0, 0, 0), "row 1 is zero"},
		{Ablate(1), nil, "needs one or more rows"},
		{Ablate(0), rows(1, 0), ""},
		{Ablate(2), rows(1, 0), "the share 2 is not from 0 to 1"},
		{AblateThenAdd(), rows(0, 0), "it has no direction"},
		{AblatePositive(0), rows(1, 1), ""},
		{AblatePositive(1), rows(0, 0), "it has no direction"},
		{Clamp(1, 1), rows(0, 0), "it has no direction"},
		{Clamp(math.Inf(-1), math.Inf(1)), rows(1, 0), "neither floor nor ceiling"},
		{Rotate(90, false), rows(1, 2), "it has 1 row; the operator needs 2"},
		{Rotate(90, false), rows(1, 2, 2, 4), "parallel"},
		{Rotate(360, false), rows(1, 0, 0, 1), ""},
		{Slerp(0), rows(1, 0), ""},
		{Slerp(math.NaN()), rows(1, 0), "the share NaN"},
		{Multiply(1), rows(1, 0), ""},
		{Affine(), rows(1, 1, 0, 0), ""},
		{Affine(), rows(1, 1), "scales and shifts"},
		{Transport(), rows(3, 4, 3, 4, 1, 0, 0, 1), ""},
		{Transport(), rows(3, 4, 3, 4), "needs 4"},
		{LEACE(), rows(1, 1, 1, 1, 0, 0), ""},
		{LEACE(), rows(1, 1), "1 + 2k"},
		{LEACE(), rows(1, 1, 1, 1), "1 + 2k"},
	} {
		prepared, err := test.operator.Prepare(test.vector, 2)
		switch {
		case test.want == "" && (prepared != nil || err != nil):
			t.Errorf("%s with %v is not idle: %v, %v", test.operator.Name(), test.vector, prepared, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s with %v: %v, want %q", test.operator.Name(), test.vector, err, test.want)
		}
	}
}

// What cannot be turned or rescaled stays finite.
func TestActivationsAtTheEdgeStayFinite(t *testing.T) {
	for _, test := range []struct {
		text         string
		vector, h, w []float32
	}{
		{"add-same-norm", []float32{-1, 2}, []float32{1, -2}, []float32{0, 0}},
		{"add-same-norm", []float32{1, 2}, []float32{0, 0}, []float32{0, 0}},
		{"slerp:share=0.5", []float32{1, 2}, []float32{0, 0}, []float32{0, 0}},
		{"slerp:share=0.5", []float32{1, 0}, []float32{-3, 0}, []float32{-3, 0}},
		{"slerp:share=0.5", []float32{2, 0}, []float32{3, 0}, []float32{3, 0}},
		{"rotate:to=90", []float32{1, 0, 0, 1}, []float32{0, 0}, []float32{0, 0}},
		{"ablate", []float32{1e-38, 0}, []float32{3, 4}, []float32{0, 4}},
		{"ablate", []float32{3e38, 0}, []float32{3, 4}, []float32{0, 4}},
		{"ablate", []float32{1, 1, 1, 1.0000001}, []float32{3, 1}, []float32{1, -1}},
	} {
		operator, err := Parse(test.text)
		if err != nil {
			t.Fatal(err)
		}
		prepared, err := operator.Prepare(test.vector, 2)
		if err != nil {
			t.Fatal(err)
		}
		delta := make([]float32, 2)
		operator.Delta(delta, test.h, prepared)
		for i := range delta {
			if got := test.h[i] + delta[i]; math.Abs(float64(got-test.w[i])) > 1e-6 {
				t.Errorf("%s of %v makes of %v element %d %v, want %v", test.text, test.vector, test.h, i, got, test.w[i])
			}
		}
	}
}

// Of a map, the multiplier is how much of the way it goes.
func TestMapsGoPartOfTheWay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	maps := 0
	for _, test := range everyOperator(r) {
		operator, prepared := test.prepare(t)
		for _, by := range []float64{0, 0.5, -2} {
			blended, is := Blend(operator, flat(test.rows), width, by)
			if !is {
				continue
			}
			maps++
			part, err := operator.Prepare(blended, width)
			if err != nil || (part == nil) != (by == 0) {
				t.Fatalf("%s times %v: %v", test.text, by, err)
			}
			if by == 0 {
				continue
			}
			h := normal(r)
			want := plus(times(h, 1-by), times(apply(operator, prepared, h), by))
			if d := distance(apply(operator, part, h), want); d > 1e-4 {
				t.Errorf("%s times %v is off by %g", test.text, by, d)
			}
		}
	}
	if maps == 0 {
		t.Error("there are none")
	}
}

func (m made) prepare(t *testing.T) (engine.Operator, []float32) {
	t.Helper()
	operator, err := Parse(m.text)
	if err != nil {
		t.Fatal(err)
	}
	vector := flat(m.rows)
	prepared, err := operator.Prepare(slices.Clone(vector), width)
	if err != nil || prepared == nil {
		t.Fatalf("prepared %v, %v", prepared, err)
	}
	return operator, prepared
}

// apply returns what an operator makes of an activation, in float32 but for the
// last sum.
func apply(o engine.Operator, prepared []float32, h []float64) []float64 {
	delta := make([]float32, len(h))
	o.Delta(delta, narrow(h), prepared)
	out := slices.Clone(h)
	for i, d := range delta {
		out[i] += float64(d)
	}
	return out
}

// removed takes a share of what lies in the span of the rows.
func removed(share float64) func(h []float64, rows [][]float64) []float64 {
	return func(h []float64, rows [][]float64) []float64 {
		// the least squares solution of rowsᵀx = h, by its normal equations
		x := solve(rows, h)
		out := h
		for j, row := range rows {
			out = plus(out, times(row, -share*x[j]))
		}
		return out
	}
}

// removedAbove takes a share of the component where it is above a bound.
func removedAbove(bound, share float64) func(h []float64, rows [][]float64) []float64 {
	return func(h []float64, rows [][]float64) []float64 {
		return plus(h, times(rows[0], -share*max(0, along(h, rows[0])-bound)))
	}
}

func clamped(floor, ceiling float64) func(h []float64, rows [][]float64) []float64 {
	return func(h []float64, rows [][]float64) []float64 {
		c := along(h, rows[0])
		return plus(h, times(rows[0], min(max(c, floor), ceiling)-c))
	}
}

// plane returns an orthonormal basis of two rows, along the first.
func plane(rows [][]float64) (a, b []float64) {
	a = unit(rows[0])
	return a, unit(plus(rows[1], times(a, -product(a, rows[1]))))
}

func turned(degrees float64, to, positive bool) func(h []float64, rows [][]float64) []float64 {
	return func(h []float64, rows [][]float64) []float64 {
		a, b := plane(rows)
		x, y := product(h, a), product(h, b)
		if positive && x <= 0 {
			return h
		}
		angle := math.Atan2(y, x) + degrees*math.Pi/180
		if to {
			angle = degrees * math.Pi / 180
		}
		rest := plus(plus(h, times(a, -x)), times(b, -y))
		length := math.Sqrt(x*x + y*y)
		return plus(rest, plus(times(a, length*math.Cos(angle)), times(b, length*math.Sin(angle))))
	}
}

// oblique returns the rows of an erasure that is a projection: what is taken away
// reads as one.
func oblique(rows [][]float64) [][]float64 {
	return [][]float64{rows[0], rows[1], times(rows[2], 1/product(rows[1], rows[2]))}
}

// solve returns the x for which the rows, each times its element, come closest to h.
func solve(rows [][]float64, h []float64) []float64 {
	n := len(rows)
	a := make([][]float64, n)
	for i := range a {
		for j := range rows {
			a[i] = append(a[i], product(rows[i], rows[j]))
		}
		a[i] = append(a[i], product(rows[i], h))
	}
	for i := range a {
		for k := range a {
			if k != i {
				a[k] = plus(a[k], times(a[i], -a[k][i]/a[i][i]))
			}
		}
	}
	x := make([]float64, n)
	for i := range x {
		x[i] = a[i][n] / a[i][i]
	}
	return x
}

func normal(r *rand.Rand) []float64 {
	x := make([]float64, width)
	for i := range x {
		x[i] = float64(float32(r.NormFloat64()))
	}
	return x
}

func product(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

func size(a []float64) float64     { return math.Sqrt(product(a, a)) }
func unit(a []float64) []float64   { return times(a, 1/size(a)) }
func along(a, b []float64) float64 { return product(a, b) / product(b, b) }

func plus(a, b []float64) []float64 {
	out := slices.Clone(a)
	for i, x := range b {
		out[i] += x
	}
	return out
}

func times(a []float64, by float64) []float64 {
	out := slices.Clone(a)
	for i := range out {
		out[i] *= by
	}
	return out
}

func distance(a, b []float64) float64 { return size(plus(a, times(b, -1))) / max(1, size(b)) }

func flat(rows [][]float64) (out []float32) {
	for _, row := range rows {
		out = append(out, narrow(row)...)
	}
	return out
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

// What can be read is printed as what is read again.
func FuzzParse(f *testing.F) {
	for _, k := range kinds {
		f.Add(k.name())
	}
	for _, text := range []string{"ablate:share=0.5", "clamp:floor=-1,ceiling=1e300", "rotate:to=-0,only=positive", "multiply:by=0x1p-3"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		operator, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(operator.Name())
		if err != nil || again != operator {
			t.Fatalf("%q is named %s, which is read as %v, %v", text, operator.Name(), again, err)
		}
	})
}
