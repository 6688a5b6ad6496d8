package bake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/bake"
	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/demo"
)

// tolerance is how far a baked checkpoint in float32 may be from steering at run
// time, in logits.
const tolerance = 1e-4

// prompts of tokens, for checkpoints of any tokenizer.
var prompts = []lm.Input{{Tokens: []int{3, 14, 15, 92, 65, 35}}, {Tokens: []int{3, 14, 27, 18, 28}}, {Tokens: []int{7}}}

// golden writes a golden's checkpoint into a folder.
func golden(t *testing.T, name string) (dir string, decoder *arch.Decoder) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	if err := seeded.Write(filepath.Join("..", "testdata", "goldens", name), dir); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if decoder, err = arch.Parse(config); err != nil {
		t.Fatal(err)
	}
	return dir, decoder
}

// direction is a vector that no family's weights know, of length about 1.
func direction(width int, seed float32) []float32 {
	out := make([]float32, width)
	for i := range out {
		seed = seed*1.37 + float32(i%7) - 3
		for seed > 2 || seed < -2 {
			seed /= 3
		}
		out[i] = seed / 8
	}
	return out
}

func vector(d *arch.Decoder, site lm.Site, layers ...int) *steer.Vector {
	v := &steer.Vector{Site: site, Layers: map[int][]float32{}}
	for _, layer := range layers {
		v.Layers[layer] = direction(d.Width(layer, site), float32(layer)+0.5)
	}
	return v
}

// notAblated are the goldens whose residual stream is written by more than their
// weights, or where no site shows what a part writes.
var notAblated = map[string]string{
	"bloom": "no site shows", "mpt": "no site shows", "granitemoeshared": "no site shows", "granitemoehybrid": "no site shows", "falcon_h1": "no site shows",
	"longcat_flash": "no site shows", "minimax": "a norm stands in the residual stream", "opt_postnorm": "a norm stands in the residual stream",
}

func TestABakedAblationEqualsSteeringAtRunTime(t *testing.T) {
	for _, name := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			dir, d := golden(t, name)
			v := vector(d, lm.DecoderBlock, 1)
			if len(name)%2 == 0 { // for half of them, two directions
				v.Rank, v.Layers[1] = 2, append(v.Layers[1], direction(d.Hidden, 0.3)...)
			}
			r, err := bake.Write(t.Context(), dir, v, filepath.Join(t.TempDir(), "baked"),
				bake.Options{Mode: bake.Ablate, Prompts: prompts, DType: lm.Float32})
			if reason := notAblated[name]; reason != "" {
				if err == nil || !strings.Contains(err.Error(), reason) {
					t.Errorf("the error is %v, not that %s", err, reason)
				}
				return
			}
			equal(t, r, err, dir)
			if len(r.Changed) < 2*len(d.Blocks) || len(r.Added) != 0 {
				t.Errorf("%d tensors are changed and %d added", len(r.Changed), len(r.Added))
			}
		})
	}
}

// equal fails the test unless the steering acts and the baked checkpoint does the
// same, but for rounding to the type in which the weights are stored.
func equal(t *testing.T, r *bake.Result, err error, dir string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	most := map[string]float64{"llama_bf16": 0.05, "llama_f16": 0.005}[filepath.Base(dir)]
	t.Logf("%s: logits, of up to %.3g, differ by %.2g", r.Mode, r.Logit, r.Difference)
	if r.Difference > max(most, tolerance) || r.Effect < 0.01 || r.Tokens != 12 {
		t.Errorf("logits of %d tokens differ by up to %g, where the steering moves them by %g", r.Tokens, r.Difference, r.Effect)
	}
}

