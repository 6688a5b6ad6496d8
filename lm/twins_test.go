package lm_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/steervec/steer/lm"
)

// A few prompts, each steered in many ways and not at all: what a call computes
// from the first edited layers on, with the twins' residual stream, keys and
// values, is to the bit what every input gives alone, and it is less.
func TestManySteeringsOfTheSameTokensGiveWhatEachGivesAlone(t *testing.T) {
	saved, states, plain := 0, 0, 0
	for seed := range uint64(60) {
		w := newWorld(t, 1000+seed)
		r := rand.New(rand.NewPCG(seed, 5))
		v := w.views[0]
		steerings := []*lm.Steering{nil}
		for range 8 {
			s, err := v.plain.Steering(w.edit(r, v.plain))
			if err != nil {
				t.Fatal(w.name, err)
			}
			steerings = append(steerings, s)
		}
		var inputs []lm.Input
		for range 3 {
			in := w.input(r)
			in.Prompt = 1 + r.IntN(len(in.Tokens))
			if r.IntN(2) == 0 {
				in.Read = []int{r.IntN(len(in.Tokens)), len(in.Tokens) - 1}
			}
			for _, s := range steerings {
				in.Steering = s
				inputs = append(inputs, in)
			}
		}
		opts := lm.ForwardOptions{RunTokens: 1 + r.IntN(60)}
		if r.IntN(2) == 0 {
			opts.Taps = []lm.Address{{Layer: v.plain.Layers() - 1, Site: lm.DecoderBlock}}
		}
		read := func(m *lm.Model, inputs []lm.Input, name func(int) int) (map[string][]float32, lm.Usage) {
			out, opts := map[string][]float32{}, opts
			completed := map[int]bool{}
			opts.Activation = func(input, position int, at lm.Address, activation []float32) {
				out[fmt.Sprint(name(input), position, at)] = slices.Clone(activation)
			}
			opts.Logits = func(input, position int, logits []float32) {
				out[fmt.Sprint(name(input), position)] = slices.Clone(logits)
			}
			opts.Completed = func(input int) error {
				if completed[input] {
					return fmt.Errorf("input %d is completed twice", input)
				}
				completed[input] = true
				return nil
			}
			last := 0
			opts.Progress = func(done, total int) {
				if done < last || done > total {
					t.Errorf("%s: %d of %d tokens after %d", w.name, done, total, last)
				}
				last = done
			}
			usage, err := m.Forward(t.Context(), inputs, opts)
			if err != nil {
				t.Fatal(w.name, err)
			}
			if len(completed) != len(inputs) {
				t.Errorf("%s: %d of %d inputs are completed", w.name, len(completed), len(inputs))
			}
			return out, usage
		}
		want := map[string][]float32{}
		apart := 0
		for i := range inputs {
			alone, usage := read(v.plain, inputs[i:i+1], func(int) int { return i })
			for key, values := range alone {
				want[key] = values
			}
			apart += usage.ComputedLayers
		}
		for _, m := range []*lm.Model{v.plain, v.cached, v.cached} {
			got, usage := read(m, inputs, func(input int) int { return input })
			if len(got) != len(want) {
				t.Errorf("%s: %d results, alone %d", w.name, len(got), len(want))
			}
			for key, values := range want {
				if !slices.Equal(got[key], values) {
					t.Fatalf("%s: input, position, address %s: %v, alone %v", w.name, key, got[key], values)
				}
			}
			if usage.ComputedLayers > apart {
				t.Errorf("%s: %d token-layers computed, alone %d", w.name, usage.ComputedLayers, apart)
			}
			if usage.ComputedLayers < usage.Computed*v.plain.Layers() {
				saved++
				if v.plain.Decoder().StateWeight() > 0 {
					states++
				}
			} else {
				plain++
			}
			if err := m.CheckCache(); err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
		}
	}
	if saved < 20 || states < 20 {
		t.Errorf("%d calls began at an edited layer, %d of them of models with states, %d did not: the test hardly looks at what it is for", saved, states, plain)
	}
}

// With a scope after the prompt, the prompt is computed once for a whole grid, and
// of each answer what lies above the edited layer.
func TestAGridComputesThePromptOnce(t *testing.T) {
	m := open(t)
	prompt := make([]int, 40)
	for i := range prompt {
		prompt[i] = (i*7 + 3) % 100
	}
	const points = 6
	for _, test := range []struct {
		name   string
		tokens lm.Tokens
		want   int // token-layers, of a model of so many layers with an edit at the last
	}{
		{"after the prompt", answer{}, 42*m.Layers() + points*2},
		{"everywhere", nil, 42*m.Layers() + points*42},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []lm.Continuation
			for point := range points {
				edit := push(m, m.Layers()-1, float32(point+1), test.tokens)
				asked = append(asked, lm.Continuation{Prompt: lm.Input{Tokens: prompt, Steering: steering(t, m, edit)}, Tokens: []int{5, 6, 7}})
			}
			var usage lm.Usage
			got, err := m.Score(t.Context(), asked, lm.CountTo(&usage))
			if err != nil {
				t.Fatal(err)
			}
			if usage.ComputedLayers != test.want || usage.GivenLayers != points*42*m.Layers() {
				t.Errorf("%+v, want %d token-layers of %d", usage, test.want, points*42*m.Layers())
			}
			for i := range asked {
				alone, err := m.Score(t.Context(), asked[i:i+1])
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got[i], alone[0]) {
					t.Errorf("point %d: %v, alone %v", i, got[i], alone[0])
				}
			}
		})
	}
}

func TestDivergence(t *testing.T) {
	logs := func(p ...float64) []float32 {
		out := make([]float32, len(p))
		for i := range p {
			out[i] = float32(math.Log(p[i]))
		}
		return out
	}
	for _, test := range []struct {
		name string
		p, q []float32
		want float64
	}{
		{"equal", logs(0.2, 0.3, 0.5), logs(0.2, 0.3, 0.5), 0},
		{"a fair coin from a bent one", logs(0.5, 0.5), logs(0.9, 0.1), 0.5*math.Log(0.5/0.9) + 0.5*math.Log(0.5/0.1)},
		{"a bent coin from a fair one", logs(0.9, 0.1), logs(0.5, 0.5), 0.9*math.Log(1.8) + 0.1*math.Log(0.2)},
		{"an impossible token", logs(1, 1e-30), logs(0.5, 0.5), math.Log(2)},
	} {
		if got := lm.Divergence(test.p, test.q); math.Abs(got-test.want) > 1e-6 {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	out := make([]float32, 3)
	lm.LogProbabilities(out, []float32{1, 2, 3})
	sum := 0.0
	for _, l := range out {
		sum += math.Exp(float64(l))
	}
	if math.Abs(sum-1) > 1e-6 || out[2]-out[1] != 1 {
		t.Errorf("log-probabilities %v: they sum to %v", out, sum)
	}
}
