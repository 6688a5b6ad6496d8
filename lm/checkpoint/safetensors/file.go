package safetensors

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/steervec/steer/lm/checkpoint/internal/mapped"
)

// File is an open safetensors file. Any number of goroutines may read it; Close
// must come after them.
type File struct {
	header   []byte
	names    []string // in the order of their data
	tensors  map[string]Tensor
	metadata map[string]string
	bytes    mapped.Bytes
}

// Open maps the file at path into memory and checks its header. Where the
// system has no mapping the file is read. A file that is cut short while it is
// open takes the program down when the lost bytes are looked at: checkpoints
// are replaced by renaming, as [Write] does, never rewritten in place.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return open(path, file, maxHeader)
}

// OpenLimited is [Open] for files that are small by their nature: a header of
// more than header bytes is an error before anything is made of it.
func OpenLimited(path string, header int) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return open(path, file, header)
}

// OpenFS opens the named file of a file system. A file on disk, as of
// [os.DirFS], is mapped; any other, such as an embedded one, is read into memory.
func OpenFS(fsys fs.FS, name string) (*File, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	return open(name, file, maxHeader)
}

// open maps or reads file, whose header has at most that many bytes, and closes it.
func open(name string, file fs.File, header int) (*File, error) {
	f, bytes, err := mapped.Parsed(file, func(data []byte) (*File, error) { return parse(data, header) })
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	f.bytes = bytes
	return f, nil
}

// Parse reads a file that is in memory, without copying it. The name stands in
// errors, which also name the tensor that is wrong.
func Parse(name string, data []byte) (*File, error) {
	f, err := parse(data, maxHeader)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return f, nil
}

// Names returns the tensors' names in the order of their data.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Tensor returns the tensor of a name, and whether the file has it.
func (f *File) Tensor(name string) (Tensor, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Metadata returns a copy of the header's free-form entries.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Header returns the header's JSON as it lies in the file, padding included.
func (f *File) Header() []byte { return f.header }

// Release tells the system that the memory of a tensor of this file is not
// needed any more. Reading it again brings it back from disk. Does nothing
// where the file is not mapped.
func (f *File) Release(t Tensor) {
	f.bytes.Release(t.Data)
}

// Close unmaps the file. Its tensors and header must not be used afterwards.
func (f *File) Close() error {
	bytes := f.bytes
	*f = File{}
	return bytes.Close()
}
