package eval

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Formulas of single items. Their sources are named in docs/evaluating.md.

// match is the probability of the matching answer among the two, of which the
// propensity is the logit: p/(p+q) = 1/(1+exp(-(log p - log q))).
func match(propensity float64) float64 { return 1 / (1 + math.Exp(-propensity)) }

// right is 1 where the matching answer is the likelier one, 0 where the other is,
// and a half where they are equal.
func right(propensity float64) float64 {
	switch {
	case propensity > 0:
		return 1
	case propensity < 0:
		return 0
	}
	return 0.5
}

// slope is the least-squares slope of y over x, which must not be all equal.
func slope(x, y []float64) float64 {
	mx, my := mean(x), mean(y)
	var xy, xx float64
	for i := range x {
		xy += (x[i] - mx) * (y[i] - my)
		xx += (x[i] - mx) * (x[i] - mx)
	}
	return xy / xx
}

// spearman is the rank correlation of x and y: Pearson's of their ranks, those of
// equal values averaged. It is 0 where all values of one of them are equal.
func spearman(x, y []float64) float64 {
	a, b := ranks(x), ranks(y)
	ma, mb := mean(a), mean(b)
	var ab, aa, bb float64
	for i := range a {
		ab += (a[i] - ma) * (b[i] - mb)
		aa += (a[i] - ma) * (a[i] - ma)
		bb += (b[i] - mb) * (b[i] - mb)
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// ranks are the places of values in ascending order, from 1; equal values share
// the mean of theirs.
func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(x[i], x[j]) })
	out := make([]float64, len(x))
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && x[order[to]] == x[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			out[i] = float64(from+1+to) / 2
		}
		from = to
	}
	return out
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// percentile is the value below which a share of the values lies, between
// neighbours in proportion (numpy's "linear").
func percentile(x []float64, share float64) float64 {
	sorted := x
	if !slices.IsSorted(x) {
		sorted = slices.Sorted(slices.Values(x))
	}
	at := share * float64(len(sorted)-1)
	below := int(at)
	if below+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

// bootstrap estimates figures of items with intervals: what lies between the
// 2.5th and 97.5th percentiles of the figure over so many draws of as many items,
// with replacement (Efron and Tibshirani 1993, chapter 13).
type bootstrap struct {
	resamples int
	seed      uint64
}

// estimate estimates a figure of n items; figure is given their numbers.
func (b bootstrap) estimate(n int, figure func(items []int) float64) Estimate {
	return b.estimateParts([]int{n}, figure)
}

// estimateParts draws from each of several parts of the items as many as are in it.
func (b bootstrap) estimateParts(parts []int, figure func(items []int) float64) Estimate {
	n := 0
	for _, part := range parts {
		n += part
	}
	items := make([]int, n)
	for i := range items {
		items[i] = i
	}
	value := figure(items)
	out := Estimate{Value: value, Low: value, High: value, N: n}
	if n < 2 || b.resamples == 0 {
		return out
	}
	random := rand.New(rand.NewPCG(b.seed, uint64(n))) // the same draws for all figures of the same items
	drawn := make([]float64, b.resamples)
	for i := range drawn {
		k := 0
		for _, part := range parts {
			first := k
			for ; k < first+part; k++ {
				items[k] = first + random.IntN(part)
			}
		}
		drawn[i] = figure(items)
	}
	slices.Sort(drawn)
	out.Low, out.High = percentile(drawn, 0.025), percentile(drawn, 0.975)
	return out
}

// mean estimates the mean of values, one an item.
func (b bootstrap) mean(values []float64) Estimate {
	return b.estimate(len(values), func(items []int) float64 {
		sum := 0.0
		for _, i := range items {
			sum += values[i]
		}
		return sum / float64(len(items))
	})
}

// difference estimates the difference of two means, drawn apart.
func (b bootstrap) difference(x, y []float64) Estimate {
	of := func(items []int) float64 {
		var sums, counts [2]float64
		for _, i := range items {
			side, value := 0, 0.0
			if i < len(x) {
				value = x[i]
			} else {
				side, value = 1, y[i-len(x)]
			}
			sums[side] += value
			counts[side]++
		}
		return sums[0]/counts[0] - sums[1]/counts[1]
	}
	return b.estimateParts([]int{len(x), len(y)}, of)
}

// pooled estimates a figure of all values of texts, which are drawn whole: the
// tokens of one text depend on each other.
func (b bootstrap) pooled(texts [][]float64, figure func(values []float64) float64) Estimate {
	var values []float64
	out := b.estimate(len(texts), func(items []int) float64 {
		values = values[:0]
		for _, i := range items {
			values = append(values, texts[i]...)
		}
		return figure(values)
	})
	out.N = 0
	for _, t := range texts {
		out.N += len(t)
	}
	return out
}