func TestABakedBiasEqualsSteeringAtRunTime(t *testing.T) {
	// The fields that are turned on for an addition to decoder_block; "" where the bias
	// is there.
	fields := map[string]string{
		"llama": "mlp_bias", "granite": "mlp_bias", "falcon_new": "bias", "cohere": "attention_bias", "starcoder2_nowindow": "use_bias",
		"gpt2": "", "phi": "", "opt_postnorm": "", "bloom": "", "codegen": "",
	}
	refused := []string{"mistral", "qwen2", "gemma2", "mixtral", "mpt", "olmo2", "gpt_oss"}
	for _, name := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			dir, d := golden(t, name)
			for _, site := range sitesOf(name) {
				if !d.HasSite(0, site) {
					continue
				}
				r, err := bake.Write(t.Context(), dir, vector(d, site, 0, 1), filepath.Join(t.TempDir(), "baked"),
					bake.Options{Mode: bake.Bias, Multiplier: 0.5, Prompts: prompts, DType: lm.Float32})
				field, known := fields[name]
				if err != nil && !(known && site == lm.DecoderBlock) && strings.Contains(err.Error(), "steer at run time") {
					continue
				}
				equal(t, r, err, dir)
				if site == lm.DecoderBlock && known && r.Field != field {
					t.Errorf("the field is %q, not %q", r.Field, field)
				}
				if site == lm.DecoderBlock && slices.Contains(refused, name) {
					t.Error("its library has no such bias")
				}
			}
		})
	}
}

// sitesOf are all sites for some goldens, and for the others those of which each
// has its own way into a bias.
func sitesOf(golden string) []lm.Site {
	if slices.Contains([]string{"llama", "gpt2", "granite", "bloom"}, golden) {
		return []lm.Site{lm.DecoderBlock, lm.ResidualMid, lm.SelfAttn, lm.MLP, lm.AttnHeads, lm.InputLayerNorm}
	}
	return []lm.Site{lm.DecoderBlock, lm.AttnHeads}
}

func goldens(t *testing.T) (names []string) {
	t.Helper()
	paths, err := filepath.Glob("../testdata/goldens/*/config.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no goldens are there: %v", err)
	}
	for _, path := range paths {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	return names
}

// demoInFloat32 writes the demonstration model with weights of float32, in two
// shards, with files beside it that a checkpoint may have.
func demoInFloat32(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "demo")
	if err := os.CopyFS(dir, demo.Files()); err != nil {
		t.Fatal(err)
	}
	single := filepath.Join(dir, "model.safetensors")
	f, err := safetensors.Open(single)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	shards, weightMap, total := map[string][]safetensors.Tensor{}, map[string]string{}, 0
	for i, name := range f.Names() {
		stored, _ := f.Tensor(name)
		values, err := stored.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		shard := []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}[i%2]
		wide := safetensors.New(name, stored.Shape, values)
		shards[shard], weightMap[name], total = append(shards[shard], wide), shard, total+len(wide.Data)
	}
	for shard, tensors := range shards {
		if err := safetensors.Write(filepath.Join(dir, shard), tensors, map[string]string{"format": "pt"}); err != nil {
			t.Fatal(err)
		}
	}
	index, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": weightMap})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"model.safetensors.index.json": string(index), "README.md": "---\nlicense: mit\n---\n# Demo\n", "LICENSE": "free",
		"pytorch_model.bin": "the weights once more", "old/model.pth": "and again", "original/params.json": "{}", ".git/HEAD": "ref",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(content), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(single); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestABakedDemoModelIsACompleteCheckpoint(t *testing.T) {
	dir := demoInFloat32(t)
	plain, err := lm.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name           string
		v              *steer.Vector
		opts           bake.Options
		changed, added int
	}{
		{"bias", vector(plain.Decoder(), lm.DecoderBlock, 3), bake.Options{Mode: bake.Bias, Multiplier: 0.7}, 0, 18}, // gate, up and down of six layers
		{"ablation", vector(plain.Decoder(), lm.DecoderBlock, 3), bake.Options{Mode: bake.Ablate}, 12, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.opts.DType = lm.Float32
			out := filepath.Join(t.TempDir(), "baked")
			r, err := bake.Write(t.Context(), dir, test.v, out, test.opts)
			if err != nil {
				t.Fatal(err)
			}
			if r.Difference > tolerance || r.Effect < 0.1 || r.Prompts != 4 {
				t.Errorf("compared: %+v", r.Verification)
			}
			if len(r.Changed) != test.changed || len(r.Added) != test.added || !slices.Equal(r.LeftOut, []string{"old/model.pth", "pytorch_model.bin"}) {
				t.Errorf("%d tensors are changed, %d added, %v left out", len(r.Changed), len(r.Added), r.LeftOut)
			}
			for _, name := range []string{"tokenizer.json", "LICENSE", "original/params.json", "generation_config.json"} {
				if !same(t, dir, out, name) {
					t.Errorf("%s is not as it was", name)
				}
			}
			for _, name := range []string{"pytorch_model.bin", ".git", "old"} {
				if _, err := os.Stat(filepath.Join(out, name)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is there: %v", name, err)
				}
			}
			if test.added == 0 && !(same(t, dir, out, "config.json") && same(t, dir, out, "model.safetensors.index.json")) {
				t.Error("config or index are not as they were")
			}
			for _, shard := range []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} {
				compareShards(t, filepath.Join(dir, shard), filepath.Join(out, shard), r)
			}
			card, err := os.ReadFile(filepath.Join(out, "README.md"))
			if err != nil || !strings.HasPrefix(string(card), "---\nlicense: mit\n---\n# Demo\n") || !strings.Contains(string(card), "differ by at most") {
				t.Errorf("the card is %s, %v", card, err)
			}
			baked, err := lm.Open(t.Context(), out)
			if err != nil || baked.Fingerprint() != r.Fingerprint || baked.Fingerprint() == plain.Fingerprint() {
				t.Errorf("the baked model: %v, weights %s", err, r.Fingerprint)
			}
		})
	}
}

