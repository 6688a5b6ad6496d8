package lm_test

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/internal/referee"
	"github.com/steervec/steer/operators"
)

// What package lm makes of an engine depends on nothing but the seam: with the
// referee, models write the same greedy texts and give the same scores.
func TestModelsAreTheSameOnTheReferee(t *testing.T) {
	goldens, err := filepath.Glob("../testdata/goldens/*/config.json")
	if err != nil || len(goldens) == 0 {
		t.Fatalf("no goldens are found: %v", err)
	}
	for _, config := range goldens {
		folder := filepath.Dir(config)
		name := filepath.Base(folder)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, err := seeded.Files(folder)
			if err != nil {
				t.Fatal(err)
			}
			fast, err := lm.OpenFS(t.Context(), files, name, lm.Compute(lm.Float32))
			if err != nil {
				t.Fatal(err)
			}
			slow, err := lm.OpenFS(t.Context(), files, name, lm.Compute(lm.Float32), lm.OnEngine(referee.Open))
			if err != nil {
				t.Fatal(err)
			}
			if name := slow.Description().Name; name != "referee" || slow.Description().Parameters != fast.Description().Parameters {
				t.Fatalf("opened on %v, the CPU is %v", slow.Description(), fast.Description())
			}
			want, got := told(t, slow), told(t, fast)
			if !slices.EqualFunc(got.texts, want.texts, slices.Equal) {
				t.Errorf("wrote %v, the referee %v", got.texts, want.texts)
			}
			// Log-probabilities of some units' size, of float32 logits that are some 1e-6
			// off; reading a token's neighbour would be off by a unit.
			const tolerance = 5e-5
			for i, scores := range want.scores {
				for k, score := range scores {
					if d := math.Abs(got.scores[i][k] - score); !(d < tolerance) {
						t.Errorf("score %d of continuation %d differs by %v: %v, the referee gives %v", k, i, d, got.scores[i][k], score)
					}
				}
			}
		})
	}
}

// telling is what a model says to some prompts, plain and steered.
type telling struct {
	texts  [][]int
	scores [][]float64
}

func told(t *testing.T, m *lm.Model) (out telling) {
	t.Helper()
	width := m.Decoder().StreamWidth()
	vector := make([]float32, width)
	for i := range vector {
		vector[i] = float32(i%5-2) / 3
	}
	conditional := lm.Edit{Layers: map[int][]float32{-1: vector}, Operator: operators.Ablate(0.5), Condition: &lm.Condition{Any: []lm.Condition{
		{Evidence: &lm.Evidence{Vector: vector, Measure: lm.Projection, When: lm.EachToken, Threshold: 0.05, Release: new(float64)}},
		{Evidence: &lm.Evidence{Vector: vector, Measure: lm.Cosine, Below: true, Threshold: -0.03}},
	}}, Decay: lm.Decay{HalfLife: 3}}
	steering, err := m.Steering(
		conditional,
		lm.Edit{Layers: map[int][]float32{1: vector}, Operator: scaled{2, false}, Tokens: selection{from: 3, of: 1}},
		lm.Edit{Site: lm.MLP, Layers: map[int][]float32{-1: vector[:m.Decoder().Hidden]}, Operator: scaled{1, true}, Tokens: selection{of: 2, answer: true}},
	)
	if err != nil {
		t.Fatal(err)
	}
	var inputs []lm.Input
	var continuations []lm.Continuation
	for _, s := range []*lm.Steering{nil, steering} {
		for _, length := range []int{3, 37} {
			in := lm.Input{Steering: s}
			for i := range length {
				in.Tokens = append(in.Tokens, (i*i+7*i)%200)
			}
			inputs = append(inputs, in)
			continuations = append(continuations, lm.Continuation{Prompt: in, Tokens: []int{5, 77, 140, 5, 9}})
		}
	}
	cached := m.Cached(100)
	generations, err := cached.Generate(context.Background(), inputs, lm.GenerateOptions{MaxTokens: 6, IgnoreEnd: true, RunTokens: 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range generations {
		out.texts = append(out.texts, g.IDs)
	}
	if out.scores, err = cached.Score(context.Background(), continuations); err != nil {
		t.Fatal(err)
	}
	return out
}
