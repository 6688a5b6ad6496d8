package steer_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

func TestConditionsAreWrittenInShortAndAsJSON(t *testing.T) {
	for text, want := range map[string]string{
		"c.safetensors:3>0.2":        `{"vector":"c.safetensors","layer":3,"above":0.2}`,
		"c.safetensors:-2 < -1e-3":   `{"vector":"c.safetensors","layer":-2,"below":-0.001}`,
		"c.safetensors>0":            `{"vector":"c.safetensors","above":0}`,
		"a:b>c:1>2":                  `{"vector":"a:b>c","layer":1,"above":2}`,
		`C:\c.safetensors:1>2`:       `{"vector":"C:\\c.safetensors","layer":1,"above":2}`,
		"c.safetensors":              `{"vector":"c.safetensors"}`,
		"always":                     `{"always":true}`,
		` {"not":{"vector":"c"}} `:   `{"not":{"vector":"c"}}`,
		`{"below":1,"read":"token"}`: `{"read":"token","below":1}`,
	} {
		w, err := steer.ParseWhen(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := json.Marshal(w)
		if err != nil || strings.ReplaceAll(string(got), `\u003e`, ">") != want {
			t.Errorf("%s is read as %s (%v), want %s", text, got, err, want)
		}
	}
	deep := strings.Repeat(`{"not":`, 40) + `{"above":1}` + strings.Repeat("}", 40)
	for text, want := range map[string]string{
		"":                                "names no vector",
		">1":                              "names no vector",
		"c:1>much":                        `"much" is not a threshold`,
		`{"vektor":"c"}`:                  `unknown field "vektor"`,
		`{"above":1} {}`:                  "more after the condition",
		`{}`:                              "it says nothing",
		`{"all":[]}`:                      "a combination of no conditions",
		`{"any":[{"layer":1}]}`:           "no threshold",
		`{"vector":"c","layer":1}`:        "no threshold",
		`{"above":1,"below":2}`:           "both above and below",
		`{"above":1,"not":{"below":1}}`:   "more than one of",
		`{"vector":"c","values":"AAAA"}`:  "both a vector's name and its values",
		`{"values":"AAAAAA==","above":1}`: "values are float32s of a layer",
		`{"all":[{"always":true}]}`:       "always is no part",
		deep:                              "nested more than 32 deep",
	} {
		if w, err := steer.ParseWhen(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %+v, %v; want %q", text, w, err, want)
		}
	}
}

// A condition that names vectors becomes one that holds them, and the edit has it.
func TestConditionsTakeTheVectorsThatTheyName(t *testing.T) {
	model := openDemo(t)
	number := func(x float64) *float64 { return &x }
	owner := &steer.Vector{Layers: map[int][]float32{1: {1, 2}, 3: {3, 4}}, Provenance: steer.Provenance{ModelLayers: 6}}
	one := &steer.Vector{Site: lm.MLP, Layers: map[int][]float32{2: {5, 6}}, Condition: &steer.When{Below: number(0.5), Read: lm.PromptLast}}
	find := func(name string) (*steer.Vector, error) {
		switch name {
		case "one":
			return one, nil
		case "two":
			return owner, nil
		}
		return nil, os.ErrNotExist
	}
	evidence := func(e lm.Evidence) *lm.Condition { return &lm.Condition{Evidence: &e} }
	for _, test := range []struct {
		text string
		want *lm.Condition
		err  string
	}{
		{"two:3>0.2", evidence(lm.Evidence{Layer: 3, Site: lm.DecoderBlock, Vector: []float32{3, 4}, Threshold: 0.2}), ""},
		{"two:-5>0.2", evidence(lm.Evidence{Layer: -5, Site: lm.DecoderBlock, Vector: []float32{1, 2}, Threshold: 0.2}), ""},
		{"one<1", evidence(lm.Evidence{Layer: 2, Site: lm.MLP, Vector: []float32{5, 6}, Threshold: 1, Below: true}), ""},
		{"one", evidence(lm.Evidence{Layer: 2, Site: lm.MLP, Vector: []float32{5, 6}, Threshold: 0.5, Below: true, When: lm.PromptLast}), ""},
		{"always", nil, ""},
		{`{"any":[{"layer":1,"above":2,"release":1,"read":"token","measure":"cosine"},{"not":{"vector":"one"}}]}`, &lm.Condition{Any: []lm.Condition{
			*evidence(lm.Evidence{Layer: 1, Site: lm.DecoderBlock, Vector: []float32{1, 2}, Threshold: 2, Release: number(1), When: lm.EachToken, Measure: lm.Cosine}),
			{Not: evidence(lm.Evidence{Layer: 2, Site: lm.MLP, Vector: []float32{5, 6}, Threshold: 0.5, Below: true, When: lm.PromptLast})},
		}}, ""},
		{`{"all":[{"layer":1,"above":2}]}`, &lm.Condition{All: []lm.Condition{*evidence(lm.Evidence{Layer: 1, Site: lm.DecoderBlock, Vector: []float32{1, 2}, Threshold: 2})}}, ""},
		{"two>0.2", nil, "vector two has layers [1 3]; say which one"},
		{"two:4>0.2", nil, "the vector has no layer 4"},
		{"two", nil, "vector two has no condition of its own"},
		{"three:1>2", nil, os.ErrNotExist.Error()},
	} {
		w, err := steer.ParseWhen(test.text)
		if err != nil {
			t.Fatal(err)
		}
		embedded, err := w.Embed(owner, find)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %q", test.text, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		edit, err := steer.Intervention{Vector: "v", When: embedded}.Edit(model, demoVector(model))
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
		} else if !reflect.DeepEqual(edit.Condition, test.want) {
			t.Errorf("%s: %+v, want %+v", test.text, edit.Condition, test.want)
		}
	}
	_, err := steer.Intervention{Vector: "v", When: &steer.When{Vector: "one"}}.Edit(openDemo(t), owner)
	if wrong := (*steer.InterventionError)(nil); !errors.As(err, &wrong) || wrong.Key != "when" || !strings.Contains(err.Error(), "has not been looked up") {
		t.Errorf("a condition that was not looked up: %v", err)
	}
}

