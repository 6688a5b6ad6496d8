package eval

import (
	"math"

	"github.com/steervec/steer/pairs"
)

// propensity is how much likelier the matching answer is than the other, in nats,
// the mean over the orders of the options (Tan et al. 2024, eq. 2).
func (a answer) propensity() float64 {
	return a.mean(func(options []optionScore) float64 { return options[0].Sum - options[1].Sum })
}

// mean is the mean of a figure over the orders of the options.
func (a answer) mean(figure func(options []optionScore) float64) float64 {
	sum := 0.0
	for _, options := range a {
		sum += figure(options)
	}
	return sum / float64(len(a))
}

// likeliest is 1 where the first option is likelier than all others.
func likeliest(options []optionScore) float64 {
	for _, o := range options[1:] {
		if o.Sum >= options[0].Sum {
			return 0
		}
	}
	return 1
}

// share is the probability of the options that match among all.
func share(options []optionScore, item []pairs.Option) float64 {
	largest := math.Inf(-1)
	for _, o := range options {
		largest = max(largest, o.Sum)
	}
	var matching, all float64
	for i, o := range options {
		p := math.Exp(o.Sum - largest)
		if all += p; item[i].Matches {
			matching += p
		}
	}
	return matching / all
}

// answersRows returns the rows of what was answered under an arm, one for each set
// of metrics that the items of the half have: answers and unsteered are [items].
func (s *Summary) answersRows(point Point, half Half, answers, unsteered []answer) []Row {
	var rows []Row
	add := func(set Set, metrics map[string]Estimate, examples []Example) {
		rows = append(rows, Row{Point: point, Set: set, Half: half, Metrics: metrics, Examples: examples})
	}
	of := func(kinds ...pairs.ItemKind) (some []int) {
		for _, i := range s.halves[half] {
			for _, k := range kinds {
				if s.items[i].Kind == k {
					some = append(some, i)
				}
			}
		}
		return some
	}
	figure := func(some []int, f func(a answer, i int) float64) Estimate {
		values := make([]float64, len(some))
		for k, i := range some {
			values[k] = f(answers[i], i)
		}
		return s.bootstrap.mean(values)
	}
	if some := of(pairs.ABItem, pairs.PairItem); len(some) > 0 {
		var examples []Example
		for _, i := range some {
			examples = append(examples, Example{s.items[i].ID, answers[i].propensity(), unsteered[i].propensity()})
		}
		gap := func(f func(propensity float64) float64) func(answer, int) float64 {
			return func(a answer, _ int) float64 {
				return a.mean(func(options []optionScore) float64 { return f(options[0].Sum - options[1].Sum) })
			}
		}
		add(Choices, map[string]Estimate{
			Propensity: figure(some, gap(func(p float64) float64 { return p })),
			Match:      figure(some, gap(match)),
			Accuracy:   figure(some, gap(right)),
			Gained:     figure(some, func(a answer, i int) float64 { return a.propensity() - unsteered[i].propensity() }),
		}, examples)
	}
	multiple := map[string]Estimate{}
	if some := of(pairs.MC1Item); len(some) > 0 {
		multiple[MC1] = figure(some, func(a answer, _ int) float64 { return a.mean(likeliest) })
	}
	if some := of(pairs.MC2Item); len(some) > 0 {
		multiple[MC2] = figure(some, func(a answer, i int) float64 { return share(a[0], s.items[i].Options) })
	}
	if len(multiple) > 0 {
		add(Multiple, multiple, nil)
	}
	if some := of(pairs.TextItem); len(some) > 0 {
		var sides [2][]float64 // of a token, of texts that match and of others
		for _, i := range some {
			o, side := answers[i][0][0], 1
			if s.items[i].Options[0].Matches {
				side = 0
			}
			sides[side] = append(sides[side], o.Sum/float64(o.Tokens))
		}
		if len(sides[0]) > 0 && len(sides[1]) > 0 {
			add(Labelled, map[string]Estimate{Propensity: s.bootstrap.difference(sides[0], sides[1])}, nil)
		}
	}
	return rows
}

// steerabilityRow says how the propensity of items moves with the multiplier: given
// the points of one way to steer, and what was answered at each, [points][items]. It returns false
// where there are no two multipliers, or no choices.
func (s *Summary) steerabilityRow(points []Point, half Half, answers [][]answer, unsteered []answer) (Row, bool) {
	row := Row{Point: points[0], Set: Steerability, Half: half}
	row.Multiplier, row.Strength, row.Budget = 0, 0, 0
	var doses []float64
	for _, p := range points {
		doses = append(doses, p.dose())
	}
	if len(doses) < 2 || doses[0] == doses[len(doses)-1] {
		return row, false
	}
	var slopes, correlations, wrong []float64
	for _, i := range s.halves[half] {
		if k := s.items[i].Kind; k != pairs.ABItem && k != pairs.PairItem {
			continue
		}
		heights := make([]float64, len(points))
		for k := range points {
			heights[k] = answers[k][i].propensity()
		}
		own := slope(doses, heights)
		slopes, correlations = append(slopes, own), append(correlations, spearman(doses, heights))
		away := 0.0
		if own < 0 {
			away = 1
		}
		wrong = append(wrong, away)
		row.Examples = append(row.Examples, Example{s.items[i].ID, own, unsteered[i].propensity()})
	}
	if len(slopes) == 0 {
		return row, false
	}
	row.Metrics = map[string]Estimate{Slope: s.bootstrap.mean(slopes), Spearman: s.bootstrap.mean(correlations), WrongWay: s.bootstrap.mean(wrong)}
	return row, true
}

// dose is what slopes are over: the budget with its sign, where the multiplier was
// found for one, else the multiplier.
func (p Point) dose() float64 {
	if p.Budget != 0 {
		return p.Budget
	}
	return p.Multiplier
}
