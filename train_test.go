package steer_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

func aggregators() []steer.Aggregator {
	return []steer.Aggregator{steer.Mean(), steer.PCA(), steer.Logistic(steer.LogisticOptions{}),
		steer.AggregatorFunc("first", func(positive, _ [][]float32) ([]float32, error) { return positive[0], nil })}
}

func randomRows(random *rand.Rand, n, width int) [][2][]float32 {
	rows := make([][2][]float32, n)
	for i := range rows {
		for side := range rows[i] {
			for range width {
				rows[i][side] = append(rows[i][side], float32(random.NormFloat64())+float32(1-side))
			}
		}
	}
	return rows
}

// Stopping, keeping the state and going on gives the same bits as one go, also
// where PCA changes from rows to a scatter matrix.
func TestAccumulatorsContinueFromTheirBinaryForm(t *testing.T) {
	const width = 8
	for _, a := range aggregators() {
		for _, n := range []int{1, 5, 7, 8, 9, 20} {
			rows := randomRows(rand.New(rand.NewPCG(3, uint64(n))), n, width)
			whole, part := a.New(width), a.New(width)
			for i, r := range rows {
				whole.Add(r[0], r[1])
				part.Add(r[0], r[1])
				data, err := part.MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				part = a.New(width)
				if err := part.UnmarshalBinary(data); err != nil {
					t.Fatalf("%s after %d: %v", a.Name(), i+1, err)
				}
			}
			want, err := whole.Direction()
			got, err2 := part.Direction()
			if err != nil || err2 != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s of %d: %v (%v), want %v (%v)", a.Name(), n, got, err2, want, err)
			}
		}
	}
}

// The integers of the scatter matrix give the component that the differences
// themselves give: few rows and many agree, whatever the rows' lengths.
func TestManyDifferencesHaveTheComponentOfTheirRows(t *testing.T) {
	const width, n = 24, 400
	random := rand.New(rand.NewPCG(6, 6))
	rows := randomRows(random, n, width)
	for _, r := range rows {
		factor := float32(math.Exp(random.NormFloat64()))
		for i := range width {
			r[0][i] = r[0][i]*factor + factor*float32(i)
			r[1][i] *= factor
		}
	}
	accumulator := steer.PCA().New(width)
	scatter := mat.NewSymDense(width, nil)
	for _, r := range rows {
		accumulator.Add(r[0], r[1])
		difference := make([]float64, width)
		for i := range width {
			difference[i] = float64(r[0][i] - r[1][i])
		}
		scatter.SymRankOne(scatter, 1, mat.NewVecDense(width, difference))
	}
	got, err := accumulator.Direction()
	if err != nil {
		t.Fatal(err)
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(scatter, true) {
		t.Fatal("no eigenvalues")
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	want, sign := make([]float32, width), math.Copysign(1, vectors.At(width-1, width-1)*float64(got[width-1]))
	for i := range want {
		want[i] = float32(sign * vectors.At(i, width-1))
	}
	within(t, got, want, 1e-6)
}

// Nothing that a file may say of an accumulator ends the program.
func FuzzAccumulators(f *testing.F) {
	const width = 2
	for i, a := range aggregators() {
		for _, n := range []int{1, 6} {
			accumulator := a.New(width)
			for _, r := range randomRows(rand.New(rand.NewPCG(7, 7)), n, width) {
				accumulator.Add(r[0], r[1])
			}
			data, err := accumulator.MarshalBinary()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(i, data)
		}
	}
	f.Fuzz(func(t *testing.T, aggregator int, data []byte) {
		all := aggregators()
		a := all[uint(aggregator)%uint(len(all))]
		one, other := a.New(width), a.New(width)
		if one.UnmarshalBinary(data) != nil {
			return
		}
		if err := other.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		if _, err := one.MarshalBinary(); err != nil {
			t.Fatalf("%s reads what it cannot write: %v", a.Name(), err)
		}
		if err := one.Merge(other); err != nil || one.Samples() != 2*other.Samples() {
			t.Fatalf("%s merged has %d samples of twice %d: %v", a.Name(), one.Samples(), other.Samples(), err)
		}
		if d, err := one.Direction(); err == nil && len(d) != width {
			t.Fatalf("%s gives %v", a.Name(), d)
		}
	})
}

func TestAccumulatorsRefuseForeignState(t *testing.T) {
	for _, a := range aggregators() {
		for _, data := range [][]byte{nil, {1}, make([]byte, 16), {4, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 127, 0, 0, 0, 0}} {
			if err := a.New(4).UnmarshalBinary(data); err == nil {
				t.Errorf("%s took %v", a.Name(), data)
			}
		}
		if _, err := a.New(4).Direction(); err == nil {
			t.Errorf("%s gives a direction of nothing", a.Name())
		}
		other := steer.Aggregator(steer.Mean())
		if a.Name() == "mean" {
			other = steer.PCA()
		}
		if err := a.New(4).Merge(other.New(4)); err == nil {
			t.Errorf("%s merged with %s", a.Name(), other.Name())
		}
	}
}

func TestDegenerateDifferencesAreErrors(t *testing.T) {
	for _, a := range []steer.Aggregator{steer.PCA(), steer.Logistic(steer.LogisticOptions{})} {
		accumulator := a.New(3)
		accumulator.Add([]float32{1, 2, 3}, []float32{1, 2, 3})
		if d, err := accumulator.Direction(); err == nil {
			t.Errorf("%s of equal activations is %v", a.Name(), d)
		}
	}
}

// A run that is stopped midway and resumed writes the same vector to the bit.
func TestResumedTrainingIsIdentical(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	var samples []steer.Sample
	for _, p := range g.Pairs {
		samples = append(samples, steer.Sample{Positive: p.Positive, Negative: p.Negative})
	}
	for _, a := range aggregators() {
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
