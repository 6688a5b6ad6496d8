package aggregators_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/steervec/steer/aggregators"
)

// recipes are aggregators of every kind and option, for widths that heads of two
// divide.
func recipes() []aggregators.Aggregator {
	return []aggregators.Aggregator{
		aggregators.Mean(), aggregators.MeanCentred(), aggregators.Logistic(aggregators.LogisticOptions{}), aggregators.Discriminant(),
		aggregators.PCA(aggregators.PCAOptions{}), aggregators.PCA(aggregators.PCAOptions{Rank: 2}),
		aggregators.PCA(aggregators.PCAOptions{Centred: aggregators.CentredDifferences}),
		aggregators.PCA(aggregators.PCAOptions{Centred: aggregators.CentredActivations}),
		aggregators.KMeans(2), aggregators.Heads(aggregators.HeadOptions{Top: 2, Size: 2}), aggregators.Heads(aggregators.HeadOptions{Top: 1, Size: 2, Probe: true}),
		aggregators.LinearAcT(), aggregators.Transport(), aggregators.LEACE(),
		aggregators.Func("first", func(positive, _ [][]float32) ([]float32, error) { return positive[0], nil }),
	}
}

// randomRows are n samples whose positive side is 1 above the negative one in the mean.
func randomRows(random *rand.Rand, n, width int) [][2][]float32 {
	rows := make([][2][]float32, n)
	for i := range rows {
		for side := range rows[i] {
			for range width {
				rows[i][side] = append(rows[i][side], float32(random.NormFloat64())+float32(1-side))
			}
		}
	}
	return rows
}

// wildRows hold numbers whose sum depends on the order in which they are added, also
// in double precision.
func wildRows(random *rand.Rand, n, width int) [][2][]float32 {
	rows := randomRows(random, n, width)
	for _, row := range rows {
		for side := range row {
			for i := range row[side] {
				row[side][i] *= float32(math.Ldexp(1, random.IntN(120)-60))
			}
		}
	}
	return rows
}

// directionOf adds all rows and returns the direction.
func directionOf(t *testing.T, a aggregators.Aggregator, rows [][2][]float32) []float32 {
	t.Helper()
	width := len(rows[0][0])
	accumulator := a.New(width)
	for _, r := range rows {
		accumulator.Add(r[0], r[1])
	}
	direction, err := accumulator.Direction()
	if err != nil {
		t.Fatalf("%s: %v", a.Name(), err)
	}
	return direction
}

func near(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !(math.Abs(float64(got[i])-want[i]) <= tolerance) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestNamesAreReadAsTheyAreWritten(t *testing.T) {
	for _, a := range recipes() {
		if a.Name() == "first" {
			continue
		}
		again, err := aggregators.Parse(a.Name())
		if err != nil || !reflect.DeepEqual(reflect.TypeOf(again), reflect.TypeOf(a)) || again.Name() != a.Name() {
			t.Errorf("%s is read as %v, %v", a.Name(), again, err)
		}
	}
	for text, want := range map[string]string{
		"median": "unknown aggregator", "pca:rank=0": "rank=0", "pca:centred=none": "centred=none", "mean:C=1": `no parameter "C"`,
		"logistic:C=-1": "C=-1", "logistic:C": "KEY=VALUE", "logistic:C=1,C=2": "KEY=VALUE", "kmeans:k=two": "k=two", "pca:": "KEY=VALUE",
	} {
		if a, err := aggregators.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, %v; want an error with %q", text, a, err, want)
		}
	}
}

// Stopping, keeping the state and going on gives the same bits as one go, also
// where PCA changes from rows to a scatter matrix.
func TestAccumulatorsContinueFromTheirBinaryForm(t *testing.T) {
	const width = 8
	for _, a := range recipes() {
		for _, n := range []int{1, 5, 7, 8, 9, 20} {
			rows := randomRows(rand.New(rand.NewPCG(3, uint64(n))), n, width)
			whole, part := a.New(width), a.New(width)
			for i, r := range rows {
				whole.Add(r[0], r[1])
				part.Add(r[0], r[1])
				data, err := part.MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				part = a.New(width)
				if err := part.UnmarshalBinary(data); err != nil {
					t.Fatalf("%s after %d: %v", a.Name(), i+1, err)
				}
			}
			want, err := whole.Direction()
			got, err2 := part.Direction()
			if fmt.Sprint(err) != fmt.Sprint(err2) || n >= 5 && err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s of %d: %v (%v), want %v (%v)", a.Name(), n, got, err2, want, err)
			}
		}
	}
}

