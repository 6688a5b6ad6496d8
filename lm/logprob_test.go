package lm_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/steervec/steer/lm"
)

// writeTogether writes all in one batch, whose sequences come one step after the
// other.
func writeTogether(t *testing.T, m *lm.Model, opts lm.BatchOptions, all []request) []lm.Generation {
	t.Helper()
	b, err := m.NewBatch(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var sequences []*lm.Sequence
	for len(sequences) < len(all) || b.Open() > 0 {
		if i := len(sequences); i < len(all) {
			s, err := b.Add(t.Context(), all[i].in, all[i].opts)
			if err != nil {
				t.Fatal(err)
			}
			sequences = append(sequences, s)
		}
		if err := b.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	out := make([]lm.Generation, len(all))
	for i, s := range sequences {
		out[i] = s.Generation()
	}
	return out
}

// The log-probabilities of a prompt and of what is written are those that Score
// gives, to the bit, whatever was computed before, beside it or in parts.
func TestLogprobsAreThoseOfScore(t *testing.T) {
	t.Run("keys and values", func(t *testing.T) { testLogprobs(t, open(t)) })
	t.Run("states", func(t *testing.T) { testLogprobs(t, openWithStates(t)) })
}

func testLogprobs(t *testing.T, model *lm.Model) {
	opts := lm.GenerateOptions{MaxTokens: 3, IgnoreEnd: true, Logprobs: true, TopLogprobs: 2, Echo: true}
	plain := lm.GenerateOptions{MaxTokens: 9, IgnoreEnd: true}
	tokens := []int{51, 106, 220, 154, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	all := []request{
		{in: lm.Input{Tokens: tokens}, opts: plain},
		{in: lm.Input{Tokens: tokens}, opts: opts},
		{in: lm.Input{Tokens: tokens[:5]}, opts: opts},
		{in: lm.Input{Tokens: tokens}, opts: opts},
		{in: lm.Input{Tokens: tokens, Steering: steering(t, model, push(model, 1, 0.5, from(3)))}, opts: opts},
		{in: lm.Input{Tokens: tokens[:1]}, opts: opts},
	}
	for _, way := range []struct {
		name  string
		model *lm.Model
		chunk int
	}{{"together", model, 0}, {"chunks of 5", model, 5}, {"cached", model.Cached(4096), 0}, {"cached, chunks of 3", model.Cached(4096), 3}, {"evicted", model.Cached(32), 7}} {
		t.Run(way.name, func(t *testing.T) {
			for _, round := range []string{"cold", "warm"} {
				for i, g := range writeTogether(t, way.model, lm.BatchOptions{RunTokens: way.chunk}, all) {
					if !all[i].opts.Echo {
						if g.Logprobs != nil || g.PromptLogprobs != nil {
							t.Errorf("%s: sequence %d has log-probabilities that nobody asked for", round, i)
						}
						continue
					}
					prompt := all[i].in
					prompt.Tokens = prompt.Tokens[:1]
					written := append(append([]int{}, g.Prompt[1:]...), g.IDs...)
					want, err := model.Score(t.Context(), []lm.Continuation{{Prompt: prompt, Tokens: written}})
					if err != nil {
						t.Fatal(err)
					}
					if g.PromptLogprobs[0].Logprob != 0 || g.PromptLogprobs[0].Top != nil || g.PromptLogprobs[0].Token != g.Prompt[0] {
						t.Errorf("%s: sequence %d: the first token has %+v", round, i, g.PromptLogprobs[0])
					}
					got := append(append([]lm.Logprob{}, g.PromptLogprobs[1:]...), g.Logprobs...)
					if len(got) != len(written) {
						t.Fatalf("%s: sequence %d has %d log-probabilities of %d tokens", round, i, len(got), len(written))
					}
					for k, l := range got {
						if l.Token != written[k] || l.Logprob != want[0][k] {
							t.Errorf("%s: sequence %d, token %d: %+v, scored %v", round, i, k, l, want[0][k])
						}
						if len(l.Top) != 2 || l.Top[0].Logprob < l.Top[1].Logprob || l.Top[0].Logprob < l.Logprob {
							t.Errorf("%s: sequence %d, token %d has the alternatives %+v", round, i, k, l.Top)
						}
					}
					for k, l := range g.Logprobs { // greedy
						if l.Top[0] != (lm.Alternative{Token: g.IDs[k], Logprob: l.Logprob}) {
							t.Errorf("%s: sequence %d wrote %d, the likeliest are %+v", round, i, g.IDs[k], l.Top)
						}
					}
				}
				if err := way.model.CheckCache(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The token that ends a text has a log-probability too.
func TestTheEndTokenHasALogprob(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	end := model.EndTokens()[0]
	out, err := model.Generate(t.Context(), []lm.Input{{Text: "Once"}}, lm.GenerateOptions{Logprobs: true, LogitBias: map[int]float64{end: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	if g := out[0]; g.Finish != lm.FinishEnd || len(g.IDs) != 0 || len(g.Logprobs) != 1 || g.Logprobs[0].Token != end || !(g.Logprobs[0].Logprob < 0) {
		t.Errorf("%+v", g)
	}
}

// Penalties and biases act on what they name and leave log-probabilities alone.
func TestPenaltiesAndBiases(t *testing.T) {
	model := open(t)
	first := func(opts lm.GenerateOptions) lm.Generation {
		opts.MaxTokens, opts.IgnoreEnd, opts.Logprobs, opts.TopLogprobs = 6, true, true, 1
		out, err := model.Generate(t.Context(), []lm.Input{{Tokens: []int{51, 106, 220}}}, opts)
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	plain := first(lm.GenerateOptions{})
	likeliest := plain.IDs[0]
	if g := first(lm.GenerateOptions{LogitBias: map[int]float64{likeliest: -1e4}}); g.IDs[0] == likeliest || !reflect.DeepEqual(g.Logprobs[0].Top, plain.Logprobs[0].Top) {
		t.Errorf("with a bias against %d: %+v", likeliest, g)
	}
	if g := first(lm.GenerateOptions{LogitBias: map[int]float64{7: 1e4}, FrequencyPenalty: 3e3}); !reflect.DeepEqual(g.IDs[:4], []int{7, 7, 7, 7}) || g.IDs[4] == 7 {
		t.Errorf("each time costs 3000 of 10000: it wrote %v", g.IDs)
	}
	if g := first(lm.GenerateOptions{LogitBias: map[int]float64{7: 1e4, 8: 9e3}, PresencePenalty: 2e3}); !reflect.DeepEqual(g.IDs, []int{7, 7, 7, 7, 7, 7}) && !reflect.DeepEqual(g.IDs[:3], []int{7, 8, 7}) {
		t.Errorf("a penalty once: it wrote %v", g.IDs)
	}
	for name, opts := range map[string]lm.GenerateOptions{
		"token 100000, which has a bias, is outside the vocabulary": {LogitBias: map[int]float64{100000: 1}},
		"the bias of token 3 is NaN":                                {LogitBias: map[int]float64{3: math.NaN()}},
		"presence penalty is +Inf":                                  {PresencePenalty: math.Inf(1)},
		"top log-probabilities is -1":                               {TopLogprobs: -1},
	} {
		if _, err := model.Generate(t.Context(), []lm.Input{{Tokens: []int{1}}}, opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A batch of bounded memory takes a sequence when it has room for all that it can
// grow to, and then keeps within the bound.
func TestABatchReservesWhatASequenceCanGrowTo(t *testing.T) {
	const slots = 400
	model := open(t).Cached(slots)
	b, err := model.NewBatch(lm.BatchOptions{Slots: slots, RunTokens: 16})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	opts := lm.GenerateOptions{MaxTokens: 60, IgnoreEnd: true}
	if _, err := b.Add(t.Context(), lm.Input{Tokens: make([]int, 90)}, lm.GenerateOptions{MaxTokens: 250}); err != nil {
		t.Errorf("where the model's positions are the limit: %v", err)
	}
	small, err := model.NewBatch(lm.BatchOptions{Slots: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	if _, err := small.Add(t.Context(), lm.Input{Tokens: []int{1}}, opts); err == nil || errors.Is(err, lm.ErrFull) {
		t.Errorf("a sequence that can never fit: %v", err)
	}
	added, refused, most := 0, 0, 0
	for b.Open() > 0 {
		if err := b.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for added < 6 || b.Open() > 0 {
		if added < 6 {
			tokens := make([]int, 30)
			tokens[0] = added
			switch _, err := b.Add(t.Context(), lm.Input{Tokens: tokens}, opts); {
			case errors.Is(err, lm.ErrFull):
				refused++
			case err != nil:
				t.Fatal(err)
			default:
				added++
			}
		}
		if err := b.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, used := model.CacheUse()
		most = max(most, used)
		if b.Reserved() > slots {
			t.Fatalf("%d slots are reserved", b.Reserved())
		}
	}
	if refused == 0 || most > slots || b.Reserved() != 0 {
		t.Errorf("%d refusals, %d slots at most, %d reserved in the end", refused, most, b.Reserved())
	}
}

// What was computed under one salt is not found under another, nor without one;
// what is written is the same.
func TestASaltPartsWhatIsKept(t *testing.T) {
	model := open(t).Cached(4096)
	tokens := []int{51, 106, 220, 154, 7, 8}
	var first []int
	for i, c := range []struct {
		salt   string
		cached int
	}{{"", 0}, {"", 5}, {"a", 0}, {"a", 5}, {"b", 0}, {"", 5}} {
		out, err := model.Generate(t.Context(), []lm.Input{{Tokens: tokens, Salt: c.salt}}, lm.GenerateOptions{MaxTokens: 4, IgnoreEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = out[0].IDs
		}
		if out[0].Cached != c.cached || !reflect.DeepEqual(out[0].IDs, first) {
			t.Errorf("call %d, salt %q: %d tokens cached, want %d; wrote %v, want %v", i, c.salt, out[0].Cached, c.cached, out[0].IDs, first)
		}
	}
}
