package steer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// goldenSamples are the first n pairs of a golden.
func goldenSamples(g *golden, n int) []steer.Sample {
	var samples []steer.Sample
	for _, p := range g.Pairs[:min(n, len(g.Pairs))] {
		samples = append(samples, steer.Sample{Positive: p.Positive, Negative: p.Negative})
	}
	return samples
}

func collect(t *testing.T, model *lm.Model, samples []steer.Sample, opts steer.TrainOptions) *steer.Statistics {
	t.Helper()
	s, err := steer.Collect(t.Context(), model, samples, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func vectorOf(t *testing.T, s *steer.Statistics) *steer.Vector {
	t.Helper()
	v, err := s.Vector()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The parts of a set of samples, however it is split, give the vector of the
// whole to the bit, provenance included.
func TestMergedPartsGiveTheVectorOfTheWhole(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	samples := goldenSamples(g, 8)
	samples = append(samples, samples[0]) // one that is there twice
	random := rand.New(rand.NewPCG(5, 5))
	for _, a := range recipes() {
		opts := steer.TrainOptions{Aggregator: a}
		want := vectorOf(t, collect(t, model, samples, opts))
		for range 3 {
			random.Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
			cut := 1 + random.IntN(len(samples)-1)
			left, right := collect(t, model, samples[:cut], opts), collect(t, model, samples[cut:], opts)
			path := filepath.Join(t.TempDir(), "right")
			if err := right.Save(path); err != nil {
				t.Fatal(err)
			}
			right, err := steer.LoadStatistics(path, a)
			if err != nil {
				t.Fatal(err)
			}
			if err := left.Merge(right); err != nil {
				t.Fatal(err)
			}
			if got := vectorOf(t, left); !reflect.DeepEqual(got, want) || left.Samples() != len(samples) {
				t.Errorf("%s cut at %d: another vector, of %d samples", a.Name(), cut, left.Samples())
			}
		}
		activations, err := steer.Extract(t.Context(), model, samples, steer.ExtractOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := steer.Aggregate(activations, a); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: extracted and aggregated they give another vector (%v)", a.Name(), err)
		}
	}
}

// What cannot be one run is not merged and not resumed.
func TestStatisticsOfAnotherRunAreRefused(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	samples := goldenSamples(g, 4)
	edit, err := g.vector(t, model).Edit(1)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state")
	base := collect(t, model, samples[:2], steer.TrainOptions{})
	if err := base.Save(path); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		model *lm.Model
		opts  steer.TrainOptions
		want  string
	}{
		{"other layers", model, steer.TrainOptions{Layers: []int{1}}, "the layers differs"},
		{"another site", model, steer.TrainOptions{Site: lm.MLP}, "the layer type differs"},
		{"another aggregator", model, steer.TrainOptions{Aggregator: steer.PCA()}, "aggregator"},
		{"another reading", model, steer.TrainOptions{Read: steer.ReadAt(0)}, "the reading differs"},
		{"a steered view", with(t, model, edit), steer.TrainOptions{}, "the steering of the model differs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			resumed := test.opts
			resumed.State, resumed.Resume = path, true
			_, err := steer.Collect(t.Context(), test.model, samples, resumed)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("resumed with %v, want an error with %q", err, test.want)
			}
			if err := base.Merge(collect(t, test.model, samples[2:], test.opts)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("merged with %v, want an error with %q", err, test.want)
			}
		})
	}
	t.Run("samples that are not given", func(t *testing.T) {
		_, err := steer.Collect(t.Context(), model, samples[1:], steer.TrainOptions{State: path, Resume: true})
		if err == nil || !strings.Contains(err.Error(), "1 of the 2 samples in it are not among those given") {
			t.Errorf("resumed with %v", err)
		}
	})
	t.Run("itself", func(t *testing.T) {
		if err := base.Merge(base); err == nil {
			t.Error("statistics were merged with themselves")
		}
	})
}

