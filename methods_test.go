package steer_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer"
	"github.com/steervec/steer/aggregators"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/tokenizer"
)

// moodSamples are pairs of beginnings of stories.
func moodSamples(n int) []steer.Sample {
	beginnings := []string{"Anna had a red kite.", "Tom was a farmer.", "Mia found a shell.", "Ben lost his hat.", "Leo saw a fox.", "Nina had a dog."}
	var samples []steer.Sample
	for i := range n {
		name := strings.Fields(beginnings[i%len(beginnings)])[0]
		samples = append(samples, steer.Sample{
			Positive: beginnings[i%len(beginnings)] + strings.Repeat(" One day", i/len(beginnings)) + " " + name + " was happy",
			Negative: beginnings[i%len(beginnings)] + strings.Repeat(" One day", i/len(beginnings)) + " " + name + " was sad",
		})
	}
	return samples
}

// Samples of one prompt each, as a neutral corpus gives them, are aggregated side by
// side; in parts they give the same vector, and recipes of pairs refuse them.
func TestSamplesOfOnePromptAreAggregatedBySide(t *testing.T) {
	m := openDemo(t)
	var unpaired []steer.Sample
	pairs := moodSamples(6)
	for _, s := range pairs {
		unpaired = append(unpaired, steer.Sample{Positive: s.Positive})
	}
	neutral := []string{"The sun was warm.", "There was a river by the road.", "It was a day in May."}
	for _, text := range neutral {
		unpaired = append(unpaired, steer.Sample{Negative: text})
	}
	opts := steer.TrainOptions{Layers: []int{2, 3}, Aggregator: aggregators.MeanCentred()}
	s, err := steer.Collect(t.Context(), m, unpaired, opts)
	if err != nil {
		t.Fatal(err)
	}
	whole := vectorOf(t, s)
	if s.Samples() != 9 || s.Prompts() != 9 {
		t.Errorf("%d samples with %d prompts", s.Samples(), s.Prompts())
	}

	// The means by hand, from activations of pairs.
	for i := range pairs {
		pairs[i].Negative = neutral[i%len(neutral)]
	}
	a, err := steer.Extract(t.Context(), m, pairs, steer.ExtractOptions{Layers: opts.Layers})
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range opts.Layers {
		want := make([]float32, len(whole.Layers[layer]))
		for i := range want {
			positive, negative := 0.0, 0.0
			for k := range pairs {
				positive += float64(a.Positive[layer][k][i]) / 6
				if k < 3 {
					negative += float64(a.Negative[layer][k][i]) / 3
				}
			}
			want[i] = float32(positive - negative)
		}
		within(t, whole.Layers[layer], want, 1e-5)
	}

	for number := 1; number <= 2; number++ {
		opts.Shard = steer.Shard{Number: number, Of: 2}
		part := collect(t, m, unpaired, opts)
		path := filepath.Join(t.TempDir(), "part")
		if err := part.Save(path); err != nil {
			t.Fatal(err)
		}
		if part, err = steer.LoadStatistics(path); err != nil {
			t.Fatal(err)
		}
		if number == 1 {
			s = part
		} else if err := s.Merge(part); err != nil {
			t.Fatal(err)
		}
	}
	if merged := vectorOf(t, s); !reflect.DeepEqual(merged, whole) {
		t.Error("shards of samples of one prompt give another vector")
	}

	wrong := (*steer.SampleError)(nil)
	if _, err := steer.Train(t.Context(), m, unpaired, steer.TrainOptions{}); !errors.As(err, &wrong) || wrong.Side != "negative" || wrong.Sample != 0 {
		t.Errorf("the mean of pairs took samples of one prompt: %v", err)
	}
	if _, err := steer.Train(t.Context(), m, []steer.Sample{{}}, opts); err == nil {
		t.Error("a sample without prompts was taken")
	}
}

