package cli

import (
	"math"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// The projections are the library's; steering moves them by the vector's length,
// and is not shown unless it is asked for.
func TestTokensAreProjectedOnTheUnsteeredModel(t *testing.T) {
	path := trained(t, "3")
	const text = "Tom was very happy."
	plain := answer[projected](t, "project", "--model", "demo", "--vector", path+":0.5", "--text", text)
	both := answer[projected](t, "project", "--model", "demo", "--vector", path+":0.5", "--text", text, "--steered")
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	vector, err := steer.LoadVector(path)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := model.Tokenize(text)
	if err != nil {
		t.Fatal(err)
	}
	want, err := vector.Project(t.Context(), model, [][]int{tokens}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(plain.Vectors) != 0 || len(both.Vectors) != 1 {
		t.Errorf("%d and %d vectors acted", len(plain.Vectors), len(both.Vectors))
	}
	for k, token := range plain.Layers[0].Tokens {
		steered := both.Layers[0].Tokens[k]
		if token.Unsteered != want[3][0][k] || token.Steered != nil || steered.Unsteered != token.Unsteered {
			t.Errorf("token %d is %+v and %+v, want %v", k, token, steered, want[3][0][k])
		}
		if moved := *steered.Steered - steered.Unsteered; math.Abs(moved-0.5*vector.Norms()[3]) > 1e-3*vector.Norms()[3] {
			t.Errorf("token %d moved by %v", k, moved)
		}
	}
	if table := must(t, "project", "--model", "demo", "--vector", path, "--text", text); !strings.Contains(table, " happy") || !strings.ContainsAny(table, "▸◂") {
		t.Errorf("without color the table is\n%s", table)
	}
	t.Setenv("CLICOLOR_FORCE", "1")
	if colored := must(t, "project", "--model", "demo", "--vector", path, "--text", text); !strings.Contains(colored, "\x1b[48;5;") {
		t.Errorf("with color it is\n%q", colored)
	}
}
