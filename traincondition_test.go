package steer_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/demo/stories"
)

// told returns stories of one mood.
func told(t *testing.T, m *lm.Model, seed uint64, n int, mood, other string) (prompts [][]int) {
	t.Helper()
	for _, p := range stories.Pairs(seed, n, mood, other) {
		prompts = append(prompts, tokensOf(t, m, p.Beginning+" "+p.Positive.String()))
	}
	return prompts
}

// A condition that was trained on happy and on sad stories holds on new stories of
// the first kind and not of the other, and what it decides about an edit is whether
// the edit acts.
func TestATrainedConditionFiresOnItsSubject(t *testing.T) {
	m := openDemo(t)
	for _, test := range []struct {
		measure lm.Measure
		read    lm.When
		least   float64 // F1
	}{{lm.CAST, "", 0.75}, {lm.Cosine, "", 0.95}, {lm.Projection, "", 0.95}, {lm.Cosine, lm.PromptLast, 0.7}} {
		v, report, err := steer.TrainCondition(t.Context(), m, told(t, m, trainedOn, 80, "happy", "sad"), told(t, m, trainedOn+1, 80, "sad", "happy"),
			steer.ConditionOptions{Measure: test.measure, Read: test.read})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s of %q: layer %d, %+v held out", test.measure, test.read, report.Layer, report.HeldOut)
		h := report.HeldOut
		if h.Positive != 40 || h.Negative != 40 || h.F1 < test.least {
			t.Errorf("%s of %q: layer %d, %+v held out", test.measure, test.read, report.Layer, h)
		}
		wrong := 0
		for kind, prompts := range [][][]int{told(t, m, heldOut, 20, "happy", "sad"), told(t, m, heldOut+1, 20, "sad", "happy")} {
			for _, prompt := range prompts {
				if changes(t, m, v, prompt) != (kind == 0) {
					wrong++
				}
			}
		}
		if share := float64(wrong) / 40; share > 1.05-test.least {
			t.Errorf("%s of %q: of 40 new stories it is wrong on %d", test.measure, test.read, wrong)
		}
	}
}

