package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestTheCommittedAssemblyIsWhatIsGenerated(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", "..", "lm", "cpu", "kernel", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs: run go generate ./lm/cpu/kernel", name)
		}
	}
}

// Who uses the library needs neither the generator's packages nor the linter's.
func TestTheToolsAreInNoUsersSums(t *testing.T) {
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, module := range []string{"github.com/mmcloughlin/avo", "honnef.co/go/tools"} {
			for line := range bytes.Lines(data) {
				// that of a go.mod alone means that some module's graph names it, which fetches nothing
				if bytes.Contains(line, []byte(module)) && !bytes.Contains(line, []byte("/go.mod h1:")) {
					t.Errorf("%s names %s, which belongs into tools/%s", name, module, name)
				}
			}
		}
	}
}
