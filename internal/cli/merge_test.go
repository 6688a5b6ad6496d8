package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
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
		"merge pairs.jsonl --out x": "holds neither statistics, activations or measurements", "merge --out x": "name the files", "merge s1 s2 s3 --out s1": "is what the command reads",
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

// workingFiles goes to a folder of its own, with pairs, questions and a neutral text.
func workingFiles(t *testing.T) {
	t.Helper()
	files := map[string][]byte{}
	for name, path := range map[string]string{"pairs.jsonl": "../../testdata/mood.jsonl", "held-out.jsonl": "../../testdata/held-out.jsonl", "neutral.txt": "../../testdata/neutral.txt"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	files["other.jsonl"] = bytes.Join(bytes.SplitAfter(files["pairs.jsonl"], []byte("\n"))[:3], nil)
	t.Chdir(t.TempDir())
	for name, data := range files {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func line(t *testing.T, command string) { t.Helper(); must(t, strings.Fields(command)...) }

func refused(t *testing.T, lines map[string]string) {
	t.Helper()
	for line, want := range lines {
		code, _, diagnostics := steerWith(t.Context(), "", strings.Fields(line)...)
		if code == exitOK || !strings.Contains(diagnostics, want) {
			t.Errorf("%s: exit code %d: %q, want %q", line, code, diagnostics, want)
		}
		if _, err := os.Stat("x"); err == nil {
			t.Errorf("%s writes a file", line)
		}
	}
}

func TestAMergedEvaluationIsThatOfASingleRun(t *testing.T) {
	workingFiles(t)
	line(t, "train --model demo --pairs pairs.jsonl --layers 3 --out v")
	const asked = "eval --model demo --data held-out.jsonl --vector v --text neutral.txt --text-tokens 300 --multipliers -0.6,0,0.6 --random 1 --resamples 100 --generate 3 --max-tokens 8 --words happy"
	whole := answer[evaluation](t, append(strings.Fields(asked), "--positive-system", "Anna was happy.", "--negative-system", "Anna was sad.", "--seed", "4")...)
	for _, of := range []int{1, 3, 30} {
		merge := []string{"merge", "--out", "merged.json"}
		for number := 1; number <= of; number++ {
			part := fmt.Sprintf("m%d-%d", number, of)
			must(t, append(strings.Fields(asked), "--positive-system", "Anna was happy.", "--negative-system", "Anna was sad.", "--seed", "4",
				"--shard", fmt.Sprintf("%d/%d", number, of), "--measured", part)...)
			merge = append(merge, part)
		}
		got := answer[evaluation](t, merge...)
		if got.Work.Given < whole.Work.Given {
			t.Errorf("%d shards were given %+v, a single run %+v", of, got.Work, whole.Work)
		}
		got.Work = whole.Work
		if !reflect.DeepEqual(got, whole) {
			t.Errorf("the merged evaluation of %d shards differs from a single run", of)
		}
	}
	line(t, asked+" --shard 1/2 --measured other-options")
	line(t, "train --model demo --pairs other.jsonl --layers 3 --out other")
	line(t, strings.Replace(asked, "--vector v", "--vector other", 1)+" --seed 4 --shard 2/3 --measured other-vector")
	line(t, strings.Replace(asked, "--text neutral.txt", "", 1)+" --seed 4 --shard 2/3 --measured other-text")
	line(t, strings.Replace(asked, "held-out", "pairs", 1)+" --seed 4 --shard 2/3 --measured other-data")
	refused(t, map[string]string{
		"merge m1-3 m3-3 --out x":           "of 3 shards these are missing: 2",
		"merge m1-3 m2-3 m1-3 m3-3 --out x": "m1-3 and m1-3: shard 1 of 3 is there twice",
		"merge m1-3 other-options --out x":  "m1-3 and other-options: the seed differs",
		"merge m1-3 other-vector --out x":   "other points",
		"merge m1-3 other-text --out x":     "the neutral text differs",
		"merge m1-3 other-data --out x":     "the evaluation data differs",
		"merge m1-3 pairs.jsonl --out x":    "read pairs.jsonl",
		"merge m1-3 m2-3 m3-3 --out m1-3":   "is what the command reads",
		asked + " --shard 1/3":              "give --measured",
		asked + " --shard 4/3 --measured x": "shard 4 of 3",
	})
}

func TestAMergedSweepIsTheFolderOfASingleRun(t *testing.T) {
	workingFiles(t)
	const sweep = "sweep --model demo --pairs pairs.jsonl --eval held-out.jsonl --text neutral.txt --text-tokens 100 --layers 2,3 --multipliers -0.5,0.5 --random 1 --resamples 50 --generate 3 --max-tokens 6 --words happy,smiled"
	line(t, sweep+" --out whole")
	for _, k := range []string{"1", "2"} {
		line(t, "extract --model demo --pairs pairs.jsonl --shard "+k+"/2 --out a"+k)
		line(t, "extract --model demo --pairs other.jsonl --shard "+k+"/2 --out b"+k)
	}
	line(t, "merge a1 a2 --out activations")
	line(t, "merge b1 b2 --out other-activations")
	for _, k := range []string{"1", "2", "3"} {
		line(t, sweep+" --shard "+k+"/3 --activations activations --out grid"+k)
	}
	line(t, "merge grid1 grid2 grid3 --out merged")
	came := regexp.MustCompile(`[0-9]+ token-layers given[^<]*|steer (sweep|merge)[^<]*`)
	same := func(name string) {
		t.Helper()
		a, err := os.ReadFile(filepath.Join("merged", name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join("whole", name))
		if name == "report.html" { // which says how the sweep came about
			a, b = came.ReplaceAll(a, nil), came.ReplaceAll(b, nil)
		}
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s of the merged sweep is another, %v", name, err)
		}
	}
	if err := os.CopyFS("resumed", os.DirFS("merged")); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"1", "2"} {
		line(t, "sweep --after merged --shard "+k+"/2 --out rest"+k)
	}
	line(t, "merge rest2 rest1 --out merged")
	line(t, "sweep --manifest resumed/sweep.json --out resumed --resume")
	for _, folder := range []string{"merged", "resumed"} {
		if folder == "resumed" {
			if err := errors.Join(os.RemoveAll("merged"), os.Rename("resumed", "merged")); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"rows.jsonl", "items.jsonl", "report.html", "vectors/mean.safetensors"} {
			same(name)
		}
	}
	line(t, sweep+" --shard 3/3 --scopes response --out other-grid")
	refused(t, map[string]string{
		"merge grid1 grid3 --out x":                             "of 3 shards these are missing: 2",
		"merge grid1 grid2 grid3 grid2 --out x":                 "grid1 and grid2: shard 2 of 3 is there twice",
		"merge grid1 grid2 other-grid --out x":                  "grid1 and other-grid: the grid differs",
		"merge grid1 whole --out x":                             "whole is not the folder of a shard",
		"merge grid1 grid2 grid3 --out whole":                   "these shards are of the groups",
		"report grid1":                                          "grid1 is shard 1/3 of a sweep",
		"sweep --after merged --out x":                          "--after is for shards",
		"sweep --after merged --shard 1/1 --layers 2 --out x":   "beside --manifest",
		sweep + " --activations a1 --out y":                     "they are of shard 1 of 2",
		sweep + " --activations other-activations --out y":      "they have",
		sweep + " --activations whole/vectors/mean.safetensors": "--out is missing",
	})
}