// A vector's file keeps its condition, which holds where nothing else is said; what
// is made of the vector keeps what it reads.
func TestAVectorFileKeepsItsCondition(t *testing.T) {
	model := openDemo(t)
	v := demoVector(model)
	at, above := 1, 0.25
	v.Condition = &steer.When{Layer: &at, Measure: lm.Projection, Above: &above}
	if _, ok := v.Layers[at]; !ok {
		t.Fatalf("the vector has layers %v", v.Layers)
	}
	path := filepath.Join(t.TempDir(), "v.safetensors")
	if err := v.Save(path); err != nil {
		t.Fatal(err)
	}
	loaded, err := steer.LoadVector(path)
	if err != nil || !reflect.DeepEqual(loaded.Condition, v.Condition) {
		t.Fatalf("%+v came back, %v", loaded, err)
	}
	negated, err := loaded.Negate()
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*steer.Vector{"read from a file": loaded, "negated": negated} {
		edit, err := steer.Intervention{Vector: "v"}.Edit(model, w)
		if err != nil || edit.Condition == nil || !slices.Equal(edit.Condition.Evidence.Vector, v.Layers[at]) {
			t.Errorf("%s: %+v, %v", name, edit.Condition, err)
		}
	}
	edit, err := steer.Intervention{Vector: "v", When: &steer.When{Always: true}}.Edit(model, loaded)
	if err != nil || edit.Condition != nil {
		t.Errorf("always: %+v, %v", edit.Condition, err)
	}
	v.Condition = &steer.When{Vector: "another"}
	if err := v.Save(path); err == nil || !strings.Contains(err.Error(), "has not been looked up") {
		t.Errorf("a condition with a name is saved: %v", err)
	}
}

func FuzzParseWhen(f *testing.F) {
	for _, text := range []string{"c:1>0.5", "c<2", "always", `{"all":[{"above":1},{"not":{"vector":"c"}}]}`, "{"} {
		f.Add(text)
	}
	own := &steer.Vector{Layers: map[int][]float32{0: {1}}}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := steer.ParseWhen(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		back, err := steer.ParseWhen(string(again))
		if err != nil {
			t.Fatalf("%q is written as %s: %v", text, again, err)
		}
		if embedded, err := back.Embed(own, func(string) (*steer.Vector, error) { return own, nil }); err == nil {
			if err := embedded.Check(); err != nil {
				t.Fatalf("%q is embedded as %+v: %v", text, embedded, err)
			}
		}
	})
}
