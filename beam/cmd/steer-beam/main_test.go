package main_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The documentation's commands run as they stand there, each in a shell, and give the
// same files in whatever way they are run.
func TestTheCommandsOfTheDocumentationRun(t *testing.T) {
	page, err := os.ReadFile("../../../docs/many-machines.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "./steer-beam ") {
			commands = append(commands, strings.TrimSpace(line))
		}
	}
	if len(commands) < 4 {
		t.Fatalf("the page has only %d commands", len(commands))
	}
	folder := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(folder, "steer-beam"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for from, to := range map[string]string{"mood.jsonl": "pairs-1.jsonl", "held-out.jsonl": "held-out-1.jsonl"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", from))
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(data, []byte("\n"))
		if err := os.WriteFile(filepath.Join(folder, to), bytes.Join(lines[:min(4, len(lines))], nil), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	written := map[string][]byte{} // vectors and rows, by name
	for _, command := range commands {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		shell := exec.CommandContext(ctx, "sh", "-c", command)
		shell.Dir, shell.WaitDelay = folder, time.Second
		out, err := shell.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		for _, name := range []string{"happy.safetensors", "rows.jsonl"} {
			path := filepath.Join(folder, name)
			data, err := os.ReadFile(path)
			if err != nil {
				continue // not of this command
			}
			if before := written[name]; before != nil && !bytes.Equal(before, data) {
				t.Errorf("%s: %s is another than before", command, name)
			}
			written[name] = data
		}
	}
	if len(written) != 2 {
		t.Errorf("%d files were written", len(written))
	}
}
