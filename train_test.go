package steer_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/aggregators"
	"github.com/steervec/steer/lm"
)

// recipes are aggregators of every kind but that of heads, which reads another site.
func recipes() []steer.Aggregator {
	return []steer.Aggregator{steer.Mean(), steer.PCA(), steer.Logistic(), aggregators.MeanCentred(), aggregators.Discriminant(), aggregators.KMeans(2),
		aggregators.PCA(aggregators.PCAOptions{Centred: aggregators.CentredActivations, Rank: 2}), aggregators.LinearAcT(), aggregators.LEACE(),
		steer.AggregatorFunc("first", func(positive, _ [][]float32) ([]float32, error) { return positive[0], nil })}
}

// A run that is stopped midway and resumed writes the same vector to the bit.
func TestResumedTrainingIsIdentical(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	var samples []steer.Sample
	for _, p := range g.Pairs {
		samples = append(samples, steer.Sample{Positive: p.Positive, Negative: p.Negative})
	}
	for _, a := range recipes() {
		t.Run(a.Name(), func(t *testing.T) {
			dir := t.TempDir()
			opts := steer.TrainOptions{Aggregator: a}
			want, err := steer.Train(t.Context(), model, samples, opts)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			opts.State, opts.RunTokens = filepath.Join(dir, "state"), 20
			opts.Progress = func(done, total int) {
				if done > total/2 {
					cancel()
				}
			}
			if _, err := steer.Train(ctx, model, samples, opts); !errors.Is(err, context.Canceled) {
				t.Fatalf("stopped with %v", err)
			}
			if _, err := os.Stat(opts.State); err != nil {
				t.Fatal(err)
			}
			opts.Progress, opts.Resume = nil, true
			got, err := steer.Train(t.Context(), model, samples, opts)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Error("the resumed run gave another vector")
			}
			if _, err := steer.Train(t.Context(), model, samples[1:], opts); err == nil {
				t.Error("the state of other samples was accepted")
			}
		})
	}
}

func TestVectorsAndActivationsSurviveTheirFiles(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	dir := t.TempDir()
	vector := g.vector(t, model)
	vector.Provenance = steer.Provenance{Model: "m", WeightsHash: "w", PairsHash: "p", Aggregator: "mean", Read: "-1", Family: "gpt2", ModelLayers: 4, Operations: "negated", Version: "v"}
	vector.ActivationNorms = map[int]float64{1: 2.5, 2: 1e-9}
	path := filepath.Join(dir, "v.safetensors")
	if err := vector.Save(path); err != nil {
		t.Fatal(err)
	}
	back, err := steer.LoadVector(path)
	if err != nil || !reflect.DeepEqual(back, vector) {
		t.Errorf("%+v came back as %+v (%v)", vector, back, err)
	}

	activations, err := steer.Extract(t.Context(), model, []steer.Sample{{PositiveIDs: []int{1, 2}, NegativeIDs: []int{1, 3}}}, steer.ExtractOptions{Layers: []int{0, -1}})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "a.safetensors")
	if err := activations.Save(path); err != nil {
		t.Fatal(err)
	}
	again, err := steer.LoadActivations(path)
	activations.Usage = lm.Usage{} // of the call, not of the file
	if err != nil || !reflect.DeepEqual(again, activations) {
		t.Errorf("activations came back otherwise (%v)", err)
	}
	if _, err := steer.LoadVector(path); err == nil {
		t.Error("activations were read as a vector")
	}
}

// What is read is the token that is asked for: the vector is the mean difference
// of the recorded activations there.
func TestReadTokensAreThePositionsThatAreAsked(t *testing.T) {
	_, model := openGolden(t, firstGolden())
	const layer = 1
	at := func(ids []int, position int) []float32 {
		layers, _ := record(t, model, ids, lm.DecoderBlock)
		if position < 0 {
			position += len(ids)
		}
		return layers[layer][position]
	}
	for _, test := range []struct {
		name               string
		set                func(*steer.TrainOptions, *steer.Sample)
		positive, negative int
	}{
		{"the last unless told", func(*steer.TrainOptions, *steer.Sample) {}, -1, -1},
		{"counted from the end", func(o *steer.TrainOptions, _ *steer.Sample) { o.Read = steer.ReadAt(-2) }, -2, -2},
		{"counted from the beginning", func(o *steer.TrainOptions, _ *steer.Sample) { o.Read = steer.ReadAt(2) }, 2, 2},
		{"by the prompt's text", func(o *steer.TrainOptions, _ *steer.Sample) {
			o.Read = steer.ReadFunc("parity", func(prompt string) int { return -len(prompt) % 2 })
		}, -1, 0},
		{"a sample's own before all", func(o *steer.TrainOptions, s *steer.Sample) {
			o.Read, s.ReadPositive = steer.ReadAt(-2), steer.ReadAt(0)
		}, 0, -2},
	} {
		t.Run(test.name, func(t *testing.T) {
			sample := steer.Sample{Positive: "I love it", Negative: "I hated it"}
			opts := steer.TrainOptions{}
			opts.Layers = []int{layer}
			test.set(&opts, &sample)
			vector, err := steer.Train(t.Context(), model, []steer.Sample{sample}, opts)
			if err != nil {
				t.Fatal(err)
			}
			positive, err := model.Tokenize(sample.Positive)
			if err != nil {
				t.Fatal(err)
			}
			negative, err := model.Tokenize(sample.Negative)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(at(positive, test.positive))
			for i, v := range at(negative, test.negative) {
				want[i] -= v
			}
			within(t, vector.Layers[layer], want, 1e-5)
		})
	}
}

// A view that steers the response steers each sample's own.
func TestAViewThatSteersTheResponseMeansThatOfTheSample(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	sample := steer.Sample{PositiveIDs: []int{1, 2, 3, 4, 5}, NegativeIDs: []int{1, 2, 3, 4, 6}, PositiveResponse: 3, NegativeResponse: 3}
	train := func(tokens lm.Tokens) *steer.Vector {
		edit, err := g.vector(t, model).Edit(1, steer.OnTokens(tokens))
		if err != nil {
			t.Fatal(err)
		}
		v, err := steer.Train(t.Context(), with(t, model, edit), []steer.Sample{sample}, steer.TrainOptions{Layers: []int{-1}})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if response, from := train(steer.Response()), train(steer.From(3)); !reflect.DeepEqual(response.Layers, from.Layers) {
		t.Error("steering the response and steering from its first token give different vectors")
	}
	if response, none := train(steer.Response()), train(steer.From(99)); reflect.DeepEqual(response.Layers, none.Layers) {
		t.Error("the response is not steered")
	}
}
