package eval_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/lm"
)

// shardedSweep is a sweep in which everything occurs that shards must agree in.
func shardedSweep() (eval.Manifest, eval.SweepData) {
	manifest, data := moodManifest([]int{2, 3}, -0.5, 0, 0.5), moodData(9)
	manifest.Grid.Aggregators, manifest.Grid.Operators = []string{"mean", "pca"}, []string{"add", "ablate"}
	manifest.Plan.Resamples, manifest.Plan.Random = 50, 1
	manifest.Plan.Generate = &eval.Generate{Questions: 4, MaxTokens: 5, Temperature: 0.7}
	data.Samples = data.Samples[:8]
	return manifest, data
}

// sameSweep compares all that does not say how the sweep came about.
func sameSweep(t *testing.T, got, want string) {
	t.Helper()
	for _, name := range []string{"rows.jsonl", "items.jsonl", "vectors/mean.safetensors"} {
		a, err := os.ReadFile(filepath.Join(got, name))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(want, name)); err != nil || string(a) != string(b) {
			t.Errorf("%s of %s and %s differ (%v)", name, got, want, err)
		}
	}
	a, b := readManifest(t, got), readManifest(t, want)
	a.Work, b.Work, a.Command, b.Command = nil, nil, nil, nil
	if !reflect.DeepEqual(a, b) {
		t.Errorf("the manifests differ:\n%+v\n%+v", a, b)
	}
}

