package steer_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// pairsOfTopics are pairs of which those of a topic share a long beginning, given
// so that neighbours are of other topics.
func pairsOfTopics(topics, each int) []steer.Sample {
	var samples []steer.Sample
	for i := range each {
		for topic := range topics {
			beginning := fmt.Sprintf("%c: ", 'A'+topic) + strings.Repeat("Once upon a time there was a little cat. ", 6)
			samples = append(samples, steer.Sample{
				Positive: fmt.Sprintf("%sIt was happy and had %d friends", beginning, i),
				Negative: fmt.Sprintf("%sIt was sad and had %d friends", beginning, i),
			})
		}
	}
	return samples
}

func TestShardsGiveTheVectorAndTheActivationsOfTheWhole(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	samples := pairsOfTopics(3, 3)
	whole, err := steer.Extract(t.Context(), model, samples, steer.ExtractOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []int{1, 2, 5, len(samples)} {
		for _, a := range recipes() {
			want := vectorOf(t, collect(t, model, samples, steer.TrainOptions{Aggregator: a}))
			var merged *steer.Statistics
			for number := of; number > 0; number-- {
				data, err := collect(t, model, samples, steer.TrainOptions{Aggregator: a, Shard: steer.Shard{Number: number, Of: of}}).MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				part, err := steer.ParseStatistics(data, a)
				if err != nil {
					t.Fatal(err)
				}
				if merged == nil {
					merged = part
				} else if err := merged.Merge(part); err != nil {
					t.Fatal(err)
				}
			}
			if got := vectorOf(t, merged); !reflect.DeepEqual(got, want) {
				t.Errorf("%s in %d shards is another vector", a.Name(), of)
			}
		}
		var parts []*steer.Activations
		for number := 1; number <= of; number++ {
			part, err := steer.Extract(t.Context(), model, samples, steer.ExtractOptions{Shard: steer.Shard{Number: number, Of: of}})
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "part")
			if err := part.Save(path); err != nil {
				t.Fatal(err)
			}
			if part, err = steer.LoadActivations(path); err != nil {
				t.Fatal(err)
			}
			parts = append(parts, part)
		}
		got, err := steer.MergeActivations(parts...)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Positive, whole.Positive) || !reflect.DeepEqual(got.Negative, whole.Negative) || got.Provenance != whole.Provenance {
			t.Errorf("%d shards have other activations than the whole", of)
		}
	}
}

// A cut costs no more than the beginnings of one pair, which two shards compute.
func TestShardsKeepNeighboursTogether(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	samples := pairsOfTopics(4, 8)
	whole, longest := collect(t, model, samples, steer.TrainOptions{}).Usage, 0
	for _, s := range samples {
		longest = max(longest, collect(t, model, []steer.Sample{s}, steer.TrainOptions{}).Usage.Computed)
	}
	for _, of := range []int{2, 4, 7} {
		total, most := lm.Usage{}, 0
		for number := 1; number <= of; number++ {
			usage := collect(t, model, samples, steer.TrainOptions{Shard: steer.Shard{Number: number, Of: of}}).Usage
			total, most = total.Add(usage), max(most, usage.Computed)
		}
		if total.Given != whole.Given {
			t.Errorf("%d shards are given %d tokens, the whole %d", of, total.Given, whole.Given)
		}
		if limit := whole.Computed + (of-1)*longest; total.Computed > limit {
			t.Errorf("%d shards compute %d tokens, the whole %d; more than %d is more than a pair for each cut", of, total.Computed, whole.Computed, limit)
		}
		if limit := whole.Computed/of + 3*longest; most > limit {
			t.Errorf("one of %d shards computes %d tokens of %d", of, most, whole.Computed)
		}
	}
}

