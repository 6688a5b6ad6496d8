package eval_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// readRows reads the rows of a sweep's folder.
func readRows(t *testing.T, dir string) (rows []eval.Row, text string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "rows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var row eval.Row
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows, string(data)
}

func moodManifest(layers []int, multipliers ...float64) eval.Manifest {
	return eval.Manifest{
		Grid: eval.Grid{Layers: layers, Aggregators: []string{"mean"}, Operators: []string{"add"}, Scopes: []string{"all"}, Multipliers: multipliers},
		Plan: eval.Plan{MaxKL95: 1, Seed: 1, Resamples: 300, Random: 2, TextTokens: 200, Instructions: &[2]string{"Anna was very happy.", "Anna was very sad."}},
	}
}

func moodData(items int) eval.SweepData {
	return eval.SweepData{Samples: moodSamples(32), Items: moodItems(items), Text: neutralText(4)}
}

// The mood vector of the demonstration model: what a sweep must find out about it.
func TestASweepFindsThatTheMoodVectorSteers(t *testing.T) {
	m := openDemo(t)
	dir := t.TempDir()
	manifest, err := eval.Sweep(t.Context(), m, moodManifest(allLayers(m), -0.6, -0.3, 0, 0.3, 0.6), moodData(48), eval.SweepRun{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := readRows(t, dir)
	if len(rows) != manifest.Rows {
		t.Errorf("%d rows, the manifest says %d", len(rows), manifest.Rows)
	}
	r := manifest.Result
	t.Logf("chosen %+v costs %+v, gains %+v and %+v; best %+v %+v", r.Chosen, r.KL95, r.OnChoose, r.OnReport, r.Best, r.OnBest)
	if !r.Within {
		t.Errorf("the best point gains %v, outside of the chosen one's interval %+v", r.OnBest, r.OnReport)
	}
	if r.OnReport.Low <= 0 || r.KL95.Value > 1 {
		t.Errorf("the chosen point gains %+v and costs %+v", r.OnReport, r.KL95)
	}
	var random []float64
	for _, row := range rows {
		switch {
		case row.Set == eval.Steerability && row.Half == eval.Report && row.Baseline == "" && slices.Equal(row.Layers, r.Chosen.Layers):
			t.Logf("steerability %+v", row.Metrics)
			if row.Metrics[eval.Slope].Low <= 0 || row.Metrics[eval.Spearman].Low <= 0 {
				t.Errorf("the slope is %+v, the rank correlation %+v", row.Metrics[eval.Slope], row.Metrics[eval.Spearman])
			}
			if share := row.Metrics[eval.WrongWay]; share.N != 24 || share.Value > 0.2 {
				t.Errorf("the share that moves the wrong way is %+v", share)
			}
		case row.Set == eval.Steerability && row.Half == eval.Report && row.Baseline == eval.RandomVector:
			random = append(random, row.Metrics[eval.Slope].Value)
			if row.Metrics[eval.Slope].Low > 0.5*r.OnReport.Value {
				t.Errorf("a random vector has the slope %+v", row.Metrics[eval.Slope])
			}
		}
	}
	if len(random) != 2 {
		t.Errorf("%d random vectors, want 2", len(random))
	}

	// Strength 0 is no steering, to the bit.
	plain := find(t, rows, eval.Row{Point: eval.Point{Baseline: eval.NoSteering}, Set: eval.Choices, Half: eval.Report})
	zero := r.Chosen
	zero.Baseline, zero.Multiplier = eval.ZeroStrength, 0
	for _, point := range []eval.Point{zero, func() eval.Point { p := zero; p.Baseline = ""; return p }()} {
		got := find(t, rows, eval.Row{Point: point, Set: eval.Choices, Half: eval.Report})
		for i := range plain.Examples {
			if got.Examples[i] != plain.Examples[i] || got.Examples[i].Value != got.Examples[i].Unsteered {
				t.Errorf("item %d: %+v at 0, %+v without steering", i, got.Examples[i], plain.Examples[i])
			}
		}
		if cost := find(t, rows, eval.Row{Point: point, Set: eval.Cost}); cost.Metrics[eval.KL].Value != 0 || cost.Metrics[eval.KL95].Value != 0 {
			t.Errorf("0 costs %+v", cost.Metrics)
		}
	}
	for _, name := range []eval.Baseline{eval.PositivePrompt, eval.NegativePrompt} {
		if !slices.ContainsFunc(r.Baselines, func(g eval.Gain) bool { return g.Point.Baseline == name }) {
			t.Errorf("baseline %s is missing", name)
		}
	}
	if v, err := steer.LoadVector(filepath.Join(dir, "vectors", "mean.safetensors")); err != nil || len(v.Layers) != m.Layers() {
		t.Errorf("the vector that was trained: %v", err)
	}
	if w := manifest.Work; w.Saved() <= 0 {
		t.Errorf("nothing was saved: %+v", w)
	}
}

func allLayers(m *lm.Model) []int { return m.LayersOf(lm.DecoderBlock) }

func find(t *testing.T, rows []eval.Row, like eval.Row) eval.Row {
	t.Helper()
	i := slices.IndexFunc(rows, func(r eval.Row) bool { return r.Key() == like.Key() })
	if i < 0 {
		t.Fatalf("there is no row %s", like.Key())
	}
	return rows[i]
}

// Every figure of a sweep is what plain calls give, one for each item, option and
// point, that share nothing.
func TestFiguresOfASweepEqualPlainCalls(t *testing.T) {
	m := openDemo(t)
	for _, scope := range []string{"all", "response"} {
		t.Run(scope, func(t *testing.T) {
			manifest, data := moodManifest([]int{2, 4}, -0.5, 0.5), moodData(6)
			manifest.Grid.Scopes, manifest.Grid.Operators, manifest.Plan.Random = []string{scope}, []string{"add", "ablate-then-add"}, 0
			data.Items = append(data.Items, pairs.Item{ID: "swapped", Kind: pairs.ABItem,
				Options: []pairs.Option{{Prompt: "Anna said", Answer: " yes", Matches: true}, {Prompt: "Anna said", Answer: " no"}},
				Swapped: []pairs.Option{{Prompt: "Tom said", Answer: " no", Matches: true}, {Prompt: "Tom said", Answer: " yes"}}})
			dir := t.TempDir()
			if _, err := eval.Sweep(t.Context(), m, manifest, data, eval.SweepRun{Dir: dir}); err != nil {
				t.Fatal(err)
			}
			rows, _ := readRows(t, dir)
			vector, err := steer.Train(t.Context(), m, data.Samples, steer.TrainOptions{Layers: []int{2, 4}})
			if err != nil {
				t.Fatal(err)
			}
			checked := 0
			for _, row := range rows {
				if row.Baseline != "" || row.Set != eval.Choices && row.Set != eval.Cost {
					continue
				}
				operator, err := steer.ParseOperator(row.Operator)
				if err != nil {
					t.Fatal(err)
				}
				options := []steer.EditOption{steer.AtLayers(row.Layers...), steer.Using(operator)}
				if scope != "all" {
					options = append(options, steer.OnTokens(steer.Response()))
				}
				edit, err := vector.Edit(row.Multiplier, options...)
				if err != nil {
					t.Fatal(err)
				}
				steered, err := m.With(edit)
				if err != nil {
					t.Fatal(err)
				}
				if row.Set == eval.Choices {
					for _, x := range row.Examples {
						item := data.Items[slices.IndexFunc(data.Items, func(i pairs.Item) bool { return i.ID == x.ID })]
						if got, want := x.Value, plainPropensity(t, steered, item); got != want {
							t.Errorf("%s, %+v: %v, plain calls give %v", x.ID, row.Point, got, want)
						}
						if got, want := x.Unsteered, plainPropensity(t, m, item); got != want {
							t.Errorf("%s unsteered: %v, plain calls give %v", x.ID, got, want)
						}
						checked++
					}
					continue
				}
				kl, kl95, perplexity := plainCost(t, m, steered, data.Text, manifest.Plan.TextTokens)
				for name, want := range map[string]float64{eval.KL: kl, eval.KL95: kl95, eval.Perplexity: perplexity} {
					if got := row.Metrics[name].Value; got != want {
						t.Errorf("%s of %+v: %v, plain calls give %v", name, row.Point, got, want)
					}
				}
				checked++
			}
			if want := 2 * 2 * 2 * (7 + 1); checked != want {
				t.Errorf("%d figures are compared, want %d", checked, want)
			}
		})
	}
}

// plainPropensity asks for every option by itself.
func plainPropensity(t *testing.T, m *lm.Model, item pairs.Item) float64 {
	t.Helper()
	total, orders := 0.0, 0
	for _, options := range [][]pairs.Option{item.Options, item.Swapped} {
		if options == nil {
			continue
		}
		var sums [2]float64
		for k, o := range options {
			scores, err := m.Score(t.Context(), []lm.Continuation{{Prompt: lm.Input{Text: o.Prompt}, Text: o.Answer}})
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range scores[0] {
				sums[k] += l
			}
		}
		total += sums[0] - sums[1]
		orders++
	}
	return total / float64(orders)
}

// plainCost computes every paragraph by itself, unsteered and steered.
func plainCost(t *testing.T, m, steered *lm.Model, text string, most int) (kl, kl95, perplexity float64) {
	t.Helper()
	var divergences, logprobs []float64
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		tokens, err := m.TokenizeContinuation(paragraph)
		if err != nil {
			t.Fatal(err)
		}
		tokens = tokens[:min(len(tokens), 128, most)]
		if len(tokens) < 8 {
			break
		}
		most -= len(tokens)
		special, err := m.Tokenize("")
		if err != nil {
			t.Fatal(err)
		}
		in := lm.Input{Tokens: slices.Concat(special, tokens), Prompt: len(special) + len(tokens)/4}
		logs := func(m *lm.Model) (out [][]float32) {
			_, err := m.Forward(t.Context(), []lm.Input{in}, lm.ForwardOptions{Logits: func(_, _ int, logits []float32) {
				row := make([]float32, len(logits))
				lm.LogProbabilities(row, logits)
				out = append(out, row)
			}})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		base, own := logs(m), logs(steered)
		for p := in.Prompt - 1; p < len(in.Tokens)-1; p++ {
			divergences = append(divergences, lm.Divergence(own[p], base[p]))
			logprobs = append(logprobs, float64(own[p][in.Tokens[p+1]]))
		}
	}
	sum, logs := 0.0, 0.0
	for i := range divergences {
		sum += divergences[i]
		logs += logprobs[i]
	}
	slices.Sort(divergences)
	at := 0.95 * float64(len(divergences)-1)
	below := int(at)
	kl95 = divergences[below] + (at-float64(below))*(divergences[below+1]-divergences[below])
	return sum / float64(len(logprobs)), kl95, math.Exp(-logs / float64(len(logprobs)))
}

// A sweep that is stopped at any group and goes on gives the same rows to the byte,
// and refuses to go on with another's.
func TestASweepThatIsStoppedGoesOn(t *testing.T) {
	m := openDemo(t)
	manifest, data := moodManifest([]int{1, 3}, -0.5, 0, 0.5), moodData(8)
	manifest.Grid.Aggregators, manifest.Grid.Operators = []string{"mean", "pca"}, []string{"add", "ablate"}
	whole := t.TempDir()
	want, err := eval.Sweep(t.Context(), m, manifest, data, eval.SweepRun{Dir: whole})
	if err != nil {
		t.Fatal(err)
	}
	_, wantText := readRows(t, whole)

	dir := t.TempDir()
	for stop := 1; ; stop++ {
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		got, err := eval.Sweep(ctx, m, manifest, data, eval.SweepRun{Dir: dir, Resume: true, Progress: func(done, total int) {
			if told++; told > 6*stop {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			if stop < 3 {
				t.Errorf("the sweep was stopped %d times", stop-1)
			}
			if got.Rows != want.Rows || got.Groups != want.Groups {
				t.Errorf("%d rows in %d groups, want %d in %d", got.Rows, got.Groups, want.Rows, want.Groups)
			}
			break
		}
		if !errors.Is(err, context.Canceled) || stop > 50 {
			t.Fatal(err)
		}
		// What a kill may leave: a row that is cut.
		file, err := os.OpenFile(filepath.Join(dir, "rows.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(`{"set":"cost","metr`); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	if _, got := readRows(t, dir); got != wantText {
		t.Error("the rows differ from those of a sweep that was not stopped")
	}
	manifest.Grid.Multipliers = []float64{1}
	if _, err := eval.Sweep(t.Context(), m, manifest, data, eval.SweepRun{Dir: dir, Resume: true}); err == nil || !strings.Contains(err.Error(), "the grid differs") {
		t.Errorf("going on with another grid: %v", err)
	}
}

// Points of equal cost: what was found for a budget costs it, on either side.
func TestASweepAtEqualCost(t *testing.T) {
	m := openDemo(t)
	manifest, data := moodManifest([]int{3}), moodData(8)
	manifest.Grid.Budgets, manifest.Grid.Multipliers, manifest.Plan.Random = []float64{-0.5, 0.5}, nil, 1
	dir := t.TempDir()
	if _, err := eval.Sweep(t.Context(), m, manifest, data, eval.SweepRun{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	rows, _ := readRows(t, dir)
	seen := 0
	for _, row := range rows {
		if row.Set == eval.Cost && row.Budget != 0 {
			seen++
			if row.Multiplier*row.Budget <= 0 {
				t.Errorf("%v nats at %v", row.Budget, row.Multiplier)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d points, want 2", seen)
	}
}
