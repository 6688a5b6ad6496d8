package steer_test

import (
	"math"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// The projection is the inner product of what Record gives with the unit vector,
// and an added vector moves it by its own length.
func TestProjectionsAreThoseOfTheActivations(t *testing.T) {
	ctx := t.Context()
	model, err := lm.Open(ctx, "demo")
	if err != nil {
		t.Fatal(err)
	}
	vector, err := steer.Train(ctx, model, []steer.Sample{{Positive: "Tom was very happy.", Negative: "Tom was very sad."}}, steer.TrainOptions{Layers: []int{2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := model.Tokenize("Mia smiled. Leo wept.")
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := steer.Record(ctx, model, tokens, steer.RecordOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := vector.Project(ctx, model, [][]int{tokens[:3], tokens}, nil)
	if err != nil {
		t.Fatal(err)
	}
	norms := vector.Norms()
	for _, layer := range []int{2, 3} {
		for position, activation := range recorded.Layers[layer] {
			want := 0.0
			for i, x := range activation {
				want += float64(x) * float64(vector.Layers[layer][i])
			}
			want /= norms[layer]
			if math.Abs(got[layer][1][position]-want) > 1e-9*max(1, math.Abs(want)) {
				t.Errorf("layer %d, token %d: %v, want %v", layer, position, got[layer][1][position], want)
			}
			if position < 3 && got[layer][0][position] != got[layer][1][position] {
				t.Errorf("layer %d, token %d: %v alone, %v in company", layer, position, got[layer][0][position], got[layer][1][position])
			}
		}
	}
	edit, err := vector.Edit(0.5, steer.AtLayers(3))
	if err != nil {
		t.Fatal(err)
	}
	steered, err := model.With(edit)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := vector.Project(ctx, steered, [][]int{tokens}, []int{-3})
	if err != nil {
		t.Fatal(err)
	}
	for position, value := range moved[3][0] {
		if difference := value - got[3][1][position]; math.Abs(difference-0.5*norms[3]) > 1e-3*norms[3] {
			t.Errorf("token %d moved by %v, want %v", position, difference, 0.5*norms[3])
		}
	}
}

func TestAProjectionThatMakesNoSenseIsRefused(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	width := model.Width(3, lm.DecoderBlock)
	for _, test := range []struct {
		name   string
		vector steer.Vector
		layers []int
		want   string
	}{
		{"a layer that the vector lacks", steer.Vector{Layers: map[int][]float32{3: make([]float32, width)}}, []int{1}, "no layer 1"},
		{"a layer that the model lacks", steer.Vector{Layers: map[int][]float32{99: make([]float32, width)}}, nil, "layer 99"},
		{"another width", steer.Vector{Layers: map[int][]float32{3: {1, 2}}}, nil, "2 elements"},
		{"several directions", steer.Vector{Rank: 2, Layers: map[int][]float32{3: make([]float32, 2*width)}}, nil, "2 rows"},
		{"no direction", steer.Vector{Layers: map[int][]float32{3: make([]float32, width)}}, nil, "no direction"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := test.vector.Project(t.Context(), model, [][]int{{1}}, test.layers); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not say %q", err, test.want)
			}
		})
	}
}