// compareShards holds tensors that are not said to be changed to their bytes, and
// the others to their number format.
func compareShards(t *testing.T, before, after string, r *bake.Result) {
	t.Helper()
	a, err := safetensors.Open(before)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := safetensors.Open(after)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, name := range a.Names() {
		was, _ := a.Tensor(name)
		is, ok := b.Tensor(name)
		if !ok || is.DType != was.DType || !slices.Equal(is.Shape, was.Shape) || bytes.Equal(is.Data, was.Data) == slices.Contains(r.Changed, name) {
			t.Errorf("%s of %s: not as it is said to be", name, filepath.Base(after))
		}
	}
	for _, name := range b.Names() {
		if _, ok := a.Tensor(name); !ok && !slices.Contains(r.Added, name) {
			t.Errorf("%s of %s is new", name, filepath.Base(after))
		}
	}
	if !maps.Equal(a.Metadata(), b.Metadata()) {
		t.Errorf("%s has other metadata", filepath.Base(after))
	}
}

func same(t *testing.T, a, b, name string) bool {
	t.Helper()
	was, err := os.ReadFile(filepath.Join(a, name))
	if err != nil {
		t.Fatal(err)
	}
	is, err := os.ReadFile(filepath.Join(b, name))
	return err == nil && bytes.Equal(was, is)
}