// changes reports whether an edit acts on a prompt under the condition of a vector.
func changes(t *testing.T, m *lm.Model, condition *steer.Vector, prompt []int) bool {
	t.Helper()
	when, err := (&steer.When{Vector: "condition"}).Embed(nil, func(string) (*steer.Vector, error) { return condition, nil })
	if err != nil {
		t.Fatal(err)
	}
	vector := demoVector(m)
	edit, err := steer.Intervention{Vector: "v", When: when}.Edit(m, vector)
	if err != nil {
		t.Fatal(err)
	}
	last := func(m *lm.Model) (out []float32) {
		_, err := m.Forward(t.Context(), []lm.Input{{Tokens: prompt, Read: []int{len(prompt) - 1}}}, lm.ForwardOptions{
			Logits: func(_, _ int, logits []float32) { out = slices.Clone(logits) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	return !slices.Equal(last(m), last(with(t, m, edit)))
}

func TestConditionsThatCannotBeTrainedAreErrors(t *testing.T) {
	m := openDemo(t)
	one, two := []int{5, 6}, []int{7, 8, 9}
	for _, test := range []struct {
		name               string
		positive, negative [][]int
		opts               steer.ConditionOptions
		want               string
	}{
		{"too few", [][]int{one}, [][]int{two, two}, steer.ConditionOptions{}, "1 positive and 2 negative prompts"},
		{"the same", [][]int{one, one}, [][]int{one, one}, steer.ConditionOptions{}, "no layer tells the prompts apart"},
		{"each token", [][]int{one, one}, [][]int{two, two}, steer.ConditionOptions{Read: lm.EachToken}, `what is read "token"`},
		{"an unknown measure", [][]int{one, one}, [][]int{two, two}, steer.ConditionOptions{Measure: "angle"}, `the measure "angle" is unknown`},
		{"a layer too many", [][]int{one, one}, [][]int{two, two}, steer.ConditionOptions{Layers: []int{6}}, "layer 6 is out of range"},
	} {
		_, _, err := steer.TrainCondition(t.Context(), m, test.positive, test.negative, test.opts)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	_, _, err := steer.TrainCondition(t.Context(), m, [][]int{one, one}, [][]int{two, {1 << 20}}, steer.ConditionOptions{})
	if wrong := (*lm.InputError)(nil); !errors.As(err, &wrong) || wrong.Input != 3 {
		t.Errorf("a wrong prompt: %v, want an error of prompt 3", err)
	}
}

// On text that nothing was trained on, a clamp leaves the projection of every
// activation where it says, a one-sided ablation takes away what is positive and
// nothing else, and the model's mood follows.
func TestClampsAndOneSidedAblationsDoWhatTheySay(t *testing.T) {
	m := openDemo(t)
	v := trainMood(t, m, stories.Pairs(trainedOn, 48, "happy", "sad"), steer.Mean())
	others := stories.Pairs(heldOut, 24, "happy", "sad")
	const layer = 3
	square := 0.0
	for _, x := range v.Layers[layer] {
		square += float64(x) * float64(x)
	}
	components := func(m *lm.Model) (c []float64) { // how many times an activation has the vector
		var inputs []lm.Input
		for _, p := range others {
			inputs = append(inputs, lm.Input{Tokens: tokensOf(t, m, p.Beginning+" "+p.Positive.String())})
		}
		_, err := m.Forward(t.Context(), inputs, lm.ForwardOptions{
			Taps: []lm.Address{{Layer: layer, Site: lm.DecoderBlock}}, RunTokens: 1 << 16,
			Activation: func(_, _ int, _ lm.Address, h []float32) {
				along := 0.0
				for i, x := range v.Layers[layer] {
					along += float64(x) * float64(h[i])
				}
				c = append(c, along/square)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	plain := components(m)
	positive := 0
	for _, c := range plain {
		if c > 0 {
			positive++
		}
	}
	if positive == 0 || positive == len(plain) {
		t.Fatalf("%d of %d components are positive: that is no test", positive, len(plain))
	}
	preferences := map[string]float64{"": preference(t, m, others)}
	for operator, want := range map[string]func(c float64) float64{
		"clamp:at=0.8":               func(float64) float64 { return 0.8 },
		"clamp:floor=0.5":            func(c float64) float64 { return max(c, 0.5) },
		"clamp:ceiling=-0.5":         func(c float64) float64 { return min(c, -0.5) },
		"clamp:floor=-0.2,ceiling=0": func(c float64) float64 { return min(max(c, -0.2), 0) },
		"ablate-positive":            func(c float64) float64 { return min(c, 0) },
		"ablate-positive:share=0.25": func(c float64) float64 { return c - 0.25*max(c, 0) },
		"ablate:share=0.5":           func(c float64) float64 { return c / 2 },
		"multiply:by=-1":             func(c float64) float64 { return -c },
	} {
		o, err := steer.ParseOperator(operator)
		if err != nil {
			t.Fatal(err)
		}
		edit, err := v.Edit(1, steer.Using(o), steer.AtLayers(layer))
		if err != nil {
			t.Fatal(err)
		}
		steered := with(t, m, edit)
		got := components(steered)
		for i, c := range plain {
			if math.Abs(got[i]-want(c)) > 1e-4 {
				t.Errorf("%s: %v times the vector became %v, want %v", operator, c, got[i], want(c))
				break
			}
		}
		preferences[operator] = preference(t, steered, others)
	}
	t.Logf("preference for happy endings: %.3v", preferences)
	if plain := preferences[""]; !(preferences["clamp:floor=0.5"] > plain+0.02 && preferences["ablate-positive"] < plain-0.01 && preferences["clamp:ceiling=-0.5"] < preferences["ablate-positive"]) {
		t.Errorf("the preference for happy endings is %v", preferences)
	}
}
