package steer_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/demo/stories"
)

// Vectors of quantised and of full weights point the same way, and steer each other's
// model: what docs/quantised.md tells, which -v prints.
func TestVectorsCarryOverBetweenFullAndQuantisedWeights(t *testing.T) {
	full := openDemo(t)
	pairs, others := stories.Pairs(trainedOn, 48, "happy", "sad"), stories.Pairs(heldOut, 32, "happy", "sad")
	var samples []steer.Sample
	for _, p := range pairs {
		samples = append(samples, steer.Sample{Positive: p.Beginning + " " + p.PositiveStatement, Negative: p.Beginning + " " + p.NegativeStatement})
	}
	train := func(m *lm.Model) *steer.Vector {
		v, err := steer.Train(t.Context(), m, samples, steer.TrainOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	// effect is what one vector at layer 3 adds to the preference for the mood.
	effect := func(m *lm.Model, v *steer.Vector) float64 {
		cut, err := v.Cut(moodLayers...)
		if err != nil {
			t.Fatal(err)
		}
		edit, err := cut.Edit(1)
		if err != nil {
			t.Fatal(err)
		}
		return preference(t, with(t, m, edit), others) - preference(t, m, others)
	}
	ours := train(full)
	base := effect(full, ours)
	t.Logf("weights | cosine at layers 0 to 5 | full on full | quantised on quantised | quantised on full | full on quantised")
	for _, c := range []struct {
		kind   gguf.Type
		cosine float64 // at least, at every layer
	}{{gguf.Q8_0, 0.999}, {gguf.Q5_1, 0.99}, {gguf.Q5_0, 0.99}, {gguf.Q4_0, 0.97}, {gguf.MXFP4, 0.95}, {gguf.IQ4_NL, 0.97}} {
		m, err := lm.Open(t.Context(), "demo", lm.Quantize(c.kind))
		if err != nil {
			t.Fatal(err)
		}
		theirs := train(m)
		if !strings.HasSuffix(theirs.Provenance.DType, ":i16") || theirs.Provenance.DType == ours.Provenance.DType {
			t.Errorf("%v: provenance says %q", c.kind, theirs.Provenance.DType)
		}
		var cosines []float64
		for layer := range m.Layers() {
			cosine := cosineOf(ours.Layers[layer], theirs.Layers[layer])
			if !(cosine >= c.cosine) {
				t.Errorf("%v: layer %d has cosine %.5f, at least %v is wanted", c.kind, layer, cosine, c.cosine)
			}
			cosines = append(cosines, cosine)
		}
		effects := []float64{base, effect(m, theirs), effect(full, theirs), effect(m, ours)}
		for i, e := range effects {
			if !(e > 0.5*base && e < 1.5*base) {
				t.Errorf("%v: effect %d is %.3f, of full weights' %.3f", c.kind, i, e, base)
			}
		}
		t.Logf("%s | %.5f | %.3f", theirs.Provenance.DType, cosines, effects)
	}
}

// A vector's file says in which numbers the weights were and what multiplied them, also
// where the weights come in blocks from a file, and however they became blocks.
func TestAVectorSaysInWhichNumbersItWasTrained(t *testing.T) {
	sample := []steer.Sample{{Positive: "The happy fox", Negative: "The sad fox"}}
	for _, c := range []struct {
		stored gguf.Type
		given  []lm.OpenOption
		want   string
	}{
		{gguf.Q8_0, nil, "q8_0:i16"},
		{gguf.Q8_0, []lm.OpenOption{lm.Compute(lm.Float32)}, "q8_0:f32"},
		{gguf.Q4_K, nil, "q5_0:i16"}, // of the model's width
		{gguf.MXFP4, nil, "mxfp4:i16"},
		{gguf.BF16, nil, "bf16"},
		{gguf.BF16, []lm.OpenOption{lm.Quantize(gguf.Q4_0)}, "q4_0:i16"},
		{gguf.Q8_0, []lm.OpenOption{lm.Quantize(gguf.Q4_0)}, "q8_0:i16"}, // what is in blocks stays
	} {
		folder := t.TempDir()
		path := filepath.Join(folder, "demo.gguf")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lm.WriteGGUF(t.Context(), demo.Name, file, c.stored, checkpoint.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		m, err := lm.Open(t.Context(), path, c.given...)
		if err != nil {
			t.Fatal(err)
		}
		v, err := steer.Train(t.Context(), m, sample, steer.TrainOptions{})
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(folder, "v.safetensors")
		if err := v.Save(to); err != nil {
			t.Fatal(err)
		}
		read, err := steer.LoadVector(to)
		if err != nil {
			t.Fatal(err)
		}
		if got := read.Provenance.DType; got != c.want || got != m.Description().DType {
			t.Errorf("%v with %d options: the file says %q, the model %q, want %q", c.stored, len(c.given), got, m.Description().DType, c.want)
		}
	}
}

func cosineOf(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return ab / math.Sqrt(aa*bb)
}