// A freed stream has nothing of the direction, in any layer, if the embedding is
// freed too.
func TestAnAblatedModelsStreamHasNothingOfTheDirection(t *testing.T) {
	for _, name := range []string{"llama", "gpt2", "gemma2", "mixtral", "biogpt"} {
		dir, d := golden(t, name)
		v := vector(d, lm.DecoderBlock, 1)
		opts := bake.Options{Mode: bake.Ablate, Embeddings: true, Prompts: prompts, DType: lm.Float32}
		out := filepath.Join(t.TempDir(), "baked")
		if _, err := bake.Write(t.Context(), dir, v, out, opts); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m, err := lm.Open(t.Context(), out, lm.Compute(lm.Float32))
		if err != nil {
			t.Fatal(err)
		}
		var taps []lm.Address
		for layer := range d.Blocks {
			taps = append(taps, lm.Address{Layer: layer, Site: lm.DecoderBlock})
		}
		_, err = m.Forward(t.Context(), prompts, lm.ForwardOptions{Taps: taps, Activation: func(_, _ int, at lm.Address, h []float32) {
			along, size, norm := 0.0, 0.0, 0.0
			for i, x := range h {
				along += float64(x) * float64(v.Layers[1][i])
				size += float64(x) * float64(x)
				norm += float64(v.Layers[1][i]) * float64(v.Layers[1][i])
			}
			if cosine := along / math.Sqrt(size*norm); math.Abs(cosine) > 1e-5 {
				t.Errorf("%s: at %v the cosine with the direction is %g", name, at, cosine)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatCannotBeBakedIsRefused(t *testing.T) {
	dir, d := golden(t, "llama")
	block := vector(d, lm.DecoderBlock, 1)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thing"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	other := vector(d, lm.DecoderBlock, 1)
	other.Provenance.Family = "gpt2"
	ablating := vector(d, lm.DecoderBlock, 1)
	ablating.Operator = "ablate"
	erasing := vector(d, lm.DecoderBlock, 1)
	erasing.Operator, erasing.Rank = "leace", 3
	erasing.Layers[1] = slices.Repeat(erasing.Layers[1], 3)
	conditional, threshold := vector(d, lm.DecoderBlock, 1), 0.5
	conditional.Condition = &steer.When{Above: &threshold}
	for _, test := range []struct {
		name string
		v    *steer.Vector
		opts bake.Options
		out  string
		want string
	}{
		{"no mode", block, bake.Options{}, "", "the mode is"},
		{"an ablation of two layers", vector(d, lm.DecoderBlock, 0, 1), bake.Options{Mode: bake.Ablate}, "", "choose a layer"},
		{"an ablation with a multiplier", block, bake.Options{Mode: bake.Ablate, Multiplier: 2}, "", "no influence on an ablation"},
		{"an ablation of heads", vector(d, lm.AttnHeads, 1), bake.Options{Mode: bake.Ablate}, "", "direction of decoder_block"},
		{"an addition to embeddings", block, bake.Options{Mode: bake.Bias, Embeddings: true}, "", "embeddings are for an ablation"},
		{"a vector that ablates as a bias", ablating, bake.Options{Mode: bake.Bias}, "", "a bias can only add"},
		{"rows for another operator as directions", erasing, bake.Options{Mode: bake.Ablate}, "", "for the operator leace"},
		{"a vector that acts under a condition", conditional, bake.Options{Mode: bake.Ablate}, "", "condition"},
		{"a vector of another family", other, bake.Options{Mode: bake.Bias}, "", "trained on a gpt2"},
		{"a layer that is not there", &steer.Vector{Layers: map[int][]float32{7: block.Layers[1]}}, bake.Options{Mode: bake.Bias}, "", "layer 7"},
		{"a zero direction", &steer.Vector{Layers: map[int][]float32{1: make([]float32, d.Hidden)}}, bake.Options{Mode: bake.Ablate}, "", "zero"},
		{"a folder that is not empty", block, bake.Options{Mode: bake.Ablate}, full, "is not empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := test.out
			if out == "" {
				out = filepath.Join(t.TempDir(), "baked")
			}
			test.opts.Prompts = prompts
			_, err := bake.Write(t.Context(), dir, test.v, out, test.opts)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v; want one with %q", err, test.want)
			}
			if _, err := os.Stat(out); test.out == "" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is there: %v", out, err)
			}
		})
	}
}

func TestSeveralStreamsAreNotBaked(t *testing.T) {
	dir, d := golden(t, "gemma3n_text")
	_, err := bake.Write(t.Context(), dir, vector(d, lm.DecoderBlock, 1), filepath.Join(t.TempDir(), "baked"), bake.Options{Mode: bake.Bias, Prompts: prompts})
	if err == nil || !strings.Contains(err.Error(), "several residual streams") {
		t.Errorf("the error is %v", err)
	}
}

func TestAnInterruptedBakeLeavesNothing(t *testing.T) {
	dir, d := golden(t, "llama")
	ctx, cancel := context.WithCancel(t.Context())
	folder := t.TempDir()
	_, err := bake.Write(ctx, dir, vector(d, lm.DecoderBlock, 1), filepath.Join(folder, "baked"),
		bake.Options{Mode: bake.Ablate, Prompts: prompts, Progress: func(string, int64, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
}
