package cpu

import (
	"math"
	"testing"

	"github.com/steervec/steer/lm/arch"
)

func TestRouting(t *testing.T) {
	logit := func(p float64) float32 { return float32(math.Log(p / (1 - p))) }
	log := func(p float64) float32 { return float32(math.Log(p)) }
	for _, test := range []struct {
		name       string
		experts    arch.Experts
		outputs    []float32
		correction []float32
		want       []choice
	}{
		{"the largest of a softmax", arch.Experts{PerToken: 2},
			[]float32{log(0.1), log(0.4), log(0.2), log(0.3)}, nil, []choice{{expert: 1, weight: 0.4}, {expert: 3, weight: 0.3}}},
		{"the first among equals", arch.Experts{PerToken: 1}, []float32{1, 1}, nil, []choice{{expert: 0, weight: 0.5}}},
		{"weights that sum to 1, scaled", arch.Experts{PerToken: 2, Normalize: true, Scale: 7},
			[]float32{log(0.1), log(0.4), log(0.2), log(0.3)}, nil, []choice{{expert: 1, weight: 4}, {expert: 3, weight: 3}}},
		{"a correction chooses and does not weigh", arch.Experts{PerToken: 2, Scoring: arch.Sigmoid},
			[]float32{logit(0.9), logit(0.5), logit(0.6)}, []float32{-0.8, 0, 0}, []choice{{expert: 1, weight: 0.5}, {expert: 2, weight: 0.6}}},
		{"the best group", arch.Experts{PerToken: 2, Groups: 2, GroupsPerToken: 1, Scoring: arch.Sigmoid},
			[]float32{logit(0.9), logit(0.1), logit(0.8), logit(0.7)}, nil, []choice{{expert: 0, weight: 0.9}, {expert: 1, weight: 0.1}}},
		{"the best group by its two best", arch.Experts{PerToken: 2, Groups: 2, GroupsPerToken: 1, GroupByTwo: true, Scoring: arch.Sigmoid},
			[]float32{logit(0.9), logit(0.1), logit(0.8), logit(0.7)}, nil, []choice{{expert: 2, weight: 0.8}, {expert: 3, weight: 0.7}}},
		{"a sparse mixer weighs by what is near", arch.Experts{PerToken: 2, Scoring: arch.SparseMixer},
			[]float32{5, 1, 5, 2}, nil, []choice{{expert: 0, weight: 0.5}, {expert: 2, weight: 1}}},
		{"a sparse mixer of outputs that are all zero", arch.Experts{PerToken: 2, Scoring: arch.SparseMixer},
			[]float32{0, 0, 0, 0}, nil, []choice{{expert: 0, weight: 0.25}, {expert: 1, weight: 1. / 3}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.experts.Count = len(test.outputs)
			chosen := make([]choice, test.experts.PerToken)
			route(&test.experts, chosen, test.outputs, make([]float32, len(test.outputs)), test.correction)
			for i, want := range test.want {
				if chosen[i].expert != want.expert || math.Abs(float64(chosen[i].weight-want.weight)) > 1e-6 {
					t.Errorf("choice %d is %+v, want %+v", i, chosen[i], want)
				}
			}
		})
	}
}