// Whatever the order of the samples and however they are split among
// accumulators, merged in any order and stopped on the way, the direction has the
// same bits.
func TestDirectionsDependOnTheSetOfSamplesAlone(t *testing.T) {
	const width = 6
	random := rand.New(rand.NewPCG(4, 4))
	for _, a := range recipes() {
		for _, n := range []int{1, 2, 5, 13, 40} {
			// The wildest numbers are for the exact sums; a regression would not converge on them.
			rows := randomRows(random, n, width)
			if slices.Contains([]string{"mean", "mean-centred", "first"}, a.Name()) {
				rows = wildRows(random, n, width)
			}
			if _, ok := a.(aggregators.Unpaired); ok && n > 5 {
				rows[0][0], rows[1][0], rows[2][1], rows[3][1] = nil, nil, nil, nil
			}
			whole := a.New(width)
			for _, r := range rows {
				whole.Add(r[0], r[1])
			}
			want, wrong := whole.Direction()
			if n >= 5 && wrong != nil {
				t.Fatalf("%s of %d: %v", a.Name(), n, wrong)
			}
			bytes, err := whole.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				random.Shuffle(n, func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
				parts := make([]aggregators.Accumulator, 1+random.IntN(4))
				for i := range parts {
					parts[i] = a.New(width)
				}
				for _, r := range rows {
					parts[random.IntN(len(parts))].Add(r[0], r[1])
				}
				for len(parts) > 1 {
					i := random.IntN(len(parts) - 1)
					data, err := parts[i].MarshalBinary()
					if err != nil {
						t.Fatal(err)
					}
					parts[i] = a.New(width)
					if err := parts[i].UnmarshalBinary(data); err != nil {
						t.Fatal(err)
					}
					if err := parts[i].Merge(parts[len(parts)-1]); err != nil {
						t.Fatal(err)
					}
					parts = parts[:len(parts)-1]
				}
				got, err := parts[0].Direction()
				if fmt.Sprint(err) != fmt.Sprint(wrong) || !slices.Equal(got, want) {
					t.Fatalf("%s of %d: %v (%v), want %v (%v)", a.Name(), n, got, err, want, wrong)
				}
				if again, err := parts[0].MarshalBinary(); err != nil || !slices.Equal(again, bytes) || parts[0].Samples() != n {
					t.Fatalf("%s of %d: equal statistics have other bytes, or %d samples (%v)", a.Name(), n, parts[0].Samples(), err)
				}
			}
		}
	}
}

// Large products run on all cores; the bits stay.
func TestDirectionsDoNotDependOnTheCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, a := range []aggregators.Aggregator{aggregators.Discriminant(), aggregators.LEACE(), aggregators.Transport()} {
		for _, n := range []int{40, 300} { // fewer and more than the width
			rows := randomRows(rand.New(rand.NewPCG(9, 9)), n, 200)
			runtime.GOMAXPROCS(1)
			want := directionOf(t, a, rows)
			runtime.GOMAXPROCS(4)
			if got := directionOf(t, a, rows); !slices.Equal(got, want) {
				t.Errorf("%s of %d samples has other bits on four cores", a.Name(), n)
			}
		}
	}
}

