// Package gguf reads the GGUF format of llama.cpp: metadata of typed keys, and
// tensors of plain numbers or of blocks of few bits that share a scale.
//
// A file is mapped, not read: a tensor's bytes come from disk when they are
// looked at. Files are untrusted until their header has been checked; every
// number in it is held against the file's size before it is used.
package gguf

import (
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/steervec/steer/lm/checkpoint/internal/mapped"
)

// File is an open GGUF file. Any number of goroutines may read it; Close must
// come after them.
type File struct {
	header                []byte
	tensorsAt, fileTypeAt int      // where in it what is said of tensors begins, and the number of the file's type (0: none)
	keys                  []string // in the order of the file
	metadata              map[string]any
	names                 []string // in the order of the file
	tensors               map[string]Tensor
	bytes                 mapped.Bytes
}

// Open maps the file at path into memory and checks its header. Where the
// system has no mapping the file is read.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return open(path, file)
}

// OpenFS opens the named file of a file system. A file on disk, as of
// [os.DirFS], is mapped; any other, such as an embedded one, is read into memory.
func OpenFS(fsys fs.FS, name string) (*File, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	return open(name, file)
}

func open(name string, file fs.File) (*File, error) {
	f, bytes, err := mapped.Parsed(file, parse)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	f.bytes = bytes
	return f, nil
}

// Parse reads a file that is in memory, without copying its tensors. The name
// stands in errors, which also name the key or the tensor that is wrong.
func Parse(name string, data []byte) (*File, error) {
	f, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return f, nil
}

// Keys returns the keys of the metadata in the order of the file.
func (f *File) Keys() []string { return slices.Clone(f.keys) }

// Value returns the value of a key of the metadata, nil where there is none.
// It is a uint64, int64, float64, bool or string, or a []uint64, []int64,
// []float64, []bool or []string, which must not be changed: numbers of all
// widths come as the widest of their kind.
func (f *File) Value(key string) any { return f.metadata[key] }

// Names returns the tensors' names in the order of the file.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Tensor returns the tensor of a name, and whether the file has it.
func (f *File) Tensor(name string) (Tensor, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Header returns the bytes before the tensors' data: metadata, and the tensors'
// names, types, shapes and places.
func (f *File) Header() []byte { return f.header }

// Release tells the system that the memory of a tensor of this file, or of a
// part of one, is not needed any more. Reading it again brings it back from disk.
func (f *File) Release(data []byte) { f.bytes.Release(data) }

// Close unmaps the file. Its tensors and header must not be used afterwards;
// values of the metadata may.
func (f *File) Close() error {
	bytes := f.bytes
	*f = File{}
	return bytes.Close()
}
