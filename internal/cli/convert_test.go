package cli

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/doctor"
)

const foreign = "../../vecfile/testdata/"

// A vector is the same after a way through any format, and every command that
// takes a vector takes the file as it is.
func TestVectorsSteerTheSameInEveryFormat(t *testing.T) {
	vector := trained(t, "2,3")
	generate := []string{"generate", "--model", "demo", "--prompt", "Tom was", "--max-tokens", "8", "--vector"}
	want := must(t, append(generate, vector+":0.7")...)
	if want == must(t, generate[:len(generate)-1]...) {
		t.Fatal("the vector changes nothing")
	}
	first, err := os.ReadFile(vector)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"v.gguf", "v.npz", "v.pt", "v.svec", "v.json", "v.safetensors"} {
		path, back := filepath.Join(dir, name), filepath.Join(dir, name+".back")
		if got := answer[converted](t, "convert", vector, path); !slices.Equal(got.Layers, []int{2, 3}) || got.Producer != "steer" || len(got.Notes) > 0 {
			t.Errorf("%s: converted as %+v", name, got)
		}
		if got := must(t, append(generate, path+":0.7")...); got != want {
			t.Errorf("%s: it writes %q, want %q", name, got, want)
		}
		must(t, "convert", path, back, "--to", "native")
		if second, _ := os.ReadFile(back); !bytes.Equal(first, second) {
			t.Errorf("%s: another file comes back", name)
		}
		if out := must(t, "inspect", path); !strings.Contains(out, "layer 3") || !strings.Contains(out, "mean") {
			t.Errorf("%s: shown as\n%s", name, out)
		}
	}
}

func TestConvertTellsWhatItAssumesAndLoses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	got := answer[converted](t, "convert", foreign+"evil_response_avg_diff.pt", at("persona.safetensors"))
	if got.Producer != "persona-vectors" || !slices.Equal(got.Layers, []int{0, 1, 2}) || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "0 is left out: it is the embeddings") {
		t.Errorf("converted as %+v", got)
	}
	if out := must(t, "inspect", at("persona.safetensors")); !strings.Contains(out, "row r is what enters block r") {
		t.Errorf("what was assumed is not in the file:\n%s", out)
	}
	got = answer[converted](t, "convert", foreign+"bare_float16.pt", at("bare.safetensors"), "--layer", "3")
	if !slices.Equal(got.Layers, []int{3}) {
		t.Errorf("converted as %+v", got)
	}

	code, _, diagnostics := steerWith(t.Context(), "", "convert", at("persona.safetensors"), at("persona.gguf"))
	if code != exitFailure || !strings.Contains(diagnostics, "layer 0: the format begins at 1") {
		t.Errorf("a loss that is not allowed: exit code %d: %s", code, diagnostics)
	}
	if _, err := os.Stat(at("persona.gguf")); err == nil {
		t.Error("it writes the file all the same")
	}
	got = answer[converted](t, "convert", at("persona.safetensors"), at("persona.gguf"), "--lossy")
	if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "lost: layer 0") {
		t.Errorf("lost is %q", got.Notes)
	}

	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"convert", foreign + "dict.pt", at("x.gguf")}, "name its producer, as steer convert --from does: blocks"},
		{[]string{"convert", foreign + "hostile.pt", at("x.gguf")}, `class "posix.system" is not one that is rebuilt`},
		{[]string{"generate", "--model", "demo", "--prompt", "a", "--vector", foreign + "dict.pt"}, "name its producer"},
		{[]string{"inspect", foreign + "dict.pt"}, "steer doctor shows what is in it"},
		{[]string{"convert", at("persona.safetensors"), foreign + "repeng.gguf"}, "is not a file that steer wrote; --force replaces it"},
	} {
		code, _, diagnostics := steerWith(t.Context(), "", test.args...)
		if code != exitFailure || !strings.Contains(diagnostics, test.want) || strings.Count(diagnostics, "\n") != 1 {
			t.Errorf("steer %q: exit code %d: %s", test.args, code, diagnostics)
		}
	}
}