// What a method gives for another operator says so, and acts.
func TestVectorsOfMethodsNameTheirOperators(t *testing.T) {
	m := openDemo(t)
	width := m.Decoder().Hidden
	for _, test := range []struct {
		aggregator steer.Aggregator
		operator   string
		rank       int // 0: one row
	}{
		{steer.Mean(), "", 0}, {aggregators.Discriminant(), "", 0}, {aggregators.PCA(aggregators.PCAOptions{Rank: 3}), "ablate", 3},
		{aggregators.LEACE(), "leace", 3}, {aggregators.LinearAcT(), "affine", 2}, {aggregators.Transport(), "transport", width + 2},
		{aggregators.KMeans(2), "add-nearest", 2},
	} {
		v, err := steer.Train(t.Context(), m, moodSamples(12), steer.TrainOptions{Layers: []int{3}, Aggregator: test.aggregator})
		if err != nil {
			t.Fatal(err)
		}
		if v.Operator != test.operator || v.Rank != test.rank || len(v.Layers[3]) != max(1, v.Rank)*width {
			t.Errorf("%s: operator %q, %d rows", test.aggregator.Name(), v.Operator, v.Rank)
		}
		edit, err := v.Edit(1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.With(edit); err != nil {
			t.Errorf("%s: %v", test.aggregator.Name(), err)
		}
	}
}

func TestHeadsAreTrainedAtTheirSite(t *testing.T) {
	m := openDemo(t)
	opts := steer.TrainOptions{Site: lm.AttnHeads, Aggregator: aggregators.Heads(aggregators.HeadOptions{Top: 3})}
	s := collect(t, m, moodSamples(12), opts)
	v := vectorOf(t, s)
	accuracies, err := s.HeadAccuracies()
	if err != nil {
		t.Fatal(err)
	}
	var chosen, all []float64
	size := m.Width(0, lm.AttnHeads) / m.Decoder().Blocks[0].Attention.Heads
	for layer, shares := range accuracies {
		all = append(all, shares...)
		for head, share := range shares {
			if row := v.Layers[layer]; row != nil && !slices.Equal(row[head*size:(head+1)*size], make([]float32, size)) {
				chosen = append(chosen, share)
			}
		}
	}
	slices.Sort(all)
	slices.Sort(chosen)
	if len(all) != 30 || !slices.Equal(chosen, all[27:]) {
		t.Errorf("of heads with accuracies %v those with %v were chosen", all, chosen)
	}
	if !strings.Contains(v.Provenance.Aggregator, "size=32") {
		t.Errorf("the aggregator is %q", v.Provenance.Aggregator)
	}
	if edit, err := v.Edit(5); err != nil {
		t.Error(err)
	} else if _, err := m.With(edit); err != nil {
		t.Error(err)
	}
	opts.Site = lm.DecoderBlock
	if _, err := steer.Train(t.Context(), m, moodSamples(12), opts); err == nil || !strings.Contains(err.Error(), "attn_heads") {
		t.Errorf("heads of the residual stream: %v", err)
	}
}

// talkingDemo is the demonstration model with a chat template.
func talkingDemo(t *testing.T) *lm.Model {
	t.Helper()
	files := fstest.MapFS{"tokenizer_config.json": {Data: []byte(
		`{"chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"}`)}}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
		data, err := fs.ReadFile(demo.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	m, err := lm.OpenFS(t.Context(), files, "talking")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPromptsBecomeConversations(t *testing.T) {
	m := talkingDemo(t)
	given := []steer.Sample{
		{Positive: "Tell a story.", Negative: "Tell a story."},
		{Positive: "Input: Is it?\nResponse: Yes", Negative: "Input: Is it?\nResponse: No", PositiveResponse: 24, NegativeResponse: 24},
	}
	before := slices.Clone(given)
	samples, rendering, err := steer.RenderChat(t.Context(), tokenizerOf(t, m), given, steer.Chat{SystemPositive: "Be happy.", SystemNegative: "Be sad."})
	if err != nil || !reflect.DeepEqual(given, before) {
		t.Fatalf("%v; the samples that were given are %v", err, given)
	}
	text, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][2]string{
		{"system: Be happy. user: Tell a story. assistant:", "system: Be sad. user: Tell a story. assistant:"},
		{"system: Be happy. user: Is it? assistant:Yes", "system: Be sad. user: Is it? assistant:No"},
	} {
		for side, ids := range [][]int{samples[i].PositiveIDs, samples[i].NegativeIDs} {
			if got := text.Decode(ids, false); strings.TrimSpace(got) != want[side] {
				t.Errorf("sample %d: %q, want %q", i, got, want[side])
			}
		}
	}
	if s := samples[1]; strings.TrimSpace(text.Decode(s.PositiveIDs[s.PositiveResponse:], false)) != "Yes" || samples[0].PositiveResponse != 0 {
		t.Errorf("the response begins at token %d of %q", s.PositiveResponse, text.Decode(s.PositiveIDs, false))
	}

	// System messages alone tell the sides apart, and the vector's file says so.
	s := collect(t, m, samples[:1], steer.TrainOptions{Layers: []int{2}})
	s.Rendering = rendering
	path := filepath.Join(t.TempDir(), "v")
	if err := vectorOf(t, s).Save(path); err != nil {
		t.Fatal(err)
	}
	v, err := steer.LoadVector(path)
	if err != nil || v.Provenance.SystemPositive != "Be happy." || v.Provenance.SystemNegative != "Be sad." || !strings.Contains(v.Provenance.ChatTemplate, "add_generation_prompt") {
		t.Errorf("the vector comes from %+v, %v", v.Provenance, err)
	}
	other := collect(t, m, samples[1:], steer.TrainOptions{Layers: []int{2}})
	if err := s.Merge(other); err == nil {
		t.Error("statistics of other renderings were merged")
	}

	if _, _, err := steer.RenderChat(t.Context(), tokenizerOf(t, openDemo(t)), given, steer.Chat{}); err == nil {
		t.Error("a model without a template rendered")
	}
	wrong := (*steer.SampleError)(nil)
	if _, _, err := steer.RenderChat(t.Context(), tokenizerOf(t, m), []steer.Sample{{PositiveIDs: []int{1}, NegativeIDs: []int{2}}}, steer.Chat{}); !errors.As(err, &wrong) {
		t.Errorf("token ids made a conversation: %v", err)
	}
}

// moodOf is how much likelier "happy" is than "sad" behind negative prompts, in nats.
func moodOf(t *testing.T, m *lm.Model, samples []steer.Sample, of func(steer.Sample) string) float64 {
	t.Helper()
	sum := 0.0
	for _, s := range samples {
		p, err := m.Score(t.Context(), []lm.Continuation{{Prompt: lm.Input{Text: of(s)}, Text: " happy"}, {Prompt: lm.Input{Text: of(s)}, Text: " sad"}})
		if err != nil {
			t.Fatal(err)
		}
		sum += p[0][0] - p[1][0]
	}
	return sum / float64(len(samples))
}

func negativeOf(s steer.Sample) string { return s.Negative }
func positiveOf(s steer.Sample) string { return s.Positive }

// What methods learn of some stories works on others: after something sad, "happy"
// becomes likelier by far. An erasure brings both sides together.
func TestMethodsSteerStoriesThatTheyHaveNotSeen(t *testing.T) {
	m := openDemo(t)
	training, held := eventSamples(trainedOn, 80), eventSamples(heldOut, 12)
	train := func(aggregator steer.Aggregator, site lm.Site, layers ...int) *steer.Vector {
		v, err := steer.Train(t.Context(), m, training, steer.TrainOptions{Layers: layers, Site: site, Aggregator: aggregator})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	steered := func(v *steer.Vector, multiplier float64) *lm.Model {
		edit, err := v.Edit(multiplier, steer.OnTokens(steer.At(-1)))
		if err != nil {
			t.Fatal(err)
		}
		view, err := m.With(edit)
		if err != nil {
			t.Fatal(err)
		}
		return view
	}
	happy, sad := moodOf(t, m, held, positiveOf), moodOf(t, m, held, negativeOf)
	mean := train(steer.Mean(), "", 2)
	length := mean.Norms()[2]
	for _, test := range []struct {
		aggregator steer.Aggregator
		site       lm.Site
		layers     []int
		multiplier float64
		least      float64 // nats, of the 18 that lie between the sides
	}{
		{steer.Mean(), "", []int{2}, 1, 7},
		{aggregators.MeanCentred(), "", []int{2}, 1, 7},
		{steer.PCA(), "", []int{2}, length, 7},
		{aggregators.PCA(aggregators.PCAOptions{Centred: aggregators.CentredActivations}), "", []int{2}, length, 7},
		{steer.Logistic(), "", []int{2}, length, 7},
		{aggregators.Discriminant(), "", []int{2}, length, 2}, // turned away from the mean difference
		{aggregators.KMeans(2), "", []int{2}, 1, 6},
		{aggregators.LinearAcT(), "", []int{2}, 1, 7},
		{aggregators.Transport(), "", []int{2}, 1, 7},
		{aggregators.Heads(aggregators.HeadOptions{Top: 8}), lm.AttnHeads, nil, 4, 12}, // in all layers
	} {
		v := train(test.aggregator, test.site, test.layers...)
		after := moodOf(t, steered(v, test.multiplier), held, negativeOf)
		t.Logf("%s: from %.2f to %.2f; positive stories have %.2f", v.Provenance.Aggregator, sad, after, happy)
		if after < sad+test.least || after > happy {
			t.Errorf("%s: from %.2f to %.2f; positive stories have %.2f", v.Provenance.Aggregator, sad, after, happy)
		}
	}

	// Where it is erased, the sides have one mean; later layers still see earlier tokens.
	erased := steered(train(aggregators.LEACE(), "", 2), 1)
	if gap := moodOf(t, erased, held, positiveOf) - moodOf(t, erased, held, negativeOf); gap > happy-sad-3 {
		t.Errorf("after the erasure %.2f nats lie between the sides, before %.2f", gap, happy-sad)
	}
	left, err := steer.Train(t.Context(), erased, training, steer.TrainOptions{Layers: []int{2}})
	if err != nil {
		t.Fatal(err)
	}
	if n := left.Norms()[2]; n > 1e-3*length {
		t.Errorf("the means of the sides are %g apart, before %g", n, length)
	}
}

// tokenizerOf returns a model's tokenizer.
func tokenizerOf(t *testing.T, m *lm.Model) *tokenizer.Tokenizer {
	t.Helper()
	tokens, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}
