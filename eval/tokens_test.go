package eval_test

import (
	"math"
	"slices"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
)

// A sweep's tokens are those of texts it was not trained on, with the projections
// that a plain call gives; the steered model's differ by the vector that was added.
func TestASweepProjectsTokensOnItsChosenVector(t *testing.T) {
	m := openDemo(t)
	dir := t.TempDir()
	data := moodData(8)
	manifest, err := eval.Sweep(t.Context(), m, moodManifest([]int{3}, -0.5, 0.5), data, eval.SweepRun{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := readRows(t, dir)
	at := slices.IndexFunc(rows, func(r eval.Row) bool { return r.Set == eval.Projections })
	if at < 0 {
		t.Fatal("no row has tokens")
	}
	row, chosen := rows[at], manifest.Result.Chosen
	if !slices.Equal(row.Layers, chosen.Layers) || row.Multiplier != chosen.Multiplier {
		t.Errorf("the tokens are of %+v, the chosen point is %+v", row.Point, chosen)
	}
	vector, err := steer.Train(t.Context(), m, data.Samples, steer.TrainOptions{Layers: []int{3}})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, token := range row.Tokens {
		if token.Text == 0 {
			text += token.Token
		}
	}
	found := false
	for _, item := range data.Items {
		for _, o := range item.Options {
			if text != "<s>"+o.Prompt+o.Answer {
				continue
			}
			found = true
			ids, err := m.Tokenize(o.Prompt + o.Answer)
			if err != nil {
				t.Fatal(err)
			}
			want, err := vector.Project(t.Context(), m, [][]int{ids}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for k, value := range want[3][0] {
				if got := row.Tokens[k]; got.Unsteered != value || math.Abs(got.Steered-got.Unsteered-chosen.Multiplier*vector.Norms()[3]) > 1e-3*vector.Norms()[3] {
					t.Errorf("token %d: %+v, want %v and the vector's length more", k, got, value)
				}
			}
		}
	}
	if !found {
		t.Errorf("the text %q is none of the items", text)
	}
}
