package steer_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

func demoVector(model *lm.Model) *steer.Vector {
	v := &steer.Vector{Layers: map[int][]float32{}}
	for _, layer := range []int{1, 2, 3} {
		v.Layers[layer] = make([]float32, model.Width(layer, lm.DecoderBlock))
		v.Layers[layer][layer] = 1
	}
	return v
}

func TestAnInterventionIsTheEditThatItsKeysSay(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	calibrated := demoVector(model)
	calibrated.Calibration = &steer.Calibration{Multiplier: 4, Budget: 1}
	ablating := demoVector(model)
	ablating.Operator = "ablate"
	for text, test := range map[string]struct {
		vector  *steer.Vector
		factor  float64
		options []steer.EditOption
	}{
		`{"vector":"v"}`:                                    {demoVector(model), 1, nil},
		`{"vector":"v","multiplier":0}`:                     {demoVector(model), 0, nil},
		`{"vector":"v","multiplier":-0.5,"layers":[1,-3]}`:  {demoVector(model), -0.5, []steer.EditOption{steer.AtLayers(1, 3)}},
		`{"vector":"v","layers":"1:3","tokens":"response"}`: {demoVector(model), 1, []steer.EditOption{steer.AtLayers(1, 2), steer.OnTokens(steer.Response())}},
		`{"vector":"v","strength":0.5}`:                     {calibrated, 2, nil},
		`{"vector":"v"} `:                                   {ablating, 1, []steer.EditOption{steer.Using(steer.Ablate())}},
		`{"vector":"v","operator":"add"}`:                   {ablating, 1, []steer.EditOption{steer.Using(steer.Add())}},
	} {
		var intervention steer.Intervention
		if err := json.Unmarshal([]byte(text), &intervention); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, err := intervention.Edit(model, test.vector)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		want, err := test.vector.Edit(test.factor, test.options...)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is another edit than its keys say", text)
		}
		again, err := json.Marshal(intervention)
		if err != nil {
			t.Fatal(err)
		}
		var back steer.Intervention
		if err := json.Unmarshal(again, &back); err != nil || !reflect.DeepEqual(back, intervention) {
			t.Errorf("%s comes back as %s, %v", text, again, err)
		}
	}
}

func TestWhatIsWrongWithAnInterventionNamesItsKey(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"vector":"v","operator":"turn"}`:           "operator",
		`{"vector":"v","tokens":"1::0"}`:             "tokens",
		`{"vector":"v","layers":[99]}`:               "layers",
		`{"vector":"v","strength":1}`:                "strength",
		`{"vector":"v","strength":1,"multiplier":1}`: "strength",
	} {
		var intervention steer.Intervention
		if err := json.Unmarshal([]byte(text), &intervention); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		_, err := intervention.Edit(model, demoVector(model))
		if wrong := (*steer.InterventionError)(nil); !errors.As(err, &wrong) || wrong.Key != want {
			t.Errorf("%s: error %v, want one of key %s", text, err, want)
		}
	}
	for text, want := range map[string]string{`{"layers":1.5}`: "layers are", `{"layers":"x"}`: "is not a layer", `{"layers":[1.5]}`: "layers are"} {
		var intervention steer.Intervention
		if err := json.Unmarshal([]byte(text), &intervention); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

func TestAVectorFileKeepsHowTheVectorActs(t *testing.T) {
	want := &steer.Vector{
		Site: lm.DecoderBlock, Rank: 2, Operator: "ablate", Layers: map[int][]float32{3: {1, 2, 3, 4}},
		Calibration: &steer.Calibration{Multiplier: 2.5, Budget: 1, Operator: "ablate", Layers: []int{3}, Tokens: "response", TextHash: "sha256:00"},
	}
	path := filepath.Join(t.TempDir(), "v.safetensors")
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	if got, err := steer.LoadVector(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v came back, %v; want %+v", got, err, want)
	}
	for name, change := range map[string]func(v *steer.Vector){
		"turn":       func(v *steer.Vector) { v.Operator = "turn" },
		"multiplier": func(v *steer.Vector) { v.Calibration.Multiplier = 0 },
	} {
		bad, calibration := *want, *want.Calibration
		bad.Calibration = &calibration
		change(&bad)
		if err := bad.Save(path); err != nil {
			t.Fatal(err)
		}
		if _, err := steer.LoadVector(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a file with a wrong %s is read: %v", name, err)
		}
	}
}
