package modelspage

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/arch"
)

//go:generate go test -update .

var update = flag.Bool("update", false, "write what is generated: docs/models.md")

const pageFile = "../../docs/models.md"

// readGoldens returns what the page needs of the committed goldens, by name.
func readGoldens(t *testing.T) map[string]Golden {
	t.Helper()
	matches, err := filepath.Glob("../../testdata/goldens/*/golden.json")
	if err != nil || len(matches) == 0 {
		t.Fatalf("no goldens are there: testdata/goldens is missing (%v)", err)
	}
	found := map[string]Golden{}
	for _, match := range matches {
		dir := filepath.Dir(match)
		config, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(match)
		if err != nil {
			t.Fatal(err)
		}
		var golden struct {
			Modules map[arch.Site]struct{ Guess string }
		}
		if err := json.Unmarshal(data, &golden); err != nil {
			t.Fatalf("%s: %v", match, err)
		}
		g := Golden{config, map[arch.Site]string{}}
		for site, module := range golden.Modules {
			g.Guess[site] = module.Guess
		}
		found[filepath.Base(dir)] = g
	}
	return found
}

// A model type that no golden proves is not supported.
func TestEveryModelTypeHasAGolden(t *testing.T) {
	proven := map[string]bool{}
	for name, g := range readGoldens(t) {
		d, err := arch.Parse(g.Config)
		if err != nil {
			t.Errorf("golden %s: %v", name, err)
			continue
		}
		proven[d.Family] = true
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if claim := fmt.Sprintf("on %d small checkpoints of %d model types", len(readGoldens(t)), len(proven)); !strings.Contains(string(readme), claim) {
		t.Errorf("README.md does not say %q", claim)
	}
	for family := range knownCheckpoints {
		if !proven[family] {
			t.Errorf("checkpoints of %s are named, which is no model type that a golden proves", family)
		}
	}
	for _, family := range arch.Families() {
		if !strings.Contains(string(readme), family) {
			t.Errorf("README.md does not name %s", family)
		}
		if !proven[family] {
			t.Errorf("model type %s is registered, and no golden proves it", family)
		}
	}
}

// docs/models.md is what the code says today.
func TestModelsPage(t *testing.T) {
	text, err := Page(readGoldens(t))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(pageFile, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != text {
		t.Errorf("%s is out of date: run go generate ./internal/modelspage", pageFile)
	}
}
