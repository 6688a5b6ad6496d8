package steer_test

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/demo/stories"
)

// These tests use a model that has learned something: little stories in several
// moods. Random weights cannot show that steering does what it is for.

var moodLayers = []int{3}

// Seeds apart from each other and from those that the model was trained on.
const (
	trainedOn = 11 << 32
	heldOut   = 12 << 32
)

func openDemo(t *testing.T) *lm.Model {
	t.Helper()
	m, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func trainMood(t *testing.T, m *lm.Model, pairs []stories.Pair, aggregator steer.Aggregator) *steer.Vector {
	t.Helper()
	var samples []steer.Sample
	for _, p := range pairs {
		samples = append(samples, steer.Sample{Positive: p.Beginning + " " + p.PositiveStatement, Negative: p.Beginning + " " + p.NegativeStatement})
	}
	v, err := steer.Train(t.Context(), m, samples, steer.TrainOptions{
		Aggregator: aggregator, Layers: moodLayers,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// steered returns the model with a vector whose directions have the lengths of
// the mean difference's, so that strengths mean the same for every aggregator.
func steered(t *testing.T, m *lm.Model, v, lengths *steer.Vector, strength float64) *lm.Model {
	t.Helper()
	scaled := &steer.Vector{Site: v.Site, Layers: map[int][]float32{}}
	own, wanted := v.Norms(), lengths.Norms()
	for layer, direction := range v.Layers {
		for _, x := range direction {
			scaled.Layers[layer] = append(scaled.Layers[layer], x*float32(wanted[layer]/own[layer]))
		}
	}
	edit, err := scaled.Edit(strength)
	if err != nil {
		t.Fatal(err)
	}
	return with(t, m, edit)
}

// preference is how much likelier a model finds what follows in the positive
// mood than in the negative one: the mean over pairs of the difference in
// log-probability, in nats a token.
func preference(t *testing.T, m *lm.Model, pairs []stories.Pair) float64 {
	t.Helper()
	var asked []lm.Continuation
	for _, p := range pairs {
		for _, rest := range []stories.Continuation{p.Positive, p.Negative} {
			tokens, err := m.TokenizeContinuation(" " + rest.String())
			if err != nil {
				t.Fatal(err)
			}
			asked = append(asked, lm.Continuation{Prompt: lm.Input{Tokens: tokensOf(t, m, p.Beginning)}, Tokens: tokens})
		}
	}
	scores, err := m.Score(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for i, logprobs := range scores {
		sign := float64(1 - 2*(i%2))
		for _, p := range logprobs {
			total += sign * p / float64(len(logprobs))
		}
	}
	return total / float64(len(pairs))
}

// moodShare writes a continuation of each beginning and returns the share of
// the mood's words that no vector was trained on.
func moodShare(t *testing.T, m *lm.Model, pairs []stories.Pair, mood string) float64 {
	t.Helper()
	var prompts []lm.Input
	for _, p := range pairs {
		prompts = append(prompts, lm.Input{Tokens: tokensOf(t, m, p.Beginning)})
	}
	written, err := m.Generate(context.Background(), prompts, lm.GenerateOptions{MaxTokens: 40, Temperature: 1, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, g := range written {
		all.WriteString(g.Text + "\n")
	}
	return stories.Share(all.String(), mood)
}

func TestSteeringTowardsAMoodMakesItLikelier(t *testing.T) {
	m := openDemo(t)
	moods := [][2]string{{"happy", "sad"}, {"calm", "angry"}}
	if testing.Short() {
		moods = moods[:1]
	}
	for _, mood := range moods {
		pairs, others := stories.Pairs(trainedOn, 48, mood[0], mood[1]), stories.Pairs(heldOut, 32, mood[0], mood[1])
		lengths := trainMood(t, m, pairs, steer.Mean())
		for _, aggregator := range []steer.Aggregator{steer.Mean(), steer.PCA(), steer.Logistic()} {
			t.Run(mood[0]+" by "+aggregator.Name(), func(t *testing.T) {
				v := trainMood(t, m, pairs, aggregator)
				before := math.Inf(-1)
				for strength := -1.5; strength <= 1.5; strength += 0.5 {
					p := preference(t, steered(t, m, v, lengths, strength), others)
					if !(p > before+0.01) {
						t.Errorf("at %+.1f the preference is %.3f, after %.3f: it does not rise", strength, p, before)
					}
					before = p
				}
				low := moodShare(t, steered(t, m, v, lengths, -1), others, mood[0])
				none := moodShare(t, m, others, mood[0])
				high := moodShare(t, steered(t, m, v, lengths, 1), others, mood[0])
				if !(low < none && none < high) {
					t.Errorf("of the words written %.1f %%, %.1f %%, %.1f %% are %s at -1, 0, +1", 100*low, 100*none, 100*high, mood[0])
				}
			})
		}
	}
}

func TestAblationRemovesWhatAdditionAdded(t *testing.T) {
	m := openDemo(t)
	pairs, others := stories.Pairs(trainedOn, 48, "happy", "sad"), stories.Pairs(heldOut, 32, "happy", "sad")
	v := trainMood(t, m, pairs, steer.Mean())
	edit := func(multiplier float64, operator steer.Operator) lm.Edit {
		// One layer: what a later layer adds, an ablation before it cannot remove.
		e, err := v.Edit(multiplier, steer.Using(operator), steer.AtLayers(3))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	add, ablate := edit(2, steer.Add()), edit(1, steer.Ablate())
	plain, added := preference(t, m, others), preference(t, with(t, m, add), others)
	both, ablated := preference(t, with(t, m, add, ablate), others), preference(t, with(t, m, ablate), others)
	if added < plain+0.05 {
		t.Fatalf("addition changes the preference from %.3f to %.3f only", plain, added)
	}
	if math.Abs(both-ablated) > 1e-3 {
		t.Errorf("with what was added ablated the preference is %.4f, with an ablation alone %.4f", both, ablated)
	}
}

func TestAVectorCarriesOverToOtherSubjects(t *testing.T) {
	m := openDemo(t)
	about := func(seed uint64, n int, subjects ...string) []stories.Pair {
		w, found := stories.NewWriter(seed), []stories.Pair(nil)
		for len(found) < n {
			p := w.Pair("happy", "sad")
			for _, s := range subjects {
				if strings.Contains(p.Beginning, " "+s+" ") {
					found = append(found, p)
					break
				}
			}
		}
		return found
	}
	v := trainMood(t, m, about(trainedOn, 40, "fox", "bear", "rabbit", "mouse", "cat", "dog"), steer.Mean())
	others := about(heldOut, 32, "farmer", "baker", "sailor", "painter")
	low, none, high := preference(t, steered(t, m, v, v, -1), others), preference(t, m, others), preference(t, steered(t, m, v, v, 1), others)
	if !(low+0.1 < none && none+0.1 < high) {
		t.Errorf("the preference for happy stories of people is %.3f, %.3f, %.3f with a vector of animals at -1, 0, +1", low, none, high)
	}
}

func TestTheDemoModelWritesSentencesOfItsGrammar(t *testing.T) {
	m := openDemo(t)
	prompts := make([]lm.Input, 40)
	for i := range prompts {
		prompts[i] = lm.Input{Tokens: tokensOf(t, m, "Once there was")}
	}
	written, err := m.Generate(t.Context(), prompts, lm.GenerateOptions{MaxTokens: 120, Temperature: 1, Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	sentences, known := 0, 0
	for _, g := range written {
		if g.Finish != lm.FinishEnd || strings.Contains(g.Text, "Question:") {
			continue
		}
		s, k := stories.Check("Once there was" + g.Text)
		sentences, known = sentences+s, known+k
	}
	t.Logf("%d of %d sentences are the grammar's", known, sentences)
	if sentences < 100 || known < sentences*85/100 {
		t.Errorf("%d of %d sentences are the grammar's", known, sentences)
	}
}

func tokensOf(t *testing.T, m *lm.Model, text string) []int {
	t.Helper()
	tokens, err := m.Tokenize(text)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// Callers of two models at once neither wait for each other for ever nor change
// each other's results.
func TestCallersAtOnceGetWhatTheyGetAlone(t *testing.T) {
	models := []*lm.Model{openDemo(t), openDemo(t)}
	v := trainMood(t, models[0], stories.Pairs(trainedOn, 8, "happy", "sad"), steer.Mean())
	write := func(caller int) string {
		m := models[caller%2]
		if caller%3 > 0 {
			m = steered(t, m, v, v, float64(caller%3)-1.5)
		}
		out, err := m.Generate(t.Context(), []lm.Input{{Tokens: tokensOf(t, m, "Tom the fox lived by the river.")}}, lm.GenerateOptions{MaxTokens: 30})
		if err != nil {
			t.Error(err)
			return ""
		}
		return out[0].Text
	}
	const callers = 12
	var alone, together [callers]string
	for i := range callers {
		alone[i] = write(i)
	}
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() { together[i] = write(i) })
	}
	group.Wait()
	if alone != together {
		t.Errorf("together they write %q, alone %q", together, alone)
	}
}
