package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestMergedShardsAreTheFileOfASingleRun(t *testing.T) {
	pairs, err := os.ReadFile("../../testdata/mood.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("pairs.jsonl", pairs, 0o644); err != nil {
		t.Fatal(err)
	}
	steer := func(line string) {
		t.Helper()
		if code, _, diagnostics := steerWith(t.Context(), "", strings.Fields(line)...); code != exitOK {
			t.Fatalf("%s: exit code %d: %s", line, code, diagnostics)
		}
	}
	same := func(a, b string) {
		t.Helper()
		x, err := os.ReadFile(a)
		if err != nil {
			t.Fatal(err)
		}
		if y, err := os.ReadFile(b); err != nil || !bytes.Equal(x, y) {
			t.Errorf("%s and %s differ, %v", a, b, err)
		}
	}
	steer("train --model demo --pairs pairs.jsonl --aggregator pca --out whole")
	steer("extract --model demo --pairs pairs.jsonl --layers 2 --out all")
	for _, shard := range []string{"1", "2", "3"} {
		steer("train --model demo --pairs pairs.jsonl --aggregator pca --shard " + shard + "/3 --statistics s" + shard)
		steer("extract --model demo --pairs pairs.jsonl --layers 2 --shard " + shard + "/3 --out a" + shard)
	}
	steer("merge s3 s1 s2 --out merged")
	same("whole", "merged")
	steer("merge a2 a3 a1 --out merged.activations")
	same("all", "merged.activations")

	for line, want := range map[string]string{
		"merge s1 s3 --out x": "of 3 shards these are missing: 2", "merge s1 s2 s1 s3 --out x": "s1: merge statistics: shard 1 of 3 is there twice",
		"merge a1 a2 --out x": "these are missing: 3", "merge s1 a2 --out x": "a2: it holds no statistics", "merge a1 s2 --out x": "s2",
		"merge pairs.jsonl --out x": "holds neither statistics nor activations", "merge --out x": "name the files", "merge s1 s2 s3 --out s1": "is what the command reads",
		"train --model demo --pairs pairs.jsonl --shard 1/3 --out x":                "give --statistics in place of --out",
		"train --model demo --pairs pairs.jsonl --shard 4/3 --statistics x":         "shard 4 of 3",
		"train --model demo --pairs pairs.jsonl --shard 1/3 --statistics x --out y": "give one of --out and --statistics",
	} {
		code, _, diagnostics := steerWith(t.Context(), "", strings.Fields(line)...)
		if code == exitOK || !strings.Contains(diagnostics, want) {
			t.Errorf("%s: exit code %d: %q, want %q", line, code, diagnostics, want)
		}
		if _, err := os.Stat("x"); err == nil {
			t.Errorf("%s writes a file", line)
		}
	}
}