// principal returns the eigenvectors of Σ xxᵀ over rows less a mean, by a full
// decomposition, the largest first.
func principal(t *testing.T, rows [][]float64, centred bool) [][]float64 {
	t.Helper()
	width := len(rows[0])
	mean := make([]float64, width)
	if centred {
		for _, r := range rows {
			floats.AddScaled(mean, 1/float64(len(rows)), r)
		}
	}
	scatter := mat.NewSymDense(width, nil)
	for _, r := range rows {
		x := slices.Clone(r)
		floats.Sub(x, mean)
		scatter.SymRankOne(scatter, 1, mat.NewVecDense(width, x))
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(scatter, true) {
		t.Fatal("no eigenvalues")
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	var out [][]float64
	for k := range width {
		out = append(out, mat.Col(nil, width-1-k, &vectors))
	}
	return out
}

// Few rows and many, whatever their lengths, give the components that a full
// decomposition gives, with the sign of the mean difference.
func TestComponentsAreThoseOfAFullDecomposition(t *testing.T) {
	const width = 12
	for _, n := range []int{9, 200} {
		random := rand.New(rand.NewPCG(6, 6))
		samples := randomRows(random, n, width)
		var deltas, both [][]float64
		mean := make([]float64, width)
		for _, r := range samples {
			factor := float32(math.Exp(random.NormFloat64() / 2))
			for i := range width {
				r[0][i] = r[0][i]*factor + factor*float32(i)
				r[1][i] *= factor
			}
			delta := make([]float64, width)
			for i := range delta {
				delta[i] = float64(r[0][i] - r[1][i])
			}
			floats.Add(mean, delta)
			deltas = append(deltas, delta)
			for _, side := range r {
				wide := make([]float64, width)
				for i, v := range side {
					wide[i] = float64(v)
				}
				both = append(both, wide)
			}
		}
		for _, test := range []struct {
			opts    aggregators.PCAOptions
			rows    [][]float64
			centred bool
		}{
			{aggregators.PCAOptions{Rank: 3}, deltas, false},
			{aggregators.PCAOptions{Centred: aggregators.CentredDifferences, Rank: 2}, deltas, true},
			{aggregators.PCAOptions{Centred: aggregators.CentredActivations, Rank: 2}, both, true},
		} {
			a := aggregators.PCA(test.opts)
			var want []float64
			for _, v := range principal(t, test.rows, test.centred)[:test.opts.Rank] {
				floats.Scale(math.Copysign(1, floats.Dot(v, mean)), v)
				want = append(want, v...)
			}
			near(t, fmt.Sprintf("%s of %d samples", a.Name(), n), directionOf(t, a, samples), want, 1e-5)
		}
	}
}

func TestTheMeanOfACorpusIsTakenAway(t *testing.T) {
	accumulator := aggregators.MeanCentred().New(2)
	for _, positive := range [][]float32{{1, 2}, {3, 6}} {
		accumulator.Add(positive, nil)
	}
	if _, err := accumulator.Direction(); err == nil {
		t.Error("there is a direction without a corpus")
	}
	for _, neutral := range [][]float32{{0, 1}, {1, 1}, {2, 1}} {
		accumulator.Add(nil, neutral)
	}
	direction, err := accumulator.Direction()
	if err != nil || !slices.Equal(direction, []float32{1, 3}) || accumulator.Samples() != 5 {
		t.Errorf("the direction of %d samples is %v, %v", accumulator.Samples(), direction, err)
	}
}

// sidesOf parts samples into their sides, [n][width] each.
func sidesOf(samples [][2][]float32) (sides [2][][]float64) {
	for _, r := range samples {
		for side, row := range r {
			wide := make([]float64, len(row))
			for i, v := range row {
				wide[i] = float64(v)
			}
			sides[side] = append(sides[side], wide)
		}
	}
	return sides
}

func meanOf(rows [][]float64) []float64 {
	mean := make([]float64, len(rows[0]))
	for _, r := range rows {
		floats.AddScaled(mean, 1/float64(len(rows)), r)
	}
	return mean
}

// ledoitWolf returns the shrunken covariance of rows that are centred already, by its
// definition: matrices and their norms written out.
func ledoitWolf(rows [][]float64) *mat.SymDense {
	n, width := float64(len(rows)), len(rows[0])
	s := mat.NewSymDense(width, nil)
	for _, r := range rows {
		s.SymRankOne(s, 1/n, mat.NewVecDense(width, r))
	}
	m := mat.Trace(s) / float64(width)
	frobenius := func(of func(i, k int) float64) (sum float64) {
		for i := range width {
			for k := range width {
				sum += of(i, k) * of(i, k)
			}
		}
		return sum
	}
	identity := func(i, k int) float64 {
		if i == k {
			return 1
		}
		return 0
	}
	distance := frobenius(func(i, k int) float64 { return s.At(i, k) - m*identity(i, k) })
	noise := 0.0
	for _, r := range rows {
		noise += frobenius(func(i, k int) float64 { return r[i]*r[k] - s.At(i, k) }) / (n * n)
	}
	share := min(noise, distance) / distance
	for i := range width {
		for k := i; k < width; k++ {
			s.SetSym(i, k, (1-share)*s.At(i, k)+share*m*identity(i, k))
		}
	}
	return s
}

func centredRows(rows [][]float64, mean []float64) (out [][]float64) {
	for _, r := range rows {
		c := slices.Clone(r)
		floats.Sub(c, mean)
		out = append(out, c)
	}
	return out
}

// stretched are samples whose elements vary by different amounts and together.
func stretched(random *rand.Rand, n, width int) [][2][]float32 {
	samples := randomRows(random, n, width)
	for _, r := range samples {
		for _, side := range r {
			for i := range side {
				side[i] *= float32(1 + i)
				if i > 0 {
					side[i] += side[i-1] / 2
				}
			}
		}
	}
	return samples
}

// The discriminant solves the system of the shrunken covariance, from either side.
func TestTheDiscriminantIsThatOfTheShrunkenCovariance(t *testing.T) {
	const width = 10
	for _, n := range []int{3, 60} {
		samples := stretched(rand.New(rand.NewPCG(2, uint64(n))), n, width)
		sides := sidesOf(samples)
		means := [2][]float64{meanOf(sides[0]), meanOf(sides[1])}
		covariance := ledoitWolf(append(centredRows(sides[0], means[0]), centredRows(sides[1], means[1])...))
		delta := slices.Clone(means[0])
		floats.Sub(delta, means[1])
		var want mat.VecDense
		if err := want.SolveVec(covariance, mat.NewVecDense(width, delta)); err != nil {
			t.Fatal(err)
		}
		direction := want.RawVector().Data
		floats.Scale(1/floats.Norm(direction, 2), direction)
		near(t, fmt.Sprintf("%d samples", n), directionOf(t, aggregators.Discriminant(), samples), direction, 1e-5)
	}
}

// After the erasure both sides have one mean, so that no linear probe tells them apart
// better than chance (LEACE, theorem 3.1).
func TestLEACELeavesNoMeanDifference(t *testing.T) {
	const width = 10
	for _, n := range []int{3, 60} {
		samples := stretched(rand.New(rand.NewPCG(3, uint64(n))), n, width)
		rows := directionOf(t, aggregators.LEACE(), samples)
		mean, reads, takes := rows[:width], rows[width:2*width], rows[2*width:]
		sides := sidesOf(samples)
		all := meanOf(append(slices.Clone(sides[0]), sides[1]...))
		near(t, "the mean", mean, all, 1e-5)
		erased := func(h []float64) []float64 {
			along := 0.0
			for i := range h {
				along += float64(reads[i]) * (h[i] - float64(mean[i]))
			}
			out := slices.Clone(h)
			for i := range out {
				out[i] -= along * float64(takes[i])
			}
			return out
		}
		var after [2][]float64
		for side := range sides {
			var moved [][]float64
			for _, h := range sides[side] {
				moved = append(moved, erased(h))
			}
			after[side] = meanOf(moved)
		}
		for i := range width {
			if d := after[0][i] - after[1][i]; math.Abs(d) > 1e-4 {
				t.Errorf("%d samples: element %d of the means differs by %g", n, i, d)
			}
		}
	}
}

// The map carries the mean and the covariance of the negative side to those of the
// positive one.
func TestTransportCarriesMeanAndCovariance(t *testing.T) {
	const width = 5
	for _, n := range []int{4, 80} {
		random := rand.New(rand.NewPCG(5, uint64(n)))
		samples := stretched(random, n, width)
		for _, r := range samples {
			for i := range r[1] {
				r[1][i] = float32(random.NormFloat64()) - r[1][i]/3
			}
		}
		rows := directionOf(t, aggregators.Transport(), samples)
		sides := sidesOf(samples)
		means := [2][]float64{meanOf(sides[0]), meanOf(sides[1])}
		near(t, "the mean of the negative side", rows[:width], means[1], 1e-5)
		near(t, "the mean of the positive side", rows[width:2*width], means[0], 1e-5)
		a := mat.NewDense(width, width, nil)
		for i, v := range rows[2*width:] {
			a.Set(i/width, i%width, float64(v))
		}
		var left, carried mat.Dense
		left.Mul(a, ledoitWolf(centredRows(sides[1], means[1])))
		carried.Mul(&left, a.T())
		want := ledoitWolf(centredRows(sides[0], means[0]))
		if !mat.EqualApprox(&carried, want, 1e-4*mat.Norm(want, 2)) {
			t.Errorf("%d samples: the covariance becomes\n%v\nwant\n%v", n, mat.Formatted(&carried), mat.Formatted(want))
		}
	}
}

// Where the positive side is a line of the negative one, sample by sample in any order,
// the line is found; where the negative side does not vary, the shift.
func TestLinearAcTFindsTheLineOfEachCoordinate(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	samples := randomRows(random, 20, 3)
	for i, r := range samples {
		other := samples[(i+7)%len(samples)]
		r[1][2] = 4
		r[0][0], r[0][1], r[0][2] = 2*other[1][0]+1, 0.5*other[1][1]-3, 5
	}
	near(t, "lines", directionOf(t, aggregators.LinearAcT(), samples), []float64{2, 0.5, 1, 1, -3, 1}, 1e-5)
}

// Differences of two kinds form two groups, the larger first.
func TestGroupsOfDifferencesAreFound(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 11))
	var samples [][2][]float32
	for i := range 30 {
		noise := func() float32 { return float32(random.NormFloat64()) / 20 }
		delta := []float32{3 + noise(), noise(), noise()}
		if i%3 == 0 {
			delta = []float32{noise(), 2 + noise(), noise()}
		}
		samples = append(samples, [2][]float32{delta, {0, 0, 0}})
	}
	got := directionOf(t, aggregators.KMeans(2), samples)
	near(t, "groups", got, []float64{3, 0, 0, 0, 2, 0}, 0.1)
	if _, err := aggregators.KMeans(2).New(3).Direction(); err == nil {
		t.Error("nothing forms groups")
	}
}

