package cpu

import (
	"cmp"
	"math"
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// choose routes: for each row of x [rows, hidden] the experts that it uses, in
// their order, and with what weight; [rows, per token].
func (p *pass) choose(x []float32, rows int, m *mlp) []choice {
	e := m.Experts
	choices := e.Choices()
	scores := size(&p.scores, rows*choices)
	kernel.Product(scores, x, rows, m.router.weight, m.router.bias)
	left := size(&p.left, rows*choices)
	if n := rows * e.PerToken; cap(p.chosen) < n {
		p.chosen = make([]choice, n)
	}
	chosen := p.chosen[:rows*e.PerToken]
	each(rows, func(r int) {
		of := func(x []float32) []float32 { return x[r*choices : (r+1)*choices] }
		route(e, chosen[r*e.PerToken:(r+1)*e.PerToken], of(scores), of(left), m.correction)
	})
	return chosen
}

// route chooses the experts of one token by the router's outputs, which become
// scores. left [experts] is memory: the scores of those that can still be chosen.
func route(e *arch.Experts, chosen []choice, scores, left, correction []float32) {
	switch e.Scoring {
	case arch.SparseMixer:
		mixSparsely(chosen, scores, left)
		return
	case arch.Sigmoid:
		for i, v := range scores {
			scores[i] = sigmoid(v)
		}
	default:
		kernel.Softmax(scores)
	}
	copy(left, scores)
	if correction != nil {
		kernel.AddScaled(left, correction, 1)
	}
	if e.Groups > 1 {
		keepGroups(e, left)
	}
	total := float32(0)
	for i := range chosen {
		best := largest(left)
		left[best] = float32(math.Inf(-1))
		chosen[i] = choice{expert: best, weight: scores[best]}
		total += scores[best]
	}
	factor := e.Scale
	if factor == 0 {
		factor = 1
	}
	for i := range chosen {
		if e.Normalize {
			chosen[i].weight /= total
		}
		chosen[i].weight *= factor
	}
	inOrder(chosen)
}

// keepGroups sets the scores outside the best groups to 0, as the reference does:
// with a correction they can still be chosen where all others are negative.
func keepGroups(e *arch.Experts, left []float32) {
	each, lowest := len(left)/e.Groups, float32(math.Inf(-1))
	var few [64]float32
	groups := few[:0]
	for g := range e.Groups {
		first, second := lowest, lowest
		for _, v := range left[g*each : (g+1)*each] {
			if v > first {
				first, second = v, first
			} else if v > second {
				second = v
			}
		}
		if e.GroupByTwo {
			first += second
		}
		groups = append(groups, first)
	}
	for range e.GroupsPerToken {
		groups[largest(groups)] = lowest
	}
	for g, score := range groups {
		if score != lowest {
			clear(left[g*each : (g+1)*each])
		}
	}
}

// mixSparsely chooses one expert after the other, each with the weight that a
// softmax over the outputs near its own gives it: those that fall short of it by
// at most 2 % of the larger of the two.
func mixSparsely(chosen []choice, outputs, left []float32) {
	const tolerance = 0.02
	copy(left, outputs)
	for i := range chosen {
		best := largest(left)
		most, total := left[best], 0.0
		for e, v := range left {
			// 0/0, of outputs that are both zero, is near too
			if far := (most-outputs[e])/max(abs(outputs[e]), most) > tolerance; !far && !math.IsInf(float64(v), -1) {
				total += math.Exp(float64(v - most))
			}
		}
		chosen[i] = choice{expert: best, weight: float32(1 / total)}
		left[best] = float32(math.Inf(-1))
	}
	inOrder(chosen)
}

func abs(x float32) float32 { return float32(math.Abs(float64(x))) }

// largest returns the index of the largest element, the first among equals.
func largest(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

func inOrder(chosen []choice) {
	slices.SortFunc(chosen, func(a, b choice) int { return cmp.Compare(a.expert, b.expert) })
}
