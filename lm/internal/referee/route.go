package referee

import (
	"cmp"
	"math"
	"slices"

	"github.com/steervec/steer/lm/arch"
)

// router chooses experts.
type router struct {
	*arch.Experts
	product          *linear
	correction, bias []float64 // of the scores, and of what the experts give; nil: none
}

// choice is a token's use of one expert.
type choice struct {
	expert int
	weight float64
}

// choose returns the experts that a row uses, in their order.
func (s *Session) choose(r *router, x []float64) (chosen []choice) {
	outputs := s.model.product(r.product, x)
	if r.Scoring == arch.SparseMixer {
		chosen = s.mixSparsely(outputs, r.PerToken)
	} else {
		chosen = s.chooseBest(r, outputs)
	}
	slices.SortFunc(chosen, func(a, b choice) int { return cmp.Compare(a.expert, b.expert) })
	return chosen
}

func (s *Session) chooseBest(r *router, outputs []float64) (chosen []choice) {
	scores := softmax(outputs)
	if r.Scoring == arch.Sigmoid {
		for i, v := range outputs {
			scores[i] = sigmoid(v)
		}
	}
	rank := sum(scores, r.correction)
	if r.Groups > 1 {
		s.dropGroups(r, rank)
	}
	total := 0.0
	for _, e := range s.best(rank, r.PerToken) {
		chosen = append(chosen, choice{e, scores[e]})
		total += scores[e]
	}
	for i := range chosen {
		if r.Normalize {
			chosen[i].weight /= total
		}
		chosen[i].weight *= orOne(r.Scale)
	}
	return chosen
}

// dropGroups sets the scores of the groups that are not among the best to 0.
func (s *Session) dropGroups(r *router, rank []float64) {
	groups := slices.Collect(slices.Chunk(rank, r.Count/r.Groups))
	var good []float64
	for _, group := range groups {
		sorted := slices.Clone(group)
		slices.Sort(sorted)
		slices.Reverse(sorted)
		if r.GroupByTwo {
			sorted[0] += sorted[1]
		}
		good = append(good, sorted[0])
	}
	kept := s.best(good, r.GroupsPerToken)
	for g, group := range groups {
		if !slices.Contains(kept, g) {
			clear(group)
		}
	}
}

// best returns the indices of the n largest elements, the first among equals.
func (s *Session) best(x []float64, n int) []int {
	order := numbers(0, len(x))
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[b], x[a]) })
	if n < len(order) {
		s.closest = min(s.closest, x[order[n-1]]-x[order[n]])
	}
	return order[:n]
}

// mixSparsely chooses one expert after the other. An expert takes part in the
// softmax that weighs the best one if it falls short of it by at most 2 % of its
// own output's size, or of the best output if that is larger.
func (s *Session) mixSparsely(outputs []float64, n int) (chosen []choice) {
	left := numbers(0, len(outputs))
	for range n {
		of := make([]float64, len(left))
		for i, e := range left {
			of[i] = outputs[e]
		}
		i := s.best(of, 1)[0]
		most, total := of[i], 0.0
		for _, v := range of {
			short := most - v
			allowed := 0.02 * max(math.Abs(v), most)
			if v < most {
				s.closest = min(s.closest, math.Abs(short-allowed))
			}
			if short <= allowed {
				total += math.Exp(v - most)
			}
		}
		chosen = append(chosen, choice{left[i], 1 / total})
		left = slices.Delete(left, i, i+1)
	}
	return chosen
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
