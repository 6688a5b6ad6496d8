package llamacpp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jupiterrider/ffi"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/engine"
)

// openDemo opens the demonstration model in both engines, in float32.
func openDemo(t testing.TB) (ours, theirs *lm.Model) {
	t.Helper()
	o := options(t)
	ours, err := lm.Open(t.Context(), "demo", lm.Compute(lm.Float32))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = lm.Open(t.Context(), "demo", lm.Compute(lm.Float32), lm.OnFiles(Open(o)))
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// branching returns prompts of random tokens that begin alike in many ways.
func branching(random *rand.Rand, prompts, longest, vocabulary int) [][]int {
	all := [][]int{{1}}
	for len(all) < prompts {
		from := all[random.IntN(len(all))]
		tokens := slices.Clone(from[:1+random.IntN(len(from))])
		for range 1 + random.IntN(longest-1) {
			if len(tokens) < longest {
				tokens = append(tokens, random.IntN(vocabulary))
			}
		}
		all = append(all, tokens)
	}
	return all
}

// direction is an addition to all layers from the second on.
func direction(t *testing.T, m *lm.Model, options ...steer.EditOption) lm.Edit {
	t.Helper()
	v := &steer.Vector{Site: lm.DecoderBlock, Layers: map[int][]float32{}}
	for layer := 1; layer < m.Layers(); layer++ {
		for i := range m.Decoder().Hidden {
			v.Layers[layer] = append(v.Layers[layer], float32(math.Sin(float64(i*layer)))/4)
		}
	}
	edit, err := v.Edit(1, options...)
	if err != nil {
		t.Fatal(err)
	}
	return edit
}

// Many prompts that share prefixes, some of them steered, take several batches and
// many sequences, and each token has the activations and logits that it has alone.
func TestWhatIsComputedTogetherIsAsOnTheCPU(t *testing.T) {
	ours, theirs := openDemo(t)
	random := rand.New(rand.NewPCG(3, 4))
	prompts := branching(random, 260, 24, ours.Decoder().Vocabulary)
	read := func(m *lm.Model, runTokens int) [][]float32 {
		t.Helper()
		some, err := m.Steering(direction(t, m, steer.OnTokens(steer.From(2))))
		if err != nil {
			t.Fatal(err)
		}
		var inputs []lm.Input
		nodes := 0
		for i, tokens := range prompts {
			in := lm.Input{Tokens: tokens}
			if i%5 == 0 {
				in.Steering = some
			}
			inputs = append(inputs, in)
			nodes += len(tokens)
		}
		got := make([][]float32, len(inputs))
		at := func(input int, values []float32) { got[input] = append(got[input], values...) }
		usage, err := m.Forward(t.Context(), inputs, lm.ForwardOptions{
			Taps:       []lm.Address{{Layer: 1, Site: lm.SelfAttn}, {Layer: m.Layers() - 1, Site: lm.DecoderBlock}},
			Activation: func(input, _ int, _ lm.Address, activation []float32) { at(input, activation[:4]) },
			Logits:     func(input, _ int, logits []float32) { at(input, logits[:8]) },
			RunTokens:  runTokens,
		})
		if err != nil {
			t.Fatal(err)
		}
		if usage.Computed <= 2*batchRows || usage.Computed >= nodes {
			t.Fatalf("%d of %d tokens were computed", usage.Computed, nodes)
		}
		return got
	}
	for _, runTokens := range []int{0, 100} {
		// values of an input come in another order where runs are cut otherwise
		want, got := read(ours, runTokens), read(theirs, runTokens)
		for i := range want {
			slices.Sort(want[i])
			slices.Sort(got[i])
			near(t, fmt.Sprintf("prompt %d", i), got[i], want[i], 1e-3)
		}
	}
}

// A cached view keeps what fits, forgets the rest, and finds it again.
func TestACachedViewIsAsOnTheCPU(t *testing.T) {
	ours, theirs := openDemo(t)
	random := rand.New(rand.NewPCG(5, 6))
	prompts := branching(random, 300, 40, ours.Decoder().Vocabulary)
	cached := theirs.Cached(600)
	for round := range 12 {
		var inputs []lm.Input
		for range 1 + random.IntN(25) {
			inputs = append(inputs, lm.Input{Tokens: prompts[random.IntN(len(prompts))]})
		}
		want, err := ours.Generate(t.Context(), inputs, lm.GenerateOptions{MaxTokens: 6, IgnoreEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		got, err := cached.Generate(t.Context(), inputs, lm.GenerateOptions{MaxTokens: 6, IgnoreEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if !slices.Equal(got[i].IDs, want[i].IDs) {
				t.Errorf("round %d: wrote %v after %v, want %v", round, got[i].IDs, inputs[i].Tokens, want[i].IDs)
			}
		}
		if err := cached.CheckCache(); err != nil {
			t.Fatal(err)
		}
	}
}

// A control vector of llama.cpp's and an edit in the callback give the same bits.
func TestControlVectorsEqualEdits(t *testing.T) {
	_, theirs := openDemo(t)
	m := theirsOf(t)
	var steered [2][]float32
	run := func(byControl bool) (logits []float32, control bool) {
		s := m.NewSession().(*Session)
		defer s.Close()
		s.byControl = func() bool { return byControl }
		tokens := []int{1, 5, 9, 200, 33}
		edits := m.everywhere()
		for i := range edits {
			edits[i].Rows = []int{0, 1, 2, 3, 4}
		}
		err := s.Run(t.Context(), &engine.Run{
			Tokens: tokens, Segments: []engine.Segment{{Nodes: 5, Path: slots(5), Length: 5}}, Slots: 5, Edits: edits,
			LogitRows: []int{0, 1, 2, 3, 4}, Logits: func(_ int, l []float32) { logits = append(logits, l...) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return logits, s.steered != nil
	}
	for i, byControl := range []bool{true, false} {
		var control bool
		if steered[i], control = run(byControl); control != byControl {
			t.Fatalf("a control vector is set: %v", control)
		}
	}
	if !slices.Equal(steered[0], steered[1]) {
		t.Error("the logits have other bits")
	}
	if !m.controls() {
		t.Error("they are found to differ")
	}
	plain, err := steer.Record(t.Context(), theirs, []int{1, 5, 9, 200, 33}, steer.RecordOptions{Layers: []int{0}, Logits: true})
	if err != nil || slices.Equal(slices.Concat(plain.Logits...), steered[0]) {
		t.Errorf("the vector changes nothing (%v)", err)
	}
}

func TestWhatDoesNotFitIsSaid(t *testing.T) {
	m := theirsOf(t)
	s := m.NewSession().(*Session)
	defer s.Close()
	err := s.grow(1<<40, maxSequences)
	if err == nil || !strings.Contains(err.Error(), "GiB of memory are free") {
		t.Errorf("a context larger than memory: %v", err)
	}
}

// Taps and edits at a site without a name are errors before anything is computed.
func TestASiteWithoutANameIsAnError(t *testing.T) {
	g := openGolden(t, "qwen2")
	_, err := steer.Record(t.Context(), g.theirs, g.Probe.IDs, steer.RecordOptions{Site: lm.SelfAttn})
	if err == nil || !strings.Contains(err.Error(), "llama.cpp's graph of qwen2 has no node attn_out-0") {
		t.Errorf("reading: %v", err)
	}
	v := &steer.Vector{Site: lm.SelfAttn, Layers: map[int][]float32{0: make([]float32, g.ours.Decoder().Hidden)}}
	v.Layers[0][0] = 1
	edit, err := v.Edit(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.theirs.With(edit); err == nil || !strings.Contains(err.Error(), "attn_out-0") {
		t.Errorf("steering: %v", err)
	}
}

// A run that is interrupted changes nothing: the session goes on from where it was.
func TestAnInterruptTakesBackTheRun(t *testing.T) {
	ours, theirs := openDemo(t)
	cached := theirs.Cached(4000)
	prompt := make([]int, 300)
	for i := range prompt {
		prompt[i] = 3 + i%97
	}
	opts := lm.GenerateOptions{MaxTokens: 8, IgnoreEnd: true}
	want, err := ours.Generate(t.Context(), []lm.Input{{Tokens: prompt}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		if _, err := cached.Generate(ctx, []lm.Input{{Tokens: prompt}}, opts); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("after %v: %v", after, err)
		}
		cancel()
	}
	got, err := cached.Generate(t.Context(), []lm.Input{{Tokens: prompt}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got[0].IDs, want[0].IDs) {
		t.Errorf("wrote %v, want %v", got[0].IDs, want[0].IDs)
	}
}

// Any number of goroutines use a model, each with a session of its own, and sessions
// that end leave nothing behind.
func TestSessionsStandSideBySide(t *testing.T) {
	_, theirs := openDemo(t)
	want, err := theirs.Generate(t.Context(), []lm.Input{{Tokens: []int{1, 2, 3}}}, lm.GenerateOptions{MaxTokens: 5})
	if err != nil {
		t.Fatal(err)
	}
	known := func() (n int) {
		watches.Range(func(any, any) bool { n++; return true })
		return n
	}
	before := known()
	var work sync.WaitGroup
	for range 6 {
		work.Go(func() {
			for range 4 {
				got, err := theirs.Generate(t.Context(), []lm.Input{{Tokens: []int{1, 2, 3}}}, lm.GenerateOptions{MaxTokens: 5})
				if err != nil || !slices.Equal(got[0].IDs, want[0].IDs) {
					t.Errorf("wrote %v (%v), want %v", got, err, want)
				}
			}
		})
	}
	work.Wait()
	if after := known(); after != before {
		t.Errorf("%d contexts are known, %d were before", after, before)
	}
}

// A session that nobody closed goes with the garbage.
func TestASessionThatIsForgottenIsFreed(t *testing.T) {
	m := theirsOf(t)
	var id uintptr
	func() {
		s := m.NewSession().(*Session)
		if err := s.grow(1, maxSequences); err != nil {
			t.Fatal(err)
		}
		id = s.id
	}()
	for range 100 {
		runtime.GC()
		if _, there := watches.Load(id); !there {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("its context is still there")
}

// theirsOf opens the demonstration model and returns llama.cpp's side of it.
func theirsOf(t *testing.T) *Model {
	t.Helper()
	o := options(t)
	var m *Model
	_, err := lm.Open(t.Context(), "demo", lm.Compute(lm.Float32), lm.OnFiles(func(ctx context.Context, source engine.Source, dtype engine.DType) (engine.Engine, error) {
		e, err := Open(o)(ctx, source, dtype)
		if err == nil {
			m = e.(*Model)
		}
		return e, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Libraries that are not there, are none or are of another version are refused in
// words. Each is tried in a process of its own, as libraries are loaded once.
func TestOtherLibrariesAreRefused(t *testing.T) {
	if folder := os.Getenv("STEER_TEST_LIBRARIES"); folder != "" {
		_, err := Devices(folder)
		fmt.Println("said:", err)
		return
	}
	libraries, err := filepath.Abs(options(t).Libraries)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "linux" {
		t.Skip("the libraries are named as on Linux")
	}
	link := func(t *testing.T, names map[string]string) string {
		folder := t.TempDir()
		for name, target := range names {
			if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
				t.Fatal(err)
			}
		}
		return folder
	}
	base, other := filepath.Join(libraries, "libggml-base.so"), cLibrary(t)
	for _, test := range []struct {
		name, says string
		folder     func(t *testing.T) string
	}{
		{"no folder", "no such file", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }},
		{"an empty folder", "libggml-base.so, libggml.so, libllama.so is not there", func(t *testing.T) string { return t.TempDir() }},
		{"libraries of something else", "its ggml cannot say its version, so it is not version " + GGMLVersion, func(t *testing.T) string {
			return link(t, map[string]string{"libggml-base.so": other, "libggml.so": other, "libllama.so": other})
		}},
		{"a llama.cpp that has no version", "its llama.cpp cannot say its version, so it is not version " + Version, func(t *testing.T) string {
			return link(t, map[string]string{"libggml-base.so": base, "libggml.so": other, "libllama.so": other})
		}},
		{"a file that is no library", "libggml-base.so", func(t *testing.T) string {
			folder := t.TempDir()
			for _, name := range []string{"libggml-base.so", "libggml.so", "libllama.so"} {
				if err := os.WriteFile(filepath.Join(folder, name), []byte("no library"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return folder
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := exec.Command(os.Args[0], "-test.run=^TestOtherLibrariesAreRefused$")
			c.Env = append(os.Environ(), "STEER_TEST_LIBRARIES="+test.folder(t))
			out, err := c.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("said: load llama.cpp from")) || !bytes.Contains(out, []byte(test.says)) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// cLibrary returns a shared library that has nothing to do with llama.cpp.
func cLibrary(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/lib/*/libm.so.6", "/usr/lib/*/libm.so.6", "/lib64/libm.so.6"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Skip("no library of C's is found")
	return ""
}

// Every operator, and conditions that are decided in a token's own pass, act as on the
// CPU.
func TestOperatorsAndConditionsActAsOnTheCPU(t *testing.T) {
	ours, theirs := openDemo(t)
	width := ours.Decoder().Hidden
	row := func(seed float64) []float32 {
		v := make([]float32, width)
		for i := range v {
			v[i] = float32(math.Sin(float64(i)*seed + seed))
		}
		return v
	}
	condition := &lm.Condition{Evidence: &lm.Evidence{Layer: 0, Vector: row(2), Measure: lm.Projection, When: lm.EachToken}}
	prompt := []int{1, 17, 230, 44, 9, 9, 120, 3}
	logits := func(m *lm.Model, edits ...lm.Edit) []float32 {
		t.Helper()
		if len(edits) > 0 {
			var err error
			if m, err = m.With(edits...); err != nil {
				t.Fatal(err)
			}
		}
		r, err := steer.Record(t.Context(), m, prompt, steer.RecordOptions{Layers: []int{0}, Logits: true})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(r.Logits...)
	}
	plain := logits(ours)
	for _, test := range []struct {
		operator string
		rows     int
	}{
		{"add", 1}, {"add-same-norm", 1}, {"add-nearest", 2}, {"ablate", 1}, {"ablate:share=0.5", 2}, {"ablate-then-add", 1}, {"ablate-positive", 1},
		{"clamp:at=3", 1}, {"rotate:by=40", 2}, {"slerp:share=0.3", 1}, {"multiply:by=2", 1}, {"affine", 2}, {"transport", width + 2}, {"leace", 3},
	} {
		operator, err := steer.ParseOperator(test.operator)
		if err != nil {
			t.Errorf("%s: %v", test.operator, err)
			continue
		}
		var vector []float32
		for n := range test.rows {
			vector = append(vector, row(1+float64(n))...)
		}
		if test.rows > 2 { // matrices, of which the product is to stay small
			for i := range vector {
				vector[i] /= float32(width)
			}
		}
		for _, site := range []lm.Site{lm.DecoderBlock, lm.SelfAttn} {
			for name, c := range map[string]*lm.Condition{"always": nil, "where there is evidence": condition} {
				t.Run(fmt.Sprintf("%s/%d/%s/%s", test.operator, test.rows, site, name), func(t *testing.T) {
					edit := lm.Edit{Site: site, Layers: map[int][]float32{1: vector, 2: vector}, Operator: operator, Condition: c, Tokens: steer.From(1)}
					want, got := logits(ours, edit), logits(theirs, edit)
					near(t, "logits", got, want, 1e-3)
					if slices.Equal(want, plain) {
						t.Error("the edit changes nothing")
					}
				})
			}
		}
	}
}

func TestAVersionThatDoesNotMatchIsNamed(t *testing.T) {
	base, err := ffi.Load(filepath.Join(options(t).Libraries, "libggml-base.so"))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkVersion(base, "ggml", "ggml_version", "0.1.2"); err == nil || err.Error() != "its ggml has version "+GGMLVersion+"; version 0.1.2 is needed" {
		t.Errorf("another version: %v", err)
	}
}

// Windows and states: where paths part is found again whatever was computed meanwhile.
func TestPathsPartAnywhere(t *testing.T) {
	for _, name := range []string{"cohere2", "gpt_oss", "gemma3_text", "falcon_h1", "granitemoehybrid", "lfm2"} {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			random := rand.New(rand.NewPCG(8, 9))
			prompts := branching(random, 60, 40, g.ours.Decoder().Vocabulary)
			cached := g.theirs.Cached(900)
			for range 40 {
				var inputs []lm.Input
				for range 1 + random.IntN(6) {
					inputs = append(inputs, lm.Input{Tokens: prompts[random.IntN(len(prompts))]})
				}
				read := func(m *lm.Model) [][]float32 {
					got := make([][]float32, len(inputs))
					_, err := m.Forward(t.Context(), inputs, lm.ForwardOptions{Logits: func(input, position int, logits []float32) {
						if position == len(inputs[input].Tokens)-1 {
							got[input] = slices.Clone(logits)
						}
					}, RunTokens: 30})
					if err != nil {
						t.Fatal(err)
					}
					return got
				}
				got := read(cached)
				for i, want := range read(g.ours) {
					near(t, fmt.Sprint("after ", inputs[i].Tokens), got[i], want, g.tolerance)
				}
			}
		})
	}
}

// A context grows with what it holds: in the middle of a text, and of a batch that finds
// no room.
func TestAContextGrowsWithWhatItHolds(t *testing.T) {
	m := theirsOf(t)
	const tokens = 1500
	run := func(s *Session, from, to int) (logits []float32) {
		t.Helper()
		r := &engine.Run{
			Segments: []engine.Segment{{Nodes: to - from, Position: from, Path: slots(to), Length: tokens}}, Slots: to, Edits: m.everywhere(),
			LogitRows: []int{to - from - 1}, Logits: func(_ int, l []float32) { logits = slices.Clone(l) },
		}
		for position := from; position < to; position++ {
			r.Tokens = append(r.Tokens, 3+position%90)
		}
		for i := range r.Edits {
			r.Edits[i].Rows = make([]int, to-from)
			for row := range r.Edits[i].Rows {
				r.Edits[i].Rows[row] = row
			}
		}
		if err := s.Run(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		return logits
	}
	once, parts, full := m.NewSession().(*Session), m.NewSession().(*Session), m.NewSession().(*Session)
	for _, s := range []*Session{once, parts, full} {
		defer s.Close()
	}
	want := run(once, 0, tokens)
	run(parts, 0, 300)
	small := parts.cells
	near(t, "in parts", run(parts, 300, tokens), want, 1e-3)
	if parts.cells <= small {
		t.Errorf("%d cells after %d", parts.cells, small)
	}
	// another sequence takes the room that was thought to be there
	run(full, 0, 300)
	id := full.unused()
	for len(full.list[id].slots) < full.cells-400 {
		full.list[id].slots = append(full.list[id].slots, -1)
	}
	for position := range full.list[id].slots {
		full.rows = append(full.rows, row{node: position, token: 5, position: position, sequences: []llama.SeqId{llama.SeqId(id)}})
		if len(full.rows) == batchRows || position == len(full.list[id].slots)-1 {
			if err := full.decode(t.Context(), &engine.Run{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := full.cells
	alone := m.NewSession().(*Session)
	defer alone.Close()
	to := before - batchRows
	near(t, "in a batch that finds no room", run(full, 300, to), run(alone, 0, to), 1e-3)
	if full.cells <= before {
		t.Errorf("%d cells after %d", full.cells, before)
	}
}

// A file of an architecture that nothing here describes is read, trained on and steered.
func TestAnArchitectureThatIsNotKnownHere(t *testing.T) {
	const known, unknown = "smollm3", "minicpm" // of one length, and with the same tensors
	files, err := seeded.Files(goldens + known)
	if err != nil {
		t.Fatal(err)
	}
	path, err := writeGGUF(t, files, known)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(data, []byte(known), []byte(unknown)), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(t)
	if _, err := lm.Open(t.Context(), path); err == nil {
		t.Fatal("the CPU engine knows it")
	}
	m, err := lm.Open(t.Context(), path, lm.Compute(lm.Float32), lm.OnFiles(Open(o)))
	if err != nil {
		t.Fatal(err)
	}
	if d := m.Decoder(); d.Family != unknown || len(d.Blocks) != 3 {
		t.Errorf("it is described as %s of %d layers", d.Family, len(d.Blocks))
	}
	v, err := steer.Train(t.Context(), m, []steer.Sample{{Positive: "a good day", Negative: "a bad day"}, {Positive: "so good", Negative: "so bad"}}, steer.TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	edit, err := v.Edit(4)
	if err != nil {
		t.Fatal(err)
	}
	steered, err := m.With(edit)
	if err != nil {
		t.Fatal(err)
	}
	var logits [2][]float32
	for i, m := range []*lm.Model{m, steered} {
		r, err := steer.Record(t.Context(), m, []int{1, 2, 3}, steer.RecordOptions{Logits: true})
		if err != nil {
			t.Fatal(err)
		}
		logits[i] = slices.Concat(r.Logits...)
	}
	if slices.Equal(logits[0], logits[1]) {
		t.Error("steering changes nothing")
	}
	if _, err := steer.Record(t.Context(), m, []int{1, 2, 3}, steer.RecordOptions{Site: lm.AttnHeads}); err == nil {
		t.Error("a site whose width nobody knows is read")
	}
}