// Of four heads one carries the difference: it is taken, with the deviation along it as
// its length.
func TestTheHeadThatTellsTheSidesApartIsTaken(t *testing.T) {
	const size, width = 3, 12
	random := rand.New(rand.NewPCG(12, 12))
	samples := randomRows(random, 60, width)
	for _, r := range samples {
		for i := range width {
			r[0][i]-- // both sides alike
		}
		r[0][2*size] += 4
	}
	for _, probe := range []bool{false, true} {
		a := aggregators.Heads(aggregators.HeadOptions{Top: 1, Size: size, Probe: probe})
		direction := directionOf(t, a, samples)
		norm := 0.0
		for i, v := range direction {
			if inside := i/size == 2; (v != 0) != inside {
				t.Errorf("%s: element %d is %v", a.Name(), i, v)
			}
			norm += float64(v) * float64(v)
		}
		// Between the sides lie 4, around each 1: σ² = 1 + 2².
		if norm = math.Sqrt(norm); math.Abs(norm-math.Sqrt(5)) > 0.3 || direction[2*size] < 2 {
			t.Errorf("%s: the direction is %v, of length %v", a.Name(), direction, norm)
		}
	}
	accumulator := aggregators.Heads(aggregators.HeadOptions{Top: 1, Size: size}).New(width)
	for _, r := range samples {
		accumulator.Add(r[0], r[1])
	}
	accuracies, err := aggregators.HeadAccuracies(accumulator)
	if err != nil || len(accuracies) != 4 {
		t.Fatalf("accuracies %v, %v", accuracies, err)
	}
	for head, share := range accuracies {
		if head == 2 && share < 0.93 || head != 2 && (share < 0.3 || share > 0.7) {
			t.Errorf("head %d has accuracy %v", head, share)
		}
	}
}