// A run goes on from what is there although samples were added and moved.
func TestARunTakesUpSamplesThatWereAdded(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	samples := goldenSamples(g, 5)
	path := filepath.Join(t.TempDir(), "state")
	first := collect(t, model, samples[:3], steer.TrainOptions{})
	if err := first.Save(path); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(samples)
	got := collect(t, model, samples, steer.TrainOptions{State: path, Resume: true})
	want := collect(t, model, samples, steer.TrainOptions{})
	if !reflect.DeepEqual(vectorOf(t, got), vectorOf(t, want)) || got.Samples() != len(samples) {
		t.Errorf("the resumed run gave another vector, of %d samples", got.Samples())
	}
	if got.Usage.Given != want.Usage.Given || got.Usage.Computed <= first.Usage.Computed {
		t.Errorf("it counts %+v, the whole %+v, the first part %+v", got.Usage, want.Usage, first.Usage)
	}
}

// What lies where the state is to be kept is not replaced unless it is a state.
func TestAStateTakesThePlaceOfNothingElse(t *testing.T) {
	g, model := openGolden(t, firstGolden())
	samples := goldenSamples(g, 1)
	dir := t.TempDir()
	folder, foreign := filepath.Join(dir, "folder"), filepath.Join(dir, "foreign")
	vector := filepath.Join(dir, "vector")
	if err := errors.Join(os.Mkdir(folder, 0o777), os.WriteFile(foreign, []byte("mine"), 0o666), g.vector(t, model).Save(vector)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{folder, foreign, vector} {
		for _, resume := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			_, err := steer.Collect(ctx, model, samples, steer.TrainOptions{State: path, Resume: resume, Progress: func(int, int) { cancel() }})
			if err == nil || !strings.Contains(err.Error(), path) || errors.Is(err, context.Canceled) {
				t.Errorf("state at %s, resumed %v: %v", path, resume, err)
			}
			cancel()
		}
	}
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		t.Errorf("the folder is gone: %v", err)
	}
	if data, err := os.ReadFile(foreign); err != nil || string(data) != "mine" {
		t.Errorf("the file is now %q (%v)", data, err)
	}
}

