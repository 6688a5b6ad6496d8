package steer_test

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/aggregators"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/demo/stories"
)

// eventSamples are stories up to the word that says how somebody was: after something
// good, which calls for "happy", and after something sad.
func eventSamples(seed uint64, n int) (samples []steer.Sample) {
	for _, p := range stories.Pairs(seed, n, "happy", "sad") {
		was := strings.TrimSuffix(p.PositiveStatement, " happy.")
		samples = append(samples, steer.Sample{Positive: p.Beginning + " " + p.Positive.Event + " " + was, Negative: p.Beginning + " " + p.Negative.Event + " " + was})
	}
	return samples
}

func firstToken(t *testing.T, m *lm.Model, text string) int {
	t.Helper()
	ids, err := m.TokenizeContinuation(text)
	if err != nil {
		t.Fatal(err)
	}
	return ids[0]
}

func TestTheDirectionThatRemovesAndInducesABehaviourIsSelected(t *testing.T) {
	m := openDemo(t)
	happy := firstToken(t, m, " happy")
	s, err := steer.SelectDirection(t.Context(), m, eventSamples(trainedOn, 48), steer.SelectOptions{Begins: []int{happy}, Positions: []int{-1, -3}})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Candidates) != 6 || s.Positive < 4 || s.Negative > -4 {
		t.Errorf("%d candidates, and scores of %v and %v without steering", len(s.Candidates), s.Positive, s.Negative)
	}
	for _, c := range s.Candidates {
		switch {
		case c.Layer > 2 || (c.KL > 0.1) != strings.Contains(c.Dropped, "nats"):
			t.Errorf("%+v", c) // of six layers the last fifth is left out, and what the third next reads
		case c.Dropped == "" && c.Remove < s.Chosen.Remove:
			t.Errorf("%+v removes more than %+v, which was chosen", c, s.Chosen)
		}
	}
	if s.Chosen.Induce < 0 || s.Chosen.Remove > s.Positive-3 || s.Chosen.Dropped != "" {
		t.Errorf("%+v was chosen", s.Chosen)
	}
	v := s.Vector
	if len(v.Layers) != 1 || v.Layers[s.Chosen.Layer] == nil || v.Provenance.Read != strconv.Itoa(s.Chosen.Position) {
		t.Errorf("the vector has %d layers, read at %s", len(v.Layers), v.Provenance.Read)
	}

	// On other stories the vector does what its scores say.
	edit, err := v.Edit(1)
	if err != nil {
		t.Fatal(err)
	}
	added, err := m.With(edit)
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range eventSamples(heldOut, 10) {
		before, after := probability(t, m, sample.Negative, happy), probability(t, added, sample.Negative, happy)
		if after < 0.5 || before > 0.1 {
			t.Errorf("the probability goes from %.2g to %.2g after %q", before, after, sample.Negative)
		}
	}
}

// probability returns that of a token behind a text.
func probability(t *testing.T, m *lm.Model, text string, token int) float64 {
	t.Helper()
	p, err := m.Score(t.Context(), []lm.Continuation{{Prompt: lm.Input{Text: text}, Tokens: []int{token}}})
	if err != nil {
		t.Fatal(err)
	}
	return math.Exp(p[0][0])
}

func TestASelectionThatLeavesNothingSaysWhy(t *testing.T) {
	m := openDemo(t)
	samples := eventSamples(trainedOn, 16)
	happy, sad := firstToken(t, m, " happy"), firstToken(t, m, " sad")
	for _, test := range []struct {
		name    string
		opts    steer.SelectOptions
		dropped string
	}{
		{"what is added does not induce", steer.SelectOptions{Begins: []int{sad}, Positions: []int{-1}}, "does not induce"},
		{"other prompts change", steer.SelectOptions{Begins: []int{happy}, Positions: []int{-1}, MaxKL: 1e-9}, "nats"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := steer.SelectDirection(t.Context(), m, samples, test.opts)
			wantError(t, err, "none of 3 candidates")
			if s == nil || s.Vector != nil || len(s.Candidates) != 3 {
				t.Fatalf("the selection is %+v", s)
			}
			for _, c := range s.Candidates {
				if !strings.Contains(c.Dropped, test.dropped) {
					t.Errorf("%+v", c)
				}
			}
		})
	}
	for _, test := range []struct {
		samples []steer.Sample
		opts    steer.SelectOptions
		want    string
	}{
		{samples, steer.SelectOptions{}, "are not given"},
		{samples, steer.SelectOptions{Begins: []int{1 << 20}}, "not in the vocabulary"},
		{samples[:3], steer.SelectOptions{Begins: []int{happy}}, "0 to try candidates on"},
		{samples, steer.SelectOptions{Begins: []int{happy}, Aggregator: aggregators.LEACE()}, "gives no direction"},
		{samples, steer.SelectOptions{Begins: []int{happy}, Positions: []int{-999}}, "outside its"},
	} {
		_, err := steer.SelectDirection(t.Context(), m, test.samples, test.opts)
		wantError(t, err, test.want)
	}
}

// Where nothing is said, the positions are those behind what differs: here the end of a
// chat template.
func TestPositionsBehindTheMessageAreTried(t *testing.T) {
	m := talkingDemo(t)
	samples, _, err := steer.RenderChat(t.Context(), tokenizerOf(t, m), eventSamples(trainedOn, 16), steer.Chat{})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := steer.SelectDirection(t.Context(), m, samples, steer.SelectOptions{Begins: []int{firstToken(t, m, " happy")}, Layers: []int{1}})
	end, err := m.TokenizeContinuation(" assistant:")
	if err != nil || s == nil {
		t.Fatal(err)
	}
	var positions []int
	for _, c := range s.Candidates {
		positions = append(positions, c.Position)
	}
	// Also the last words of the message are the same: "was very".
	if len(positions) < len(end) || positions[len(positions)-1] != -1 || positions[0] != -len(positions) {
		t.Errorf("positions %v for an end of %d tokens", positions, len(end))
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v; want one with %q", err, want)
	}
}