func TestHeadsAreChosenAmongAllLayers(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 13))
	a := aggregators.Heads(aggregators.HeadOptions{Top: 2, Size: 2})
	var layers []aggregators.Accumulator
	for layer := range 3 {
		accumulator := a.New(4)
		for range 40 {
			p, n := make([]float32, 4), make([]float32, 4)
			for i := range p {
				p[i], n[i] = float32(random.NormFloat64()), float32(random.NormFloat64())
			}
			if layer == 1 { // both heads of this layer know
				p[0] += 5
				p[3] += 5
			}
			accumulator.Add(p, n)
		}
		layers = append(layers, accumulator)
	}
	directions, err := a.(aggregators.Joint).Directions(layers)
	if err != nil || directions[0] != nil || directions[2] != nil || directions[1][0] < 1 || directions[1][3] < 1 {
		t.Errorf("directions %v, %v", directions, err)
	}
	if _, err := a.(aggregators.ByHeads).OfSize(3); err == nil {
		t.Error("heads of another size were taken")
	}
}

// Nothing that a file may say of an accumulator ends the program.
func FuzzAccumulators(f *testing.F) {
	const width = 2
	for i, a := range recipes() {
		for _, n := range []int{1, 6} {
			accumulator := a.New(width)
			for _, r := range randomRows(rand.New(rand.NewPCG(7, 7)), n, width) {
				accumulator.Add(r[0], r[1])
			}
			data, err := accumulator.MarshalBinary()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(i, data)
		}
	}
	f.Fuzz(func(t *testing.T, aggregator int, data []byte) {
		all := recipes()
		a := all[uint(aggregator)%uint(len(all))]
		one, other := a.New(width), a.New(width)
		if one.UnmarshalBinary(data) != nil {
			return
		}
		if err := other.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		if _, err := one.MarshalBinary(); err != nil {
			t.Fatalf("%s reads what it cannot write: %v", a.Name(), err)
		}
		if err := one.Merge(other); err != nil || one.Samples() != 2*other.Samples() {
			t.Fatalf("%s merged has %d samples of twice %d: %v", a.Name(), one.Samples(), other.Samples(), err)
		}
		if d, err := one.Direction(); err == nil && (len(d) == 0 || len(d)%width != 0) {
			t.Fatalf("%s gives %v", a.Name(), d)
		}
	})
}

