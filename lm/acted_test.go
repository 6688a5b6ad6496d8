package lm_test

import (
	"reflect"
	"testing"

	"github.com/steervec/steer/lm"
)

// silent is an operator that changes nothing.
type silent struct{}

func (silent) Name() string                                { return "silent" }
func (silent) Prepare([]float32, int) ([]float32, error)   { return nil, nil }
func (silent) Delta(delta, activation, prepared []float32) {}

// A sequence that has ended tells of each edit at which tokens it acted: of those
// that were computed, of which the last that was written is none.
func TestASequenceTellsWhereEditsActed(t *testing.T) {
	model := open(t)
	idle := push(model, 1, 0, nil)
	idle.Operator = silent{}
	given := steering(t, model, push(model, 1, 0.5, from(2)), idle, push(model, 2, 0.5, answer{}))
	viewed, err := model.With(push(model, 0, 0.1, nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*lm.Model{"the model": model, "a steered view": viewed, "a cached view": model.Cached(1024)} {
		for _, chunk := range []int{0, 2} {
			g := writeTogether(t, m, lm.BatchOptions{RunTokens: chunk}, []request{
				{in: lm.Input{Tokens: []int{51, 106, 220, 7, 8}, Steering: given}, opts: lm.GenerateOptions{MaxTokens: 6, IgnoreEnd: true}},
				{in: lm.Input{Tokens: []int{51, 106, 220, 7, 8}}, opts: lm.GenerateOptions{MaxTokens: 6, IgnoreEnd: true}},
			})
			if want := [][]lm.Span{{{From: 2, To: 10}}, nil, {{From: 5, To: 10}}}; !reflect.DeepEqual(g[0].Acted, want) || g[1].Acted != nil {
				t.Errorf("%s, chunks of %d: %+v and %+v, want %+v and none", name, chunk, g[0].Acted, g[1].Acted, want)
			}
		}
	}
}
