package manymachines

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tools is a folder that comes first in PATH, with the program steer in it.
var tools string

func TestMain(m *testing.M) {
	code := 1
	defer func() { os.Exit(code) }()
	var err error
	if tools, err = os.MkdirTemp("", "many-machines"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer os.RemoveAll(tools)
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(tools, "steer"), "../../cmd/steer").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build steer: %v\n%s", err, out)
		return
	}
	os.Setenv("PATH", tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	os.Setenv("MAKEFLAGS", "")
	code = m.Run()
}

// folder is a folder with the data of a study.
type folder struct {
	t    *testing.T
	path string
}

// study makes a folder; the programs that a script needs must be there.
func study(t *testing.T, programs ...string) folder {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s", program)
		}
	}
	f := folder{t, t.TempDir()}
	for name, path := range map[string]string{"pairs.jsonl": "mood.jsonl", "held-out.jsonl": "held-out.jsonl"} {
		data, err := os.ReadFile(filepath.Join("../../testdata", path))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(f.path, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// run runs a command in the folder, with more in its environment.
func (f folder) run(more []string, name string, args ...string) {
	f.t.Helper()
	c := exec.CommandContext(f.t.Context(), name, args...)
	c.Dir, c.Env = f.path, append(os.Environ(), more...)
	if out, err := c.CombinedOutput(); err != nil {
		f.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (f folder) steer(line string) { f.t.Helper(); f.run(nil, "steer", strings.Fields(line)...) }

func (f folder) same(a, b string) {
	f.t.Helper()
	x, err := os.ReadFile(filepath.Join(f.path, a))
	if err != nil {
		f.t.Fatal(err)
	}
	if y, err := os.ReadFile(filepath.Join(f.path, b)); err != nil || !bytes.Equal(x, y) {
		f.t.Errorf("%s and %s differ (%v)", a, b, err)
	}
}

// script returns the path of an example.
func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

const grid = "--layers 2,3 --multipliers -0.5,0.5 --random 1 --resamples 50"

func TestMakeGivesTheVectorAndTheSweepOfASingleRun(t *testing.T) {
	f := study(t, "make", "cksum", "seq")
	f.steer("train --model demo --pairs pairs.jsonl --layers 3 --out whole")
	f.steer("sweep --model demo --pairs pairs.jsonl --eval held-out.jsonl " + grid + " --out whole-sweep")
	makefile := script(t, "Makefile")
	f.run(nil, "make", "-j", "2", "-f", makefile, "vector.safetensors", "TRAIN=--layers 3", "SHARDS=3")
	f.same("whole", "vector.safetensors")
	f.run(nil, "make", "-j", "2", "-f", makefile, "sweep", "SWEEP="+grid, "SHARDS=3")
	f.same("whole-sweep/rows.jsonl", "sweep/rows.jsonl")
	f.run(nil, "make", "-f", makefile, "sweep", "SWEEP="+grid, "SHARDS=3") // again, with nothing to do but to merge
	f.same("whole-sweep/rows.jsonl", "sweep/rows.jsonl")
}

func TestParallelGivesTheVectorOfASingleRun(t *testing.T) {
	f := study(t, "parallel", "cksum", "seq")
	f.steer("train --model demo --pairs pairs.jsonl --layers 3 --out whole")
	for _, out := range []string{"vector.safetensors", "again.safetensors"} {
		f.run([]string{"PAIRS=pairs.jsonl", "SHARDS=4"}, script(t, "parallel.sh"), out, "--layers", "3")
		f.same("whole", out)
	}
}

// What the pods would run, one after the other; there is no cluster here.
func TestThePodsGiveTheVectorOfASingleRun(t *testing.T) {
	f := study(t, "sh")
	f.steer("train --model demo --pairs pairs.jsonl --out whole")
	data, err := os.ReadFile("kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, command, ok := strings.Cut(string(data), "args:\n            - |\n")
	command, _, there := strings.Cut(command, "          resources:")
	if !ok || !there || !strings.Contains(string(data), "completions: 8\n") {
		t.Fatal("kubernetes.yaml does not have its command where this test looks for it")
	}
	for range 2 { // a pod that runs again finds its part
		for index := range 4 {
			f.run([]string{fmt.Sprint("JOB_COMPLETION_INDEX=", index), "SHARDS=4", "MODEL=demo", "RUN=first"}, "sh", "-c", command)
		}
	}
	f.run(nil, "sh", "-c", "steer merge first/* --out vector.safetensors")
	f.same("whole", "vector.safetensors")
}

// sbatch stands for Slurm's: it runs a job at once, an array's tasks one after the other.
const sbatch = `#!/bin/bash
set -eu
for word; do case $word in --array=1-*) last=${word#--array=1-};; esac; done
job=$(cat)
for task in $(seq "${last:-1}"); do SLURM_ARRAY_TASK_ID=$task SLURM_CPUS_PER_TASK=1 sh -c "$job" >&2; done
echo 7
`

func TestTheJobsOfSlurmGiveTheSweepOfASingleRun(t *testing.T) {
	f := study(t, "bash", "seq")
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "sbatch"), []byte(sbatch), 0o755); err != nil {
		t.Fatal(err)
	}
	f.steer("sweep --model demo --pairs pairs.jsonl --eval held-out.jsonl " + grid + " --out whole-sweep")
	f.run([]string{"SHARDS=3", "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}, script(t, "slurm-sweep.sh"), append([]string{"a sweep"}, strings.Fields(grid)...)...)
	f.same("whole-sweep/rows.jsonl", "a sweep/rows.jsonl")
}
