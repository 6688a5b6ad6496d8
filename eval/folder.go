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

	measuredFile = "measured.jsonl" // of a shard: a groupPart on each line
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

// folder is where a sweep is written: its lines as they come, rows or the parts of a
// shard, and after each group the manifest, which says how many of them count.
type folder[T Row | groupPart] struct {
	dir      string
	manifest *Manifest
	lines    []T // that were there
	file     *os.File
	claim    *output.File // keeps other sweeps out
}

// openFolder begins a folder, or goes on with it where that is asked for and there
// is something of the same manifest.
func openFolder[T Row | groupPart](dir string, manifest *Manifest, items []pairs.Item, resume bool) (_ *folder[T], err error) {
	if err := os.MkdirAll(filepath.Join(dir, "vectors"), 0o777); err != nil {
		return nil, err
	}
	f := &folder[T]{dir: dir, manifest: manifest}
	if f.claim, err = output.Create(f.path(ManifestFile) + ".run"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	manifest.Format, manifest.Groups, manifest.Rows, manifest.Vectors, manifest.Notes, manifest.Work, manifest.Result = ManifestFormat, 0, 0, nil, nil, nil, nil
	if manifest.Shard != nil {
		manifest.Groups = manifest.Shard.From
	}
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
	if f.file, err = os.OpenFile(f.path(f.name()), os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, err
	}
	if err := f.readLines(); err != nil {
		return nil, err
	}
	if err := writeLines(f.path(ItemsFile), items); err != nil {
		return nil, err
	}
	return f, f.save()
}

func (f *folder[T]) path(name string) string { return filepath.Join(f.dir, name) }

// name is that of the file of lines.
func (f *folder[T]) name() string {
	if f.manifest.Shard != nil {
		return measuredFile
	}
	return RowsFile
}

// readLines reads the lines that count and cuts off what was written after them.
func (f *folder[T]) readLines() error {
	size := int64(0)
	lines := newLines[T](f.path(f.name()), f.file)
	for len(f.lines) < f.manifest.Rows {
		value, length, err := lines.next()
		if err != nil {
			return err
		}
		f.lines = append(f.lines, value)
		size += int64(length)
	}
	if err := f.file.Truncate(size); err != nil {
		return err
	}
	_, err := f.file.Seek(size, io.SeekStart)
	return err
}

// lines are the lines of a file, of which there are as many as its manifest says.
type lines[T any] struct {
	path   string
	reader *bufio.Reader
	number int
}

func newLines[T any](path string, r io.Reader) *lines[T] {
	return &lines[T]{path: path, reader: bufio.NewReader(r)}
}

// next returns the next line's value and the line's length.
func (l *lines[T]) next() (value T, length int, err error) {
	line, err := l.reader.ReadBytes('\n')
	if err == io.EOF {
		return value, 0, fmt.Errorf("%s has %d lines, and %s says that there are more", l.path, l.number, ManifestFile)
	}
	if err != nil {
		return value, 0, err
	}
	l.number++
	if err := json.Unmarshal(line, &value); err != nil {
		return value, 0, fmt.Errorf("read %s: line %d: %w", l.path, l.number, err)
	}
	return value, len(line), nil
}

// readSome reads the first lines of a file.
func readSome[T any](path string, count int) (all []T, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := newLines[T](path, file)
	for len(all) < count {
		value, _, err := lines.next()
		if err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, nil
}

// hashFile returns the digest of a file's bytes.
func hashFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return HashText(string(data)), nil
}

// add writes the lines of a group, then the manifest.
func (f *folder[T]) add(lines ...T) error {
	var text bytes.Buffer
	if err := encodeLines(&text, lines); err != nil {
		return err
	}
	if _, err := f.file.Write(text.Bytes()); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.manifest.Groups++
	f.manifest.Rows += len(lines)
	return f.save()
}

func (f *folder[T]) save() error { return f.manifest.Save(f.path(ManifestFile)) }

func (f *folder[T]) close() {
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
	model := func(i ModelInfo) ModelInfo { i.Ref, i.WeightsHash, i.DType, i.Instructions = "", "", "", ""; return i }
	return firstDifference([]difference{
		{"weights", m.Model.WeightsHash, other.Model.WeightsHash}, {"number format", m.Model.DType, other.Model.DType},
		{"instruction set", m.Model.Instructions, other.Model.Instructions}, {"model", model(m.Model), model(other.Model)},
		{"training data", m.Pairs.Hash, other.Pairs.Hash}, {"evaluation data", m.Eval.Hash, other.Eval.Hash},
		{"neutral text", m.Text.Hash, other.Text.Hash}, {"grid", m.Grid, other.Grid}, {"plan", m.Plan, other.Plan}, {"shard", m.Shard, other.Shard},
	})
}

// difference is something that two evaluations should agree in.
type difference struct {
	name string
	a, b any
}

func firstDifference(all []difference) error {
	for _, d := range all {
		if !reflect.DeepEqual(d.a, d.b) {
			return fmt.Errorf("the %s differs", d.name)
		}
	}
	return nil
}
