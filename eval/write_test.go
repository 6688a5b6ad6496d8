package eval_test

import (
	"context"
	"errors"
	"math"
	"regexp"
	"slices"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/demo/stories"
)

// failing is a scorer that has nothing to say about some texts.
type failing struct{}

func (failing) Name() string { return "failing" }
func (failing) Score(_ context.Context, w eval.Written) (map[string]float64, error) {
	if len(w.Text)%2 == 0 {
		return nil, errors.New("even")
	}
	return map[string]float64{"odd": 1}, nil
}

// Written texts are those of plain calls; happy words grow with the multiplier;
// what could not be scored is counted and left out of the means.
func TestTextsAreWrittenAndScored(t *testing.T) {
	m := openDemo(t)
	v := moodVector(t, m, moodLayer)
	items := moodItems(8)
	e, err := eval.NewEvaluator(t.Context(), m, eval.Options{Items: items})
	if err != nil {
		t.Fatal(err)
	}
	arms := []eval.Arm{{Point: eval.Point{Baseline: eval.NoSteering}}}
	steered, err := eval.Arms(m, []eval.Use{use(v, "", "")}, []float64{-0.6, 0.6})
	if err != nil {
		t.Fatal(err)
	}
	opts := eval.WriteOptions{MaxTokens: 40, Scorers: []eval.Scorer{eval.WordList(stories.Words("happy")), eval.Matching(regexp.MustCompile(`\.`)), failing{}}}
	rows, err := e.Written(t.Context(), append(arms, steered...), opts)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	if sad, happy := rows[1].Metrics[eval.Words], rows[2].Metrics[eval.Words]; happy.Value <= sad.Value {
		t.Errorf("the share of happy words is %v at 0.6 and %v at -0.6", happy.Value, sad.Value)
	}
	for i, row := range rows {
		failed, odd := 0.0, 0
		for k, text := range row.Texts {
			in := lm.Input{Text: items[k].Options[0].Prompt}
			model := m
			if i > 0 {
				edit, err := v.Edit(row.Multiplier)
				if err != nil {
					t.Fatal(err)
				}
				if model, err = m.With(edit); err != nil {
					t.Fatal(err)
				}
			}
			alone, err := model.Generate(t.Context(), []lm.Input{in}, lm.GenerateOptions{MaxTokens: 40})
			if err != nil || alone[0].Text != text.Text {
				t.Errorf("%+v writes %q, alone %q (%v)", row.Point, text.Text, alone[0].Text, err)
			}
			scores, err := m.Score(t.Context(), []lm.Continuation{{Prompt: in, Tokens: alone[0].IDs}})
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for _, l := range scores[0] {
				sum += l
			}
			if want := math.Exp(-sum / float64(len(scores[0]))); text.Scores[eval.UnsteeredPerplexity] != want {
				t.Errorf("perplexity %v, want %v", text.Scores[eval.UnsteeredPerplexity], want)
			}
			if len(text.Text)%2 == 0 {
				failed++
				if text.Failed["failing"] != "even" {
					t.Errorf("failed: %v", text.Failed)
				}
			} else {
				odd++
			}
		}
		if got := row.Metrics[eval.Failed]; got.Value != failed/8 || got.N != 8 {
			t.Errorf("%+v have failed, want %v of 8", got, failed)
		}
		if got, ok := row.Metrics["odd"]; ok != (odd > 0) || ok && got.N != odd {
			t.Errorf("%+v are odd, want %d", got, odd)
		}
	}
}

// A sweep writes at all multipliers of the way that it has chosen, and beside the
// baselines, which makes a row each.
func TestASweepWritesAtEachMultiplier(t *testing.T) {
	m := openDemo(t)
	manifest := moodManifest([]int{2, 3}, 0, 0.5)
	manifest.Plan.Generate = &eval.Generate{Questions: 2, MaxTokens: 12}
	dir := t.TempDir()
	done, err := eval.Sweep(t.Context(), m, manifest, moodData(8), eval.SweepRun{Dir: dir, Scorers: []eval.Scorer{eval.WordList([]string{"happy"})}})
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := readRows(t, dir)
	var multipliers []float64
	baselines := 0
	for _, row := range rows {
		if row.Set != eval.Generation {
			continue
		}
		if len(row.Texts) != 2 || row.Metrics[eval.Words].N != 2 {
			t.Errorf("%+v has %d texts: %+v", row.Point, len(row.Texts), row.Metrics)
		}
		if row.Baseline != "" {
			baselines++
			continue
		}
		multipliers = append(multipliers, row.Multiplier)
		if !slices.Equal(row.Layers, done.Result.Chosen.Layers) {
			t.Errorf("%+v writes, %+v is chosen", row.Point, done.Result.Chosen)
		}
	}
	if !slices.Equal(multipliers, []float64{0, 0.5}) || baselines != 3 {
		t.Errorf("texts at %v and of %d baselines", multipliers, baselines)
	}
}

func TestEvaluationsThatMakeNoSenseAreRefused(t *testing.T) {
	m := openDemo(t)
	if _, err := eval.NewEvaluator(t.Context(), m, eval.Options{}); err == nil {
		t.Error("an evaluation of nothing is accepted")
	}
	if _, err := eval.NewEvaluator(t.Context(), m, eval.Options{Items: moodItems(1), Halves: true}); err == nil {
		t.Error("one item has two halves")
	}
	v := moodVector(t, m, moodLayer)
	strength := 1.0
	weak := eval.Use{Vector: v, Intervention: steer.Intervention{Strength: &strength}}
	if _, err := eval.NewArm(m, []eval.Use{weak}, 1); err == nil {
		t.Error("a strength without a calibration is accepted")
	}
	for name, change := range map[string]func(*eval.Manifest){
		"no operator":              func(m *eval.Manifest) { m.Grid.Operators = nil },
		"no multipliers":           func(m *eval.Manifest) { m.Grid.Multipliers = nil },
		"multipliers and budgets":  func(m *eval.Manifest) { m.Grid.Budgets = []float64{1} },
		"a budget of nothing":      func(m *eval.Manifest) { m.Grid.Multipliers, m.Grid.Budgets = nil, []float64{0} },
		"an operator that is none": func(m *eval.Manifest) { m.Grid.Operators = []string{"push"} },
		"a scope that is none":     func(m *eval.Manifest) { m.Grid.Scopes = []string{"some"} },
	} {
		manifest := moodManifest([]int{3}, 1)
		change(&manifest)
		if _, err := eval.Sweep(t.Context(), m, manifest, moodData(4), eval.SweepRun{Dir: t.TempDir()}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