func TestWhatIsNotAllShardsOfOneSetIsRefusedByName(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	part := func(samples []steer.Sample, number, of int) (*steer.Statistics, *steer.Activations) {
		shard := steer.Shard{Number: number, Of: of}
		a, err := steer.Extract(t.Context(), model, samples, steer.ExtractOptions{Layers: []int{1}, Shard: shard})
		if err != nil {
			t.Fatal(err)
		}
		if shard.Of == 0 {
			shard = steer.Shard{}
		}
		return collect(t, model, samples, steer.TrainOptions{Layers: []int{1}, Shard: shard}), a
	}
	samples, others := pairsOfTopics(2, 3), pairsOfTopics(2, 4)
	for name, test := range map[string]struct {
		parts [][3]int // 0 for the samples and 1 for the others, number, of
		want  string
	}{
		"missing": {[][3]int{{0, 1, 4}, {0, 3, 4}}, "of 4 shards these are missing: 2, 4"},
		"twice":   {[][3]int{{0, 1, 3}, {0, 2, 3}, {0, 1, 3}}, "shard 1 of 3 is there twice"},
		"foreign": {[][3]int{{0, 1, 2}, {1, 2, 2}}, "shard 1 of 2 and shard 2 of 2 are of other samples"},
		"split":   {[][3]int{{0, 1, 2}, {0, 3, 3}}, "shard 1 of 2 and shard 3 of 3 are of other splits"},
		"whole":   {[][3]int{{0, 1, 2}, {0, 0, 0}}, ""},
	} {
		var merged *steer.Statistics
		var parts []*steer.Activations
		var err error
		for _, p := range test.parts {
			s, a := part([][]steer.Sample{samples, others}[p[0]], p[1], p[2])
			parts = append(parts, a)
			if merged == nil {
				merged = s
			} else if err == nil {
				err = merged.Merge(s)
			}
		}
		if err == nil {
			_, err = merged.Vector()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: statistics: error %v, want %q", name, err, test.want)
		}
		if _, err := steer.MergeActivations(parts...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: activations: error %v, want %q", name, err, test.want)
		}
	}
	if _, err := steer.Train(t.Context(), model, samples, steer.TrainOptions{Shard: steer.Shard{Number: 1, Of: 2}}); err == nil || !strings.Contains(err.Error(), "missing: 2") {
		t.Errorf("a shard alone gives a vector: %v", err)
	}
	if _, err := steer.Collect(t.Context(), model, samples, steer.TrainOptions{Shard: steer.Shard{Number: 1, Of: 7}}); err == nil || !strings.Contains(err.Error(), "samples: 6 cannot be split into 7 shards") {
		t.Errorf("six samples are split into seven: %v", err)
	}
	for text, want := range map[string]string{"3": "not like 3/8", "0/8": "shard 0 of 8", "9/8": "shard 9 of 8", "1/99999": "at most", "-1/2": "not like", "1/2/3": "not like", "": "not like"} {
		if _, err := steer.ParseShard(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	if s, err := steer.ParseShard("3/8"); err != nil || s.String() != "3/8" {
		t.Errorf("3/8 is read as %v, %v", s, err)
	}
}

// What is planned from the tokens alone is what the shards compute.
func TestThePlanOfShardsIsWhatTheyCompute(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, err := model.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	samples, splits := pairsOfTopics(3, 4), []int{1, 3, 5, 12}
	plans, err := steer.PlanShards(tokenizer, samples, splits...)
	if err != nil {
		t.Fatal(err)
	}
	for k, of := range splits {
		for number := 1; number <= of; number++ {
			got, want := plans[k][number-1], collect(t, model, samples, steer.TrainOptions{Shard: steer.Shard{Number: number, Of: of}}).Usage
			if got.Given != want.Given || got.Computed != want.Computed {
				t.Errorf("shard %d of %d: planned %+v, computed %+v", number, of, got, want)
			}
		}
	}
	for _, of := range []int{0, 13, 1 << 17} {
		if _, err := steer.PlanShards(tokenizer, samples, of); err == nil {
			t.Errorf("12 samples are planned in %d shards", of)
		}
	}
}
