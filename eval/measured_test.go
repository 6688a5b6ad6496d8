package eval_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// throughJSON returns what a file would give back.
func throughJSON(t *testing.T, m *eval.Measured) *eval.Measured {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := &eval.Measured{}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// evaluationOf is an evaluation of the mood vector on items of several kinds.
func evaluationOf(t *testing.T, m *lm.Model, multipliers ...float64) (*eval.Evaluator, []eval.Arm) {
	t.Helper()
	items := append(moodItems(9),
		pairs.Item{ID: "multiple", Kind: pairs.MC1Item, Options: []pairs.Option{{Prompt: "Anna said", Answer: " yes", Matches: true}, {Prompt: "Anna said", Answer: " no"}, {Prompt: "Anna said", Answer: " maybe"}}},
		pairs.Item{ID: "open 1", Kind: pairs.QuestionItem, Options: []pairs.Option{{Prompt: "Anna had a red kite."}}},
		pairs.Item{ID: "open 2", Kind: pairs.QuestionItem, Options: []pairs.Option{{Prompt: "Anna had a blue kite."}}},
		pairs.Item{ID: "open 3", Kind: pairs.QuestionItem, Options: []pairs.Option{{Prompt: "Tom was"}}})
	e, err := eval.NewEvaluator(t.Context(), m, eval.Options{Items: items, Text: neutralText(3), TextTokens: 150, Halves: true, Resamples: 100, Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	v, err := steer.Train(t.Context(), m, moodSamples(4), steer.TrainOptions{Layers: []int{3}})
	if err != nil {
		t.Fatal(err)
	}
	uses := []eval.Use{use(v, "", "")}
	arms, err := eval.Baselines{Random: 1, Seed: 5, Instruction: &pairs.Instruction{Positive: "Anna was happy.", Negative: "Anna was sad."}}.Arms(m, uses, multipliers)
	if err != nil {
		t.Fatal(err)
	}
	steered, err := eval.Arms(m, uses, multipliers)
	if err != nil {
		t.Fatal(err)
	}
	return e, append(arms, steered...)
}

var writing = eval.WriteOptions{MaxTokens: 6, Temperature: 0.8, Seed: 3, Scorers: []eval.Scorer{eval.WordList([]string{"happy"})}}

func TestRowsOfShardsAreThoseOfTheWhole(t *testing.T) {
	m := openDemo(t)
	e, arms := evaluationOf(t, m, -0.5, 0, 0.5)
	want, err := e.Rows(t.Context(), arms, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantTexts, err := e.Written(t.Context(), arms, writing)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 || len(wantTexts) != len(arms) {
		t.Fatalf("%d and %d rows", len(want), len(wantTexts))
	}
	for of := 1; of <= 12; of++ { // more shards than items that have answers
		var measured, written *eval.Measured
		for number := of; number > 0; number-- {
			other, arms := evaluationOf(t, m, -0.5, 0, 0.5) // as another machine has it
			shard := steer.Shard{Number: number, Of: of}
			part, err := other.Measure(t.Context(), arms, shard, nil)
			if err != nil {
				t.Fatal(err)
			}
			texts, err := other.Write(t.Context(), arms, shard, writing)
			if err != nil {
				t.Fatal(err)
			}
			part, texts = throughJSON(t, part), throughJSON(t, texts)
			if measured == nil {
				measured, written = part, texts
				continue
			}
			if err := measured.Merge(part); err != nil {
				t.Fatal(err)
			}
			if err := written.Merge(texts); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := e.Summary.Rows(measured); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d shards have other rows than the whole (%v)", of, err)
		}
		if got, err := e.Summary.Rows(written); err != nil || !reflect.DeepEqual(got, wantTexts) {
			t.Errorf("%d shards have written other texts than the whole (%v)", of, err)
		}
	}
}

// Parts need be no shards: items that are measured apart, by whoever has them, are
// summed up with those of another part.
func TestPartsOfItemsAreSummedUp(t *testing.T) {
	m := openDemo(t)
	e, arms := evaluationOf(t, m, 0.5)
	want, err := e.Rows(t.Context(), arms, nil)
	if err != nil {
		t.Fatal(err)
	}
	items := append(moodItems(9), pairs.Item{ID: "multiple", Kind: pairs.MC1Item, Options: []pairs.Option{{Prompt: "Anna said", Answer: " yes", Matches: true}, {Prompt: "Anna said", Answer: " no"}, {Prompt: "Anna said", Answer: " maybe"}}})
	cost, err := eval.NewEvaluator(t.Context(), m, eval.Options{Text: neutralText(3), TextTokens: 150})
	if err != nil {
		t.Fatal(err)
	}
	all, err := cost.Measure(t.Context(), arms, steer.Shard{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, some := range [][]pairs.Item{items[7:], items[:3], items[3:7]} {
		own, err := eval.NewEvaluator(t.Context(), m, eval.Options{Items: some})
		if err != nil {
			t.Fatal(err)
		}
		part, err := own.Measure(t.Context(), arms, steer.Shard{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := all.Merge(part); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := e.Summary.Rows(all); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the parts have other rows than the whole (%v)", err)
	}
}

func TestWhatIsNotAllOfOneEvaluationIsRefusedByName(t *testing.T) {
	m := openDemo(t)
	part := func(shard string, multipliers ...float64) *eval.Measured {
		e, arms := evaluationOf(t, m, multipliers...)
		s := steer.Shard{}
		if shard != "" {
			var err error
			if s, err = steer.ParseShard(shard); err != nil {
				t.Fatal(err)
			}
		}
		out, err := e.Measure(t.Context(), arms, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	e, _ := evaluationOf(t, m, 0.5)
	steered, err := e.Summary.Rows(part("", 0.5))
	if err != nil || len(steered) == 0 {
		t.Fatal(err)
	}
	lacking := throughJSON(t, part("1/1", 0.5))
	var without map[string]any
	data, err := json.Marshal(lacking)
	if err != nil {
		t.Fatal(err)
	}
	edited := func(change func(map[string]any)) *eval.Measured {
		if err := json.Unmarshal(data, &without); err != nil {
			t.Fatal(err)
		}
		change(without)
		text, err := json.Marshal(without)
		if err != nil {
			t.Fatal(err)
		}
		out := &eval.Measured{}
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, test := range map[string]struct {
		parts []*eval.Measured
		want  string
	}{
		"missing":           {[]*eval.Measured{part("1/4", 0.5), part("3/4", 0.5)}, "of 4 shards these are missing: 2, 4"},
		"twice":             {[]*eval.Measured{part("1/2", 0.5), part("2/2", 0.5), part("1/2", 0.5)}, "shard 1 of 2 is there twice"},
		"another split":     {[]*eval.Measured{part("1/2", 0.5), part("3/3", 0.5)}, "shard 1 of 2 and shard 3 of 3 are of other splits"},
		"other multipliers": {[]*eval.Measured{part("1/2", 0.5), part("2/2", 0.6)}, "other points"},
		"the whole twice":   {[]*eval.Measured{part("", 0.5), part("", 0.5)}, "is there twice"},
		"another vector":    {[]*eval.Measured{edited(func(m map[string]any) { m["arms"].([]any)[1] = "sha256:0" }), part("1/1", 0.5)}, "what acts at point 2 differs"},
		"an item less":      {[]*eval.Measured{edited(func(m map[string]any) { delete(m["answers"].(map[string]any), "multiple") })}, "item multiple is missing"},
		"an item more": {[]*eval.Measured{edited(func(m map[string]any) {
			m["answers"].(map[string]any)["stranger"] = m["answers"].(map[string]any)["multiple"]
		})}, "1 of the items that were measured are not of the evaluation"},
		"an option less": {[]*eval.Measured{edited(func(m map[string]any) {
			all := m["answers"].(map[string]any)
			for id := range all {
				if id != "multiple" {
					all["multiple"] = all[id]
				}
			}
		})}, "item multiple: 2 options are answered, it has 3"},
		"a passage less": {[]*eval.Measured{edited(func(m map[string]any) { delete(m["costs"].(map[string]any), "1") })}, "passage 2 of the neutral text is missing"},
	} {
		var err error
		for _, other := range test.parts[1:] {
			if err == nil {
				err = test.parts[0].Merge(other)
			}
		}
		if err == nil {
			_, err = e.Summary.Rows(test.parts[0])
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
	if _, err := eval.NewSummary(eval.Options{Items: append(moodItems(2), moodItems(1)...)}); err == nil || !strings.Contains(err.Error(), "two items have the id") {
		t.Errorf("two items of one id: %v", err)
	}
}