// smallStatistics are a valid file of few bytes.
func smallStatistics(t testing.TB, path string) (*steer.Statistics, []byte) {
	files, err := seeded.Files(firstGolden())
	if err != nil {
		t.Fatal(err)
	}
	model, err := lm.OpenFS(context.Background(), files, "gpt2", lm.Compute(lm.Float32))
	if err != nil {
		t.Fatal(err)
	}
	s, err := steer.Collect(context.Background(), model, []steer.Sample{{PositiveIDs: []int{1, 2}, NegativeIDs: []int{1, 3}}, {PositiveIDs: []int{4}, NegativeIDs: []int{5}}},
		steer.TrainOptions{Layers: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return s, data
}

// A flipped bit anywhere is an error, or harmless as white space is; never
// another vector.
func TestADamagedStateIsNotTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, good := smallStatistics(t, path)
	want := vectorOf(t, s)
	const step = 13 // goes through all bits of a byte
	accepted := 0
	for bit := 0; bit < 8*len(good); bit += step {
		bad := slices.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		s, err := steer.LoadStatistics(path)
		if err != nil {
			continue
		}
		accepted++
		if v, err := s.Vector(); err != nil || !reflect.DeepEqual(v, want) || s.Samples() != 2 {
			t.Fatalf("with bit %d of byte %d flipped (%q) it gives another vector (%v)", bit%8, bit/8, good[max(0, bit/8-20):bit/8+1], err)
		}
	}
	if accepted > 40 {
		t.Errorf("%d damaged files were taken", accepted)
	}
}

// Files whose checksum is right and whose content is not.
func TestAHostileStateIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	_, good := smallStatistics(t, path)
	for _, test := range []struct {
		name   string
		change func(metadata map[string]string, tensors map[string][]byte)
		want   string
	}{
		{"samples forgotten", func(_ map[string]string, tensors map[string][]byte) { tensors["samples"] = tensors["samples"][:32] }, "layer 0 holds 2 samples where 1 are named"},
		{"no samples", func(_ map[string]string, tensors map[string][]byte) { tensors["samples"] = nil }, "no list of samples"},
		{"a limb out of range", func(_ map[string]string, tensors map[string][]byte) {
			binary.LittleEndian.PutUint64(tensors["layer.0"][18:], 1<<62)
		}, "layer 0: limb"},
		{"another tensor", func(_ map[string]string, tensors map[string][]byte) { tensors["more"] = []byte{1} }, "tensors in it that are not of statistics"},
		{"a layer missing", func(_ map[string]string, tensors map[string][]byte) { delete(tensors, "layer.0") }, "layer 0"},
		{"a huge width", func(metadata map[string]string, _ map[string][]byte) {
			metadata["steer.statistics"] = strings.Replace(metadata["steer.statistics"], `"widths":[`, `"widths":[99999999`, 1)
		}, "wide"},
		{"a newer form", func(metadata map[string]string, _ map[string][]byte) {
			metadata["steer.statistics"] = strings.Replace(metadata["steer.statistics"], `"format":1`, `"format":9`, 1)
		}, "format 9"},
		{"an unknown aggregator", func(metadata map[string]string, _ map[string][]byte) {
			metadata["steer.statistics"] = strings.Replace(metadata["steer.statistics"], `"mean"`, `"median"`, 1)
		}, `unknown aggregator "median"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(path, good, 0o666); err != nil {
				t.Fatal(err)
			}
			rewrite(t, path, test.change)
			_, err := steer.LoadStatistics(path)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one with %q and the file", err, test.want)
			}
		})
	}
}

// rewrite changes a file of statistics and makes its checksum right again.
func rewrite(t testing.TB, path string, change func(metadata map[string]string, tensors map[string][]byte)) {
	t.Helper()
	file, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	metadata, contents := file.Metadata(), map[string][]byte{}
	for _, name := range file.Names() {
		tensor, _ := file.Tensor(name)
		contents[name] = slices.Clone(tensor.Data)
	}
	file.Close()
	change(metadata, contents)
	var tensors []safetensors.Tensor
	for name, data := range contents {
		tensors = append(tensors, safetensors.Tensor{Name: name, DType: safetensors.U8, Shape: []int{len(data)}, Data: data})
	}
	metadata["steer.checksum"] = steer.Checksum(metadata, tensors)
	if err := safetensors.Write(path, tensors, metadata); err != nil {
		t.Fatal(err)
	}
}

// Whatever a file says, what comes of it is finite.
func FuzzLoadStatistics(f *testing.F) {
	path := filepath.Join(f.TempDir(), "s")
	_, good := smallStatistics(f, path)
	file, err := safetensors.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	layer, _ := file.Tensor("layer.0")
	norms, _ := file.Tensor("norms")
	f.Add(slices.Clone(layer.Data), slices.Clone(norms.Data), "mean")
	f.Add([]byte{1}, []byte{}, "pca")
	f.Add([]byte{1}, []byte{}, "logistic")
	file.Close()
	f.Fuzz(func(t *testing.T, layer, norms []byte, aggregator string) {
		path := filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		rewrite(t, path, func(metadata map[string]string, tensors map[string][]byte) {
			tensors["layer.0"], tensors["norms"] = layer, norms
			metadata["steer.statistics"] = strings.Replace(metadata["steer.statistics"], `"mean"`, `"`+strings.Map(plain, aggregator)+`"`, 1)
		})
		s, err := steer.LoadStatistics(path)
		if err != nil {
			return
		}
		v, err := s.Vector()
		if err != nil {
			return
		}
		for layer, vector := range v.Layers {
			if err := finite.Check(vector); err != nil || !finite.Is(v.ActivationNorms[layer]) {
				t.Fatalf("layer %d: %v, activations of length %v", layer, err, v.ActivationNorms[layer])
			}
		}
	})
}

// plain leaves letters that stand for themselves in JSON.
func plain(r rune) rune {
	if r < ' ' || r > '~' || r == '"' || r == '\\' {
		return -1
	}
	return r
}

func TestStatisticsAreTheSameBytesInMemoryAndInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, file := smallStatistics(t, path)
	data, err := s.MarshalBinary()
	if err != nil || !bytes.Equal(data, file) {
		t.Errorf("%d bytes in memory are not the %d of the file (%v)", len(data), len(file), err)
	}
	if _, err := steer.ParseStatistics(data[:len(data)-1]); err == nil {
		t.Error("statistics that lack their last byte are read")
	}
}
