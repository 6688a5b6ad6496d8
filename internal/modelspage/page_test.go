package modelspage

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/steervec/steer/lm/arch"
)

//go:generate go test -update .

var update = flag.Bool("update", false, "write what is generated: docs/models.md, testdata/models.json")

const (
	pageFile  = "../../docs/models.md"
	tableFile = "testdata/models.json" // what the page needs of all goldens, so that it is the same where they are not
)

// goldenFolders returns the committed goldens and, where they are beside the
// project, all others, by name.
func goldenFolders(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, root := range []string{"../../testdata/goldens", "../../../shared/goldens"} {
		matches, err := filepath.Glob(filepath.Join(root, "*", "golden.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range matches {
			found[filepath.Base(filepath.Dir(m))] = filepath.Dir(m)
		}
	}
	if len(found) == 0 {
		t.Fatal("no goldens are there: testdata/goldens is missing")
	}
	return found
}

func readTable(t *testing.T) map[string]Golden {
	t.Helper()
	table := map[string]Golden{}
	data, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	return table
}

// The table says what the goldens' own files say. It is written from them with
// -update where all goldens are there.
func TestModelsTableIsThatOfTheGoldens(t *testing.T) {
	found := map[string]Golden{}
	for _, dir := range goldenFolders(t) {
		config, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "golden.json"))
		if err != nil {
			t.Fatal(err)
		}
		var g struct {
			Guess map[arch.Site]string `json:"layer_config"`
		}
		if err := json.Unmarshal(data, &g); err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, config); err != nil {
			t.Fatal(err)
		}
		found[filepath.Base(dir)] = Golden{compact.Bytes(), g.Guess}
	}
	table := map[string]Golden{}
	if _, err := os.Stat(tableFile); !errors.Is(err, fs.ErrNotExist) {
		table = readTable(t)
	}
	if *update && len(found) >= len(table) {
		var out bytes.Buffer
		out.WriteString("{\n")
		for i, name := range slices.Sorted(maps.Keys(found)) {
			line, err := json.Marshal(found[name])
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				out.WriteString(",\n")
			}
			fmt.Fprintf(&out, "%q: %s", name, line)
		}
		out.WriteString("\n}\n")
		if err := os.WriteFile(tableFile, out.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	for name, g := range found {
		var a, b bytes.Buffer
		if json.Compact(&a, table[name].Config) != nil || json.Compact(&b, g.Config) != nil || a.String() != b.String() || !maps.Equal(table[name].Guess, g.Guess) {
			t.Errorf("%s is out of date for %s: run go generate ./internal/modelspage", tableFile, name)
		}
	}
}

// A model type that no golden proves is not supported.
func TestEveryModelTypeHasAGolden(t *testing.T) {
	proven := map[string]bool{}
	for name, g := range readTable(t) {
		d, err := arch.Parse(g.Config)
		if err != nil {
			t.Errorf("golden %s: %v", name, err)
			continue
		}
		proven[d.Family] = true
	}
	for _, family := range arch.Families() {
		if !proven[family] {
			t.Errorf("model type %s is registered, and no golden proves it", family)
		}
	}
}

// docs/models.md is what the code says today.
func TestModelsPage(t *testing.T) {
	text, err := Page(readTable(t))
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
