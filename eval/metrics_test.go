package eval

import (
	"math"
	"testing"

	"github.com/steervec/steer/pairs"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }

func TestFormulas(t *testing.T) {
	two := func(a, b float64) []optionScore { return []optionScore{{Sum: a, Tokens: 2}, {Sum: b, Tokens: 2}} }
	matching := []pairs.Option{{Matches: true}, {Matches: true}, {}}
	for _, test := range []struct {
		name      string
		got, want float64
	}{
		{"propensity of one order", answer{two(-1, -3)}.propensity(), 2},
		{"propensity of both orders", answer{two(-1, -3), two(-2, -1)}.propensity(), 0.5},
		{"match of equal answers", match(0), 0.5},
		{"match is p/(p+q)", match(math.Log(0.3) - math.Log(0.1)), 0.75},
		{"right answer", right(0.1), 1},
		{"wrong answer", right(-0.1), 0},
		{"undecided", right(0), 0.5},
		{"the first option is the likeliest", likeliest([]optionScore{{Sum: -1}, {Sum: -2}, {Sum: -1.5}}), 1},
		{"another option is as likely", likeliest([]optionScore{{Sum: -1}, {Sum: -1}}), 0},
		{"share of true options", share([]optionScore{{Sum: math.Log(0.2)}, {Sum: math.Log(0.1)}, {Sum: math.Log(0.3)}}, matching), 0.5},
		{"share of options too unlikely for exp", share([]optionScore{{Sum: -2000}, {Sum: -2000}, {Sum: -2000}}, matching), 2.0 / 3},
		{"slope of a line", slope([]float64{-1, 0, 2}, []float64{1, 3, 7}), 2},
		{"slope among noise", slope([]float64{0, 1, 2}, []float64{0, 2, 1}), 0.5},
		{"ranks that rise", spearman([]float64{1, 2, 3}, []float64{0, 10, 11}), 1},
		{"ranks that fall", spearman([]float64{1, 2, 3}, []float64{3, 2, -1}), -1},
		{"ranks with ties", spearman([]float64{1, 2, 3, 4}, []float64{1, 1, 2, 2}), 2 / math.Sqrt(5)},
		{"no ranks", spearman([]float64{1, 2}, []float64{5, 5}), 0},
		{"percentile between neighbours", percentile([]float64{4, 1, 3, 2}, 0.5), 2.5},
		{"percentile of one value", percentile([]float64{7}, 0.95), 7},
		{"95th percentile as numpy has it", percentile([]float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 0.95), 8.55},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !near(test.got, test.want) {
				t.Errorf("%v, want %v", test.got, test.want)
			}
		})
	}
}

// The interval of a mean is about two standard errors to either side, and equal
// seeds draw alike.
func TestBootstrapIntervals(t *testing.T) {
	values := make([]float64, 400)
	for i := range values {
		values[i] = float64(i%2)*2 - 1 // a standard deviation of 1
	}
	b := bootstrap{resamples: 2000, seed: 3}
	got := b.mean(values)
	if got.Value != 0 || got.N != 400 || math.Abs(got.Low+0.098) > 0.01 || math.Abs(got.High-0.098) > 0.01 {
		t.Errorf("%+v, want 0 and about 0.098 to either side", got)
	}
	if again := b.mean(values); again != got {
		t.Errorf("%+v, then %+v", got, again)
	}
	if one := b.mean([]float64{5}); one != (Estimate{5, 5, 5, 1}) {
		t.Errorf("one value: %+v", one)
	}
	apart := b.difference([]float64{2, 2, 2}, []float64{1, 1})
	if apart != (Estimate{1, 1, 1, 5}) {
		t.Errorf("difference of means: %+v", apart)
	}
	texts := [][]float64{{1, 1}, {3}}
	if pooled := b.pooled(texts, mean); !near(pooled.Value, 5.0/3) || pooled.Low != 1 || pooled.High != 3 || pooled.N != 3 {
		t.Errorf("pooled: %+v", pooled)
	}
}

func TestHalvesDoNotDependOnTheOrderOfItems(t *testing.T) {
	var items []pairs.Item
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		items = append(items, pairs.Item{ID: id})
	}
	names := func(items []pairs.Item, half Half) map[string]bool {
		out := map[string]bool{}
		for _, i := range inHalves(items, 1)[half] {
			out[items[i].ID] = true
		}
		return out
	}
	turned := append(append([]pairs.Item(nil), items[3:]...), items[:3]...)
	a, b := names(items, Choose), names(turned, Choose)
	if len(a) != 3 || len(names(items, Report)) != 4 {
		t.Errorf("%d and %d items", len(a), len(names(items, Report)))
	}
	for id := range a {
		if !b[id] {
			t.Errorf("item %s has changed its half", id)
		}
	}
}

func TestAPlaneShowsWhatVariesMost(t *testing.T) {
	points, explained := plane([][]float32{{3, 0, 1}, {3, 1, 1}, {-3, 0, 1}, {-3, 1, 1}})
	if !near(explained[0], 36.0/37) || !near(explained[1], 1.0/37) {
		t.Errorf("explained %v", explained)
	}
	for i, want := range []float64{3, 3, -3, -3} {
		if math.Abs(points[i][0]-want) > 1e-9 || math.Abs(math.Abs(points[i][1])-0.5) > 1e-9 {
			t.Errorf("point %d is %v", i, points[i])
		}
	}
}
