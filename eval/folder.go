package eval

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
	"reflect"
	"strings"

	"github.com/steervec/steer/internal/output"
	"github.com/steervec/steer/pairs"
)

// The files of a sweep's folder.
const (
	ManifestFile = "sweep.json"
	RowsFile     = "rows.jsonl"  // a Row on each line
	ItemsFile    = "items.jsonl" // a pairs.Item on each line
)

// vectorFile is where a sweep keeps the vector of an aggregator.
func vectorFile(dir, aggregator string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, aggregator)
	return filepath.Join(dir, "vectors", strings.Trim(name, "-.")+".safetensors")
}

// folder is where a sweep is written: the rows as they come, and after each group
// the manifest, which says how many of them count.
type folder struct {
	dir      string
	manifest *Manifest
	rows     []Row // that were there
	file     *os.File
	claim    *output.File // keeps other sweeps out
}

// openFolder begins a folder, or goes on with it where that is asked for and there
// is something of the same manifest.
func openFolder(dir string, manifest *Manifest, items []pairs.Item, resume bool) (_ *folder, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "vectors"), 0o777); err != nil {
		return nil, err
	}
	f := &folder{dir: dir, manifest: manifest}
	if f.claim, err = output.Create(f.path(ManifestFile) + ".run"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	manifest.Format, manifest.Groups, manifest.Rows, manifest.Notes, manifest.Work, manifest.Result = ManifestFormat, 0, 0, nil, nil, nil
	if resume {
		before, err := ReadManifest(f.path(ManifestFile))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		default:
			if err := manifest.Differs(before); err != nil {
				return nil, fmt.Errorf("%s is of another sweep: %w; remove it to begin anew", f.path(ManifestFile), err)
			}
			before.Command, before.Version = manifest.Command, manifest.Version
			*manifest = *before
		}
	}
	if f.file, err = os.OpenFile(f.path(RowsFile), os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, err
	}
	if err := f.readRows(); err != nil {
		return nil, err
	}
	if err := writeLines(f.path(ItemsFile), items); err != nil {
		return nil, err
	}
	return f, f.save()
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// readRows reads the rows that count and cuts off what was written after them.
func (f *folder) readRows() error {
	size := int64(0)
	lines := bufio.NewReader(f.file)
	for len(f.rows) < f.manifest.Rows {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return fmt.Errorf("%s has %d rows, and %s says %d", f.path(RowsFile), len(f.rows), ManifestFile, f.manifest.Rows)
		}
		if err != nil {
			return err
		}
		var row Row
		if err := json.Unmarshal(line, &row); err != nil {
			return fmt.Errorf("read %s: line %d: %w", f.path(RowsFile), len(f.rows)+1, err)
		}
		f.rows = append(f.rows, row)
		size += int64(len(line))
	}
	if err := f.file.Truncate(size); err != nil {
		return err
	}
	_, err := f.file.Seek(size, io.SeekStart)
	return err
}

// add writes the rows of a group, then the manifest.
func (f *folder) add(rows []Row) error {
	var lines bytes.Buffer
	if err := encodeLines(&lines, rows); err != nil {
		return err
	}
	if _, err := f.file.Write(lines.Bytes()); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.manifest.Groups++
	f.manifest.Rows += len(rows)
	return f.save()
}

func (f *folder) save() error { return f.manifest.Save(f.path(ManifestFile)) }

func (f *folder) close() {
	if f.file != nil {
		f.file.Close() // what counts was synced
	}
	_ = f.claim.Abort()
}

// EncodeRows writes rows as the lines of rows.jsonl.
func EncodeRows(w io.Writer, rows []Row) error { return encodeLines(w, rows) }

func encodeLines[T any](w io.Writer, values []T) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, v := range values {
		if err := encoder.Encode(v); err != nil {
			return err
		}
	}
	return nil
}

func writeLines[T any](path string, values []T) error {
	file, err := output.Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	w := bufio.NewWriter(file)
	if err := encodeLines(w, values); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Commit()
}

// ReadManifest reads a manifest. It is an error where its format is another.
func ReadManifest(path string) (*Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if m.Format != ManifestFormat {
		return nil, fmt.Errorf("read %s: its format is %.40q, not %q", path, m.Format, ManifestFormat)
	}
	return &m, nil
}

// Save writes the manifest, beside path and renamed.
func (m *Manifest) Save(path string) error {
	file, err := output.Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	encoder := json.NewEncoder(file)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(m); err != nil {
		return err
	}
	return file.Commit()
}

// Differs names what two manifests do not agree in that decides about figures, or
// returns nil. Where the data lie does not matter.
func (m *Manifest) Differs(other *Manifest) error {
	model := func(i ModelInfo) ModelInfo { i.Ref = ""; return i }
	for _, part := range []struct {
		name string
		a, b any
	}{
		{"model", model(m.Model), model(other.Model)}, {"training data", m.Pairs.Hash, other.Pairs.Hash}, {"evaluation data", m.Eval.Hash, other.Eval.Hash},
		{"neutral text", m.Text.Hash, other.Text.Hash}, {"grid", m.Grid, other.Grid}, {"plan", m.Plan, other.Plan},
	} {
		if !reflect.DeepEqual(part.a, part.b) {
			return fmt.Errorf("the %s differs", part.name)
		}
	}
	return nil
}