func TestAccumulatorsRefuseForeignState(t *testing.T) {
	for _, a := range recipes() {
		for _, data := range [][]byte{nil, {1}, make([]byte, 16), {4, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 127, 0, 0, 0, 0}} {
			if err := a.New(4).UnmarshalBinary(data); err == nil {
				t.Errorf("%s took %v", a.Name(), data)
			}
		}
		if _, err := a.New(4).Direction(); err == nil {
			t.Errorf("%s gives a direction of nothing", a.Name())
		}
		for _, other := range recipes() {
			if err := a.New(4).Merge(other.New(4)); (err == nil) != (a.Name() == other.Name()) {
				t.Errorf("%s merged with %s: %v", a.Name(), other.Name(), err)
			}
		}
		if err := a.New(4).Merge(a.New(6)); err == nil {
			t.Errorf("%s merged with another width", a.Name())
		}
	}
}

func TestDegenerateActivationsAreErrors(t *testing.T) {
	for _, n := range []int{1, 2, 20} { // differences that are all the same have no component but their mean
		for _, a := range []aggregators.Aggregator{aggregators.PCA(aggregators.PCAOptions{Centred: aggregators.CentredDifferences}), aggregators.PCA(aggregators.PCAOptions{Rank: 2})} {
			accumulator := a.New(4)
			for range n {
				accumulator.Add([]float32{1.1, 2.3, 3.7, 4.9}, []float32{0.3, 0.1, 0.2, 0.9})
			}
			if d, err := accumulator.Direction(); err == nil {
				t.Errorf("%s of %d equal differences is %v", a.Name(), n, d)
			}
		}
	}
	for _, a := range recipes() {
		if slices.Contains([]string{"mean", "mean-centred", "first", "linear-act"}, a.Name()) {
			continue // whose vector says what it is; zero ones are refused later
		}
		accumulator := a.New(4)
		for range 6 {
			accumulator.Add([]float32{1, 2, 3, 4}, []float32{1, 2, 3, 4})
		}
		if d, err := accumulator.Direction(); err == nil {
			t.Errorf("%s of equal activations is %v", a.Name(), d)
		}
	}
	for _, a := range recipes() {
		if a.Name() == "first" {
			continue
		}
		accumulator := a.New(4)
		for i := range 6 {
			accumulator.Add([]float32{1, float32(math.NaN()), 3, float32(i)}, []float32{0, 0, 0, 0})
		}
		if d, err := accumulator.Direction(); err == nil {
			t.Errorf("%s of NaN is %v", a.Name(), d)
		}
	}
}
