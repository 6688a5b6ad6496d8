// Package report shows what a sweep found: as one HTML page that needs nothing
// else, on a terminal, and as figures for papers. It draws from plain rows
// ([eval.Row]) and the manifest alone, and computes no model.
package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/pairs"
)

// Data is what a report is drawn from.
type Data struct {
	Manifest eval.Manifest
	Rows     []eval.Row
	Items    []pairs.Item // for the texts of examples; may be missing
}

// Read reads the folder of a sweep, which may still run: a last line that is not
// complete is left out then. Errors name the file and the line.
func Read(dir string) (*Data, error) {
	manifest, err := eval.ReadManifest(filepath.Join(dir, eval.ManifestFile))
	if err != nil {
		return nil, err
	}
	if s := manifest.Shard; s != nil {
		return nil, fmt.Errorf("%s is shard %s of a sweep: there is a report when all shards are merged", dir, s)
	}
	d := &Data{Manifest: *manifest}
	ended := d.Manifest.Result != nil
	if err := readLines(filepath.Join(dir, eval.RowsFile), ended, func(row eval.Row) { d.Rows = append(d.Rows, row) }); err != nil {
		return nil, err
	}
	err = readLines(filepath.Join(dir, eval.ItemsFile), ended, func(item pairs.Item) { d.Items = append(d.Items, item) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return d, d.check()
}

// readLines reads a file of JSON Lines. Of a sweep that has not ended, the last
// line may be cut.
func readLines[T any](path string, ended bool, visit func(T)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewReader(file)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("read %s: %w", path, err)
		}
		complete := err == nil
		if len(bytes.TrimSpace(line)) > 0 {
			var value T
			if err := json.Unmarshal(line, &value); err == nil {
				visit(value)
			} else if ended || complete {
				return fmt.Errorf("read %s: line %d: %w", path, number, err)
			}
		}
		if !complete {
			return nil
		}
	}
}

// check refuses rows that could not be drawn. JSON has no numbers that are not
// finite.
func (d *Data) check() error {
	for i, row := range d.Rows {
		if c := row.Cosines; c != nil {
			if len(c.Values) != len(c.Names) || slices.ContainsFunc(c.Values, func(v []float64) bool { return len(v) != len(c.Names) }) {
				return fmt.Errorf("row %d has cosines of %d names that are no square", i+1, len(c.Names))
			}
		}
	}
	return nil
}
