package steer_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
)

func TestReadingsPrintThemselvesAsTheyAreWritten(t *testing.T) {
	for _, test := range []struct {
		text string
		want steer.Reading
	}{
		{"-1", steer.ReadAt(-1)},
		{"3", steer.ReadAt(3)},
		{"mean", steer.ReadMean(nil)},
		{"mean:2:-1", steer.ReadMean(steer.Range(2, -1, 1))},
		{"mean:1:", steer.ReadMean(steer.From(1))},
		{"mean:response", steer.ReadMean(steer.Response())},
		{"mean:prompt", steer.ReadMean(steer.Prompt())},
		{`mean:"a \"b\": c"`, steer.ReadText(`a "b": c`)},
	} {
		got, err := steer.ParseReading(test.text)
		if err != nil || got != test.want || got.String() != test.text {
			t.Errorf("%s is read as %v (%v), want %v", test.text, got, err, test.want)
		}
	}
	for _, text := range []string{"", "last", "mean:", "mean:x", `mean:"open`, `mean:""`, "1.5", "median"} {
		if got, err := steer.ParseReading(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

// What is read of a prompt is the mean of what the model shows at the tokens that
// the reading names.
func TestReadingsReadTheTokensThatTheyName(t *testing.T) {
	model := openDemo(t)
	const text = "Tom was sad. Tom was very happy."
	at := strings.LastIndex(text, "Tom")
	tokens := tokensOf(t, model, text)
	head := len(tokensOf(t, model, text[:at-1])) // " Tom" begins with its space
	n := len(tokens)
	recorded, err := steer.Record(t.Context(), model, tokens, steer.RecordOptions{Layers: []int{2}})
	if err != nil {
		t.Fatal(err)
	}
	whole := steer.Sample{Positive: text, Negative: "Tom was angry.", PositiveResponse: at, NegativeResponse: 4}
	given := steer.Sample{PositiveIDs: tokens, NegativeIDs: []int{0, 300}, PositiveResponse: head, NegativeResponse: 1}
	for _, test := range []struct {
		name     string
		sample   steer.Sample
		read     steer.Reading
		from, to int
	}{
		{"the last token", whole, nil, n - 1, n},
		{"a position", whole, steer.ReadAt(1), 1, 2},
		{"a function of the text", whole, steer.ReadFunc("second", func(text string) int { return len(text) % 2 }), len(text) % 2, len(text)%2 + 1},
		{"all", whole, steer.ReadMean(nil), 0, n},
		{"a range", whole, steer.ReadMean(steer.Range(2, -1, 1)), 2, n - 1},
		{"the response", whole, steer.ReadMean(steer.Response()), head, n},
		{"the prompt", whole, steer.ReadMean(steer.Prompt()), 0, head},
		{"the response of token ids", given, steer.ReadMean(steer.Response()), head, n},
		{"a text, where it stands last", whole, steer.ReadText("Tom"), head, head + 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			// The negative prompt is read in a way that fits it; the sample's own reading goes before the run's.
			test.sample.ReadNegative = steer.ReadAt(-1)
			for _, own := range []bool{false, true} {
				opts := steer.ExtractOptions{Layers: []int{2}, Read: test.read}
				if own {
					test.sample.ReadPositive, opts.Read = test.read, steer.ReadAt(0)
					if test.read == nil {
						opts.Read = nil
					}
				}
				a, err := steer.Extract(t.Context(), model, []steer.Sample{test.sample}, opts)
				if err != nil {
					t.Fatal(err)
				}
				want := make([]float32, len(recorded.Layers[2][0]))
				for i := range want {
					sum := 0.0
					for p := test.from; p < test.to; p++ {
						sum += float64(recorded.Layers[2][p][i])
					}
					want[i] = float32(sum / float64(test.to-test.from))
				}
				if got := a.Positive[2][0]; !slices.Equal(got, want) {
					t.Errorf("read something else than tokens %d to %d: off by %g", test.from, test.to-1, largestDifference(got, want))
				}
			}
		})
	}
}

func TestReadingsThatFitNoPromptAreErrors(t *testing.T) {
	model := openDemo(t)
	text := steer.Sample{Positive: "Tom was happy.", Negative: "Tom was sad."}
	for _, test := range []struct {
		name   string
		sample steer.Sample
		read   steer.Reading
		want   string
	}{
		{"a response that is not known", text, steer.ReadMean(steer.Response()), "the sample does not say where its response begins"},
		{"tokens with gaps", text, steer.ReadMean(steer.At(1, 3)), "do not lie side by side"},
		{"tokens that are not there", text, steer.ReadMean(steer.Range(90, 99, 1)), "read mean:90:99"},
		{"a text that is not there", text, steer.ReadText("angry"), "the prompt does not hold it"},
		{"a text among token ids", steer.Sample{PositiveIDs: []int{1}, NegativeIDs: []int{2}}, steer.ReadText("a"), "given as token ids"},
		{"a position past the end", text, steer.ReadAt(99), "read token 99 is outside its"},
	} {
		_, err := steer.Extract(t.Context(), model, []steer.Sample{test.sample}, steer.ExtractOptions{Read: test.read})
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "sample 0, positive prompt") {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
		}
	}
}

// What the model refuses names the sample, as what is wrong with a reading does.
func TestTheModelsErrorsNameTheSample(t *testing.T) {
	model := openDemo(t)
	samples := []steer.Sample{{PositiveIDs: []int{1}, NegativeIDs: []int{2}}, {PositiveIDs: []int{1}, NegativeIDs: []int{math.MaxInt32}}}
	_, err := steer.Train(t.Context(), model, samples, steer.TrainOptions{})
	if err == nil || !strings.HasPrefix(err.Error(), "train: sample 1, negative prompt: token") {
		t.Errorf("error %v", err)
	}
}

// Means over prompts that share a template are those of each prompt alone.
func TestMeansOfPromptsThatShareATemplate(t *testing.T) {
	model := openDemo(t)
	var samples []steer.Sample
	template := tokensOf(t, model, "Once there was a fox who lived by the river.")
	for i := range 300 {
		positive := append(slices.Clone(template), 300+i%50, 400+i/50)
		samples = append(samples, steer.Sample{PositiveIDs: positive, NegativeIDs: append(slices.Clone(positive), 500)})
	}
	a, err := steer.Extract(t.Context(), model, samples, steer.ExtractOptions{Layers: []int{1}, Read: steer.ReadMean(nil), RunTokens: 16})
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range []int{0, 149, 299} {
		r, err := steer.Record(t.Context(), model, samples[sample].PositiveIDs, steer.RecordOptions{Layers: []int{1}})
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float64, len(r.Layers[1][0]))
		for _, row := range r.Layers[1] {
			for i, v := range row {
				want[i] += float64(v)
			}
		}
		for i, v := range a.Positive[1][sample] {
			if v != float32(want[i]/float64(len(r.Layers[1]))) {
				t.Fatalf("the mean of sample %d is not that of its tokens", sample)
			}
		}
	}
}
