package checkpoint

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/checkpoint/translate"
)

func isGGUF(name string) bool { return strings.EqualFold(path.Ext(name), ".gguf") }

// validGGUFName reports whether name is that of a GGUF file in a repository's
// first folder.
func validGGUFName(name string) bool {
	return isGGUF(name) && validID(name) && !strings.Contains(name, "/")
}

// onlyGGUF returns the name of the folder's only GGUF file, "" where it has none.
func onlyGGUF(fsys fs.FS) (string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if isGGUF(e.Name()) && !e.IsDir() {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("the folder holds several GGUF files: %s; name one", strings.Join(found, ", "))
}

// openGGUF opens a file in place of a folder.
func (c *Checkpoint) openGGUF(name string, opts Options) error {
	file, err := gguf.OpenFS(c.fsys, name)
	if err != nil {
		return err
	}
	translated, err := translate.New(file, cmp.Or(opts.Expand, safetensors.BF16))
	if err != nil && opts.Outline {
		translated, err = translate.Outline(file)
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("%s: %w", name, err)
	}
	files := memory(translated.Files())
	c.use(ggufStore{translated, file})
	c.file = name
	err = c.list(c.fsys, []string{name})
	c.config, c.fsys = files[configFile], files
	return err
}

// ggufStore holds the tensors of a GGUF file.
type ggufStore struct {
	*translate.Checkpoint
	file *gguf.File
}

func (s ggufStore) Metadata() map[string]string {
	out := map[string]string{}
	for _, key := range s.file.Keys() {
		if text, ok := s.file.Value(key).(string); ok && strings.HasPrefix(key, "general.") {
			out[key] = text
		}
	}
	return out
}

func (s ggufStore) infos() []TensorInfo {
	var out []TensorInfo
	for _, name := range s.Names() {
		t, shape := s.StoredAs(name)
		info := TensorInfo{Name: name, Type: t.String(), Shape: shape}
		elements, bytes := t.Block()
		info.Bytes = int64(info.Len()) / int64(elements) * int64(bytes)
		out = append(out, info)
	}
	return out
}

// Blocks returns a matrix as it is stored, where that is in blocks of few bits: in
// a GGUF file.
func (c *Checkpoint) Blocks(name string) (gguf.Rows, bool) {
	if s, ok := c.store.(ggufStore); ok {
		return s.Blocks(name)
	}
	return gguf.Rows{}, false
}

func (s ggufStore) Close() error { return s.file.Close() }

// memory is a folder of files that are in memory.
type memory map[string][]byte

func (m memory) Open(name string) (fs.File, error) {
	data, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memoryFile{*bytes.NewReader(data), name}, nil
}

type memoryFile struct {
	bytes.Reader
	name string
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return memoryInfo{f}, nil }
func (f *memoryFile) Close() error               { return nil }

type memoryInfo struct{ file *memoryFile }

func (i memoryInfo) Name() string       { return i.file.name }
func (i memoryInfo) Size() int64        { return i.file.Reader.Size() }
func (i memoryInfo) Mode() fs.FileMode  { return 0o444 }
func (i memoryInfo) ModTime() time.Time { return time.Time{} }
func (i memoryInfo) IsDir() bool        { return false }
func (i memoryInfo) Sys() any           { return nil }
