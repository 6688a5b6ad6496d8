package steer_test

import (
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// The sites that the reference lacks lie where docs/sites.md draws them: the
// stream between attention and MLP is what entered plus what attention gave, and
// what leaves is that plus what the MLP gave.
func TestTheResidualStreamAddsUp(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	at := func(layer int, site lm.Site) [][]float32 {
		r, err := steer.Record(t.Context(), model, g.Probe.IDs, steer.RecordOptions{Site: site, Layers: []int{layer}})
		if err != nil {
			t.Fatal(err)
		}
		return r.Layers[layer]
	}
	for layer := 1; layer < model.Layers(); layer++ {
		entered, left := at(layer-1, lm.DecoderBlock), at(layer, lm.DecoderBlock)
		attention, middle, mlp := at(layer, lm.SelfAttn), at(layer, lm.ResidualMid), at(layer, lm.MLP)
		for token := range entered {
			sum := make([]float32, len(entered[token]))
			for i := range sum {
				sum[i] = entered[token][i] + attention[token][i]
			}
			within(t, middle[token], sum, 1e-5)
			for i := range sum {
				sum[i] = middle[token][i] + mlp[token][i]
			}
			within(t, left[token], sum, 1e-5)
		}
	}
}

// Taking all heads away leaves attention its bias alone, the same at every token.
func TestHeadsAreTheInputOfTheOutputProjection(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	width := model.Decoder().Width(1, lm.AttnHeads)
	remove := lm.Edit{
		Site: lm.AttnHeads, Layers: map[int][]float32{1: make([]float32, width)},
		Operator: lm.OperatorFunc("remove", func(delta, activation, _ []float32) {
			for i, v := range activation {
				delta[i] = -v
			}
		}),
	}
	r, err := steer.Record(t.Context(), with(t, model, remove), g.Probe.IDs, steer.RecordOptions{Site: lm.SelfAttn, Layers: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range r.Layers[1] {
		within(t, row, r.Layers[1][0], 0)
	}
}
