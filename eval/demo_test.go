package eval_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/demo/stories"
	"github.com/steervec/steer/pairs"
)

// These tests use a model that has learned something: little stories in several
// moods. What is asked, trained on and read as neutral text are stories apart from
// each other and from those that the model was trained on.
const (
	trainedOn = 21 << 32
	heldOut   = 22 << 32
	neutral   = 23 << 32
)

const moodLayer = 3

func openDemo(t testing.TB) *lm.Model {
	t.Helper()
	m, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// moodSamples are beginnings of stories that say the one mood or the other.
func moodSamples(n int) []steer.Sample {
	var samples []steer.Sample
	for _, p := range stories.Pairs(trainedOn, n, "happy", "sad") {
		samples = append(samples, steer.Sample{Positive: p.Beginning + " " + p.PositiveStatement, Negative: p.Beginning + " " + p.NegativeStatement})
	}
	return samples
}

func moodVector(t testing.TB, m *lm.Model, layers ...int) *steer.Vector {
	t.Helper()
	v, err := steer.Train(t.Context(), m, moodSamples(48), steer.TrainOptions{Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// moodItems are beginnings with what follows in the one mood and in the other.
func moodItems(n int) []pairs.Item {
	var items []pairs.Item
	for i, p := range stories.Pairs(heldOut, n, "happy", "sad") {
		items = append(items, pairs.Item{ID: fmt.Sprint("story-", i), Kind: pairs.PairItem, Options: []pairs.Option{
			{Prompt: p.Beginning, Answer: " " + p.Positive.String(), Matches: true},
			{Prompt: p.Beginning, Answer: " " + p.Negative.String()},
		}})
	}
	return items
}

// neutralText is stories in moods that are neither.
func neutralText(n int) string {
	var text []string
	for _, p := range stories.Pairs(neutral, n, "calm", "angry") {
		text = append(text, p.Beginning+" "+p.Positive.String())
	}
	return strings.Join(text, "\n\n")
}

func use(v *steer.Vector, operator, tokens string) eval.Use {
	return eval.Use{Vector: v, Intervention: steer.Intervention{Operator: operator, Tokens: tokens}}
}