func TestCombineDoesWhatItSays(t *testing.T) {
	a, b := trained(t, "2,3"), filepath.Join(t.TempDir(), "b")
	must(t, "train", "--model", "demo", "--pairs", moodPairs, "--layers", "2,3", "--aggregator", "pca", "--out", b)
	va, vb := loadVector(t, a), loadVector(t, b)
	out := filepath.Join(t.TempDir(), "out")
	norm := func(layer int) float64 { return loadVector(t, out).Norms()[layer] }

	must(t, "combine", a, b+":-0.5", "--out", out)
	for i, x := range loadVector(t, out).Layers[3] {
		if want := va.Layers[3][i] - 0.5*vb.Layers[3][i]; math.Abs(float64(x-want)) > 1e-6 {
			t.Fatalf("element %d of the sum is %v, want %v", i, x, want)
		}
	}
	must(t, "combine", a, b, "--how", "average", "--layers", "3", "--negate", "--scale", "2", "--out", out)
	averaged := loadVector(t, out)
	for i, x := range averaged.Layers[3] {
		if want := -(va.Layers[3][i] + vb.Layers[3][i]); math.Abs(float64(x-want)) > 1e-5 || len(averaged.Layers) != 1 {
			t.Fatalf("element %d of minus twice the average is %v, want %v", i, x, want)
		}
	}
	if text := averaged.Provenance.Operations; !strings.Contains(text, "averaged with") || !strings.Contains(text, "negated; scaled by 2") {
		t.Errorf("what was done is told as %q", text)
	}
	must(t, "combine", b, "--against", a, "--normalise", "--out", out)
	if n := norm(3); math.Abs(n-1) > 1e-6 {
		t.Errorf("normalised, its length is %v", n)
	}
	cosines := answer[shownCosines](t, "inspect", a, b, out)
	for _, l := range cosines.Layers {
		if c := *l.Cosines[0][2]; math.Abs(c) > 1e-5 {
			t.Errorf("layer %d: what is left of the second has the cosine %v with the first", l.Layer, c)
		}
		if *l.Cosines[0][1] != *l.Cosines[1][0] || math.Abs(*l.Cosines[1][1]-1) > 1e-12 {
			t.Errorf("layer %d: cosines %v", l.Layer, l.Cosines)
		}
	}
	if got := answer[struct {
		Vectors    []string
		Layers     []int
		Rows       int
		Operations string
		Out        string
	}](t, "combine", a, b, "--how", "principal", "--rank", "2", "--out", out); got.Rows != 2 {
		t.Errorf("combined as %+v", got)
	}
	if table := must(t, "inspect", a, b, out); !strings.Contains(table, "A·B") || !strings.Contains(table, "1.0000") {
		t.Errorf("the table is\n%s", table)
	}
}

func TestTheDoctorKnowsWhereDirectionsAct(t *testing.T) {
	ints := func(get func(doctor.Layer) *int, r doctor.Report) (out []int) {
		for _, l := range r.Layers {
			if n := get(l); n != nil {
				out = append(out, *n)
			}
		}
		return out
	}
	vector := trained(t, "3")
	for _, test := range []struct {
		args                      []string
		producer                  string
		here, llamaCpp, elsewhere []int
		trap                      string
	}{
		{[]string{foreign + "repeng.gguf"}, "repeng", []int{1, 2, 3}, []int{1, 2, 3}, []int{1, 2, 3}, "if block 3 is the model's last"},
		{[]string{foreign + "cvector.gguf"}, "cvector-generator", []int{0, 1, 2}, []int{1, 2, 3}, []int{1, 2, 3}, "one block behind"},
		{[]string{foreign + "jukofyork.gguf", "--from", "jukofyork"}, "jukofyork", []int{1, 2}, []int{2, 3}, []int{2, 3}, "one block behind"},
		{[]string{foreign + "easysteer.gguf"}, "easysteer", []int{0, 2}, nil, []int{0, 2}, "refuses a file that has direction.0"},
		{[]string{foreign + "ibm.svec"}, "ibm", []int{0, 2, 5}, nil, []int{-1, 1, 4}, "one block before"},
		{[]string{foreign + "evil_response_avg_diff.pt"}, "persona-vectors", []int{0, 1, 2}, nil, []int{0, 1, 2}, "one more than the layer here"},
		{[]string{foreign + "vec_layer_13_Llama-2-7b-hf.pt"}, "caa", []int{13}, []int{13}, []int{13}, "last but one token"},
		{[]string{vector}, "steer", []int{3}, []int{3}, []int{3}, ""},
		{[]string{foreign + "dict.pt"}, "", nil, nil, nil, ""},
	} {
		r := answer[doctor.Report](t, append([]string{"doctor"}, test.args...)...)
		here := ints(func(l doctor.Layer) *int { return l.Layer }, r)
		llamaCpp := ints(func(l doctor.Layer) *int { return l.LlamaCpp }, r)
		elsewhere := ints(func(l doctor.Layer) *int { return l.Elsewhere }, r)
		if r.Producer != test.producer || !slices.Equal(here, test.here) || !slices.Equal(llamaCpp, test.llamaCpp) || !slices.Equal(elsewhere, test.elsewhere) {
			t.Errorf("%q: of %q; here %v, in llama.cpp %v, elsewhere %v", test.args, r.Producer, here, llamaCpp, elsewhere)
		}
		if traps := strings.Join(r.Traps, "; "); !strings.Contains(traps, test.trap) || test.trap == "" && traps != "" {
			t.Errorf("%q: its traps are %q, want %q", test.args, traps, test.trap)
		}
	}
	if out := must(t, "doctor", foreign+"dict.pt"); !strings.Contains(out, "perhaps written by") || !strings.Contains(out, "does not tell how it numbers layers") {
		t.Errorf("what is not certain is shown as\n%s", out)
	}
}