func readManifest(t *testing.T, dir string) *eval.Manifest {
	t.Helper()
	m, err := eval.ReadManifest(filepath.Join(dir, "sweep.json"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// inShards runs a sweep, or what is left of the one in a folder, in parts.
func inShards(t *testing.T, m *lm.Model, manifest eval.Manifest, data eval.SweepData, of int, after string) (dirs []string) {
	t.Helper()
	for number := 1; number <= of; number++ {
		dir := filepath.Join(t.TempDir(), fmt.Sprint("part-", number))
		if _, err := eval.Sweep(t.Context(), m, manifest, data, eval.SweepRun{Dir: dir, Shard: steer.Shard{Number: number, Of: of}, After: after}); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func TestAMergedSweepIsThatOfASingleRun(t *testing.T) {
	m := openDemo(t)
	whole := t.TempDir()
	manifest, data := shardedSweep()
	done, err := eval.Sweep(t.Context(), m, manifest, data, eval.SweepRun{Dir: whole})
	if err != nil {
		t.Fatal(err)
	}
	trained, err := steer.Extract(t.Context(), m, data.Samples, steer.ExtractOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		grid, rest  int // shards; 0: a single machine does it
		activations *steer.Activations
	}{{1, 1, nil}, {2, 0, nil}, {3, 2, trained}, {9, 11, nil}} {
		t.Run(fmt.Sprint(test.grid, " and ", test.rest), func(t *testing.T) {
			dir := t.TempDir()
			data.Activations = test.activations
			parts := inShards(t, m, manifest, data, test.grid, "")
			for range 2 { // merged again it stays what it is
				merged, err := eval.MergeSweep(dir, parts, nil)
				if err != nil {
					t.Fatal(err)
				}
				if merged.Result != nil || merged.Shard != nil || merged.Groups != done.Groups-2 {
					t.Errorf("the merged grid has %d groups, a shard %v and a result %v", merged.Groups, merged.Shard, merged.Result)
				}
			}
			if test.rest == 0 {
				_, err = eval.Sweep(t.Context(), m, manifest, data, eval.SweepRun{Dir: dir, Resume: true})
			} else {
				rest := inShards(t, m, manifest, data, test.rest, dir)
				_, err = eval.MergeSweep(dir, rest, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			sameSweep(t, dir, whole)
			if work := readManifest(t, dir).Work; work == nil || work.Computed < done.Work.Computed/3 {
				t.Errorf("the work of the shards is %+v, of a single run %+v", work, done.Work)
			}
		})
	}
}

// The budgets' multipliers are found by every shard for itself, to the same bits.
func TestAMergedSweepAtEqualCostIsThatOfASingleRun(t *testing.T) {
	m := openDemo(t)
	manifest, data := moodManifest([]int{3}), moodData(4)
	manifest.Grid.Budgets, manifest.Grid.Multipliers, manifest.Plan.Random, manifest.Plan.TextTokens = []float64{-0.5, 1e6}, nil, 0, 100
	whole, dir := t.TempDir(), t.TempDir()
	if _, err := eval.Sweep(t.Context(), m, manifest, data, eval.SweepRun{Dir: whole}); err != nil {
		t.Fatal(err)
	}
	if notes := readManifest(t, whole).Notes; len(notes) != 1 || !strings.Contains(notes[0], "no point costs 1e+06") {
		t.Errorf("the notes are %q", notes)
	}
	if _, err := eval.MergeSweep(dir, inShards(t, m, manifest, data, 2, ""), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := eval.MergeSweep(dir, inShards(t, m, manifest, data, 2, dir), nil); err != nil {
		t.Fatal(err)
	}
	sameSweep(t, dir, whole)
}

// A shard that is stopped keeps the groups that it had reported.
func TestAShardOfASweepThatIsStoppedGoesOn(t *testing.T) {
	m := openDemo(t)
	manifest, data := shardedSweep()
	want := inShards(t, m, manifest, data, 2, "")[1]
	dir := t.TempDir()
	run := eval.SweepRun{Dir: dir, Shard: steer.Shard{Number: 2, Of: 2}, Resume: true}
	groups := []int{}
	for stop := 1; ; stop++ {
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		run.Progress = func(done, total int) {
			if told++; told > 2*stop {
				cancel()
			}
		}
		_, err := eval.Sweep(ctx, m, manifest, data, run)
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || stop > 50 {
			t.Fatal(err)
		}
		groups = append(groups, readManifest(t, dir).Groups)
		appendTo(t, filepath.Join(dir, "measured.jsonl"), `{"measured":{"poi`) // what a kill may leave
		if _, err := eval.MergeSweep(t.TempDir(), []string{dir, dir}, nil); err == nil || !strings.Contains(err.Error(), "shard 2 of 2 is not complete") {
			t.Errorf("merging a shard that was stopped: %v", err)
		}
	}
	if len(groups) < 2 || groups[0] == groups[len(groups)-1] {
		t.Errorf("the shard was stopped after %v groups", groups)
	}
	a, err := os.ReadFile(filepath.Join(dir, "measured.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(want, "measured.jsonl")); err != nil || string(a) != string(b) {
		t.Errorf("the shard that was stopped measured something else (%v)", err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestFoldersThatAreNotAllShardsOfOneSweepAreRefusedByName(t *testing.T) {
	m := openDemo(t)
	manifest, data := moodManifest([]int{3}, -0.5, 0.5), moodData(6)
	manifest.Plan.Random, manifest.Plan.Resamples, manifest.Plan.TextTokens = 0, 20, 60
	manifest.Model = eval.ModelInfo{WeightsHash: "sha256:a", DType: "bf16", Instructions: "avx2"}
	manifest.Pairs.Hash, manifest.Eval.Hash, manifest.Eval.Count = "sha256:pairs", "sha256:eval", 6
	parts := inShards(t, m, manifest, data, 3, "")
	grid := t.TempDir()
	if _, err := eval.MergeSweep(grid, parts, nil); err != nil {
		t.Fatal(err)
	}
	rest := inShards(t, m, manifest, data, 2, grid)
	twos := inShards(t, m, manifest, data, 2, "")
	changed := func(dir string, change func(*eval.Manifest)) string {
		out := filepath.Join(t.TempDir(), "changed")
		if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		m := readManifest(t, out)
		change(m)
		if err := m.Save(filepath.Join(out, "sweep.json")); err != nil {
			t.Fatal(err)
		}
		return out
	}
	other := changed(parts[1], func(*eval.Manifest) {})
	lines, err := os.ReadFile(filepath.Join(other, "measured.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "measured.jsonl"), []byte(strings.Replace(string(lines), `"aggregator":"mean"`, `"aggregator":"pca"`, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		parts []string
		want  string
	}{
		"missing":                   {[]string{parts[0], parts[2]}, "of 3 shards these are missing: 2"},
		"twice":                     {[]string{parts[0], parts[1], parts[0], parts[2]}, "shard 1 of 3 is there twice"},
		"another split":             {[]string{parts[0], twos[1]}, "shard 1 of 3 and shard 2 of 2 are of other splits"},
		"no shard":                  {[]string{parts[0], grid}, "is not the folder of a shard"},
		"the rest among the grid":   {[]string{twos[0], rest[1]}, "it is of the grid, and others of what comes after it"},
		"the rest without the grid": {rest, "has 0 groups of points, and these shards are of the groups"},
		"other weights":             {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Model.WeightsHash = "sha256:b" })}, "the weights differs"},
		"another number format":     {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Model.DType = "f32" })}, "the number format differs"},
		"another instruction set":   {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Model.Instructions = "neon" })}, "the instruction set differs"},
		"other pairs":               {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Pairs.Hash = "sha256:b" })}, "the training data differs"},
		"other items":               {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Eval.Hash = "sha256:b" })}, "the evaluation data differs"},
		"another text":              {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Text.Hash = "sha256:b" })}, "the neutral text differs"},
		"another grid":              {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Grid.Scopes = []string{"response"} })}, "the grid differs"},
		"other options":             {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Plan.Seed = 9 })}, "the plan differs"},
		"another version":           {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Version = "v9" })}, "the version of steer differs"},
		"other vectors":             {[]string{parts[0], changed(parts[1], func(m *eval.Manifest) { m.Vectors = map[string]string{"mean": "sha256:b"} })}, "its vectors differ"},
		"other cosines":             {[]string{parts[0], other, parts[2]}, "what all shards compute alike differs"},
		"a shard that is none":      {[]string{changed(parts[0], func(m *eval.Manifest) { m.Shard.Number = 7 })}, "are none"},
		"groups that are none": {[]string{changed(parts[0], func(m *eval.Manifest) {
			m.Shard.Shard = steer.Shard{Number: 1, Of: 1}
			m.Shard.To = m.Groups - 1
			m.Groups--
		})}, "which is no part of a sweep"},
		"fewer lines": {[]string{changed(parts[0], func(m *eval.Manifest) { m.Groups-- })}, "is not complete"},
	} {
		_, err := eval.MergeSweep(filepath.Join(t.TempDir(), "out"), test.parts, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
	if _, err := eval.MergeSweep(grid, twos, nil); err != nil {
		t.Errorf("the same grid from other shards: %v", err)
	}
	if _, err := eval.MergeSweep(grid, rest, nil); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		run  eval.SweepRun
		want string
	}{
		"after the end":   {eval.SweepRun{Dir: t.TempDir(), Shard: steer.Shard{Number: 1, Of: 2}, After: grid}, "groups of points"},
		"after a shard":   {eval.SweepRun{Dir: t.TempDir(), Shard: steer.Shard{Number: 1, Of: 2}, After: parts[0]}, "the shard differs"},
		"after, no shard": {eval.SweepRun{Dir: t.TempDir(), After: grid}, "only a shard"},
	} {
		if _, err := eval.Sweep(t.Context(), m, manifest, data, test.run); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}
