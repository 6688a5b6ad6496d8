package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
)

// maxHeader is the longest header that the reference implementation accepts, in bytes.
const maxHeader = 100_000_000

// File is an open safetensors file, safe for concurrent readers.
type File struct {
	name     string
	data     []byte // the whole file
	header   []byte
	names    []string // in file order
	tensors  map[string]Tensor
	metadata map[string]string
	unmap    func() error
}

// Open maps the file at path into memory and reads its header.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", path)
	}
	data, unmap, err := mapFile(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f, err := Parse(path, data)
	if err != nil {
		unmap()
		return nil, err
	}
	f.unmap = unmap
	return f, nil
}

// OpenFS reads the named file of a file system, such as an embedded one, into memory.
func OpenFS(fsys fs.FS, name string) (*File, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	return Parse(name, data)
}

// Parse reads a file that is in memory; name is for its errors.
func Parse(name string, data []byte) (*File, error) {
	f := &File{name: name, data: data, tensors: map[string]Tensor{}}
	if err := f.parse(); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return f, nil
}

// Names returns the tensors' names in the order of their data.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Tensor returns the tensor of a name.
func (f *File) Tensor(name string) (Tensor, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Metadata returns the header's free-form entries.
func (f *File) Metadata() map[string]string { return f.metadata }

// Header returns the header's JSON as it lies in the file.
func (f *File) Header() []byte { return f.header }

// Release tells the system that the memory of a tensor is not needed any more.
// Reading it again brings it back from the file.
func (f *File) Release(t Tensor) {
	if f.unmap != nil {
		release(t.Data)
	}
}

// Close unmaps the file. Tensors must not be used afterwards.
func (f *File) Close() error {
	if f.unmap == nil {
		return nil
	}
	unmap := f.unmap
	f.unmap, f.data, f.tensors = nil, nil, nil
	return unmap()
}

func (f *File) parse() error {
	if len(f.data) < 8 {
		return fmt.Errorf("the file has %d bytes, too few for a header", len(f.data))
	}
	length := binary.LittleEndian.Uint64(f.data)
	if length > maxHeader || length > uint64(len(f.data)-8) {
		return fmt.Errorf("the header claims %d bytes; the file has %d", length, len(f.data))
	}
	f.header = f.data[8 : 8+length]
	body := f.data[8+length:]

	entries, err := entries(f.header)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	type located struct {
		Tensor
		from, to int
	}
	var all []located
	for _, e := range entries {
		if e.name == "__metadata__" {
			if err := json.Unmarshal(e.value, &f.metadata); err != nil {
				return fmt.Errorf("header: __metadata__: %w", err)
			}
			continue
		}
		t, from, to, err := tensor(e.name, e.value, len(body))
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.name, err)
		}
		t.Data = body[from:to:to]
		all = append(all, located{t, from, to})
	}
	slices.SortStableFunc(all, func(a, b located) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return a.to - b.to
	})
	end := 0
	for _, t := range all {
		if t.from != end {
			return fmt.Errorf("tensor %q: begins at %d where the one before ends at %d", t.Name, t.from, end)
		}
		end = t.to
		f.names = append(f.names, t.Name)
		f.tensors[t.Name] = t.Tensor
	}
	if end != len(body) {
		return fmt.Errorf("the tensors end at %d of %d bytes", end, len(body))
	}
	return nil
}

type entry struct {
	name  string
	value json.RawMessage
}

// entries reads the header's object in order and refuses a name that comes twice.
func entries(header []byte) ([]entry, error) {
	d := json.NewDecoder(bytes.NewReader(header))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	seen := map[string]bool{}
	var out []entry
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := key.(string) // an object's key always is one
		if seen[name] {
			return nil, fmt.Errorf("%q comes twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		out = append(out, entry{name, value})
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return out, nil
}

// tensor reads one header entry and checks it against the size of the data.
func tensor(name string, value json.RawMessage, size int) (t Tensor, from, to int, err error) {
	var e struct {
		DType   DType `json:"dtype"`
		Shape   []int `json:"shape"`
		Offsets []int `json:"data_offsets"`
	}
	if err := json.Unmarshal(value, &e); err != nil {
		return t, 0, 0, err
	}
	if len(e.Offsets) != 2 {
		return t, 0, 0, fmt.Errorf("has %d data offsets in place of two", len(e.Offsets))
	}
	from, to = e.Offsets[0], e.Offsets[1]
	if from < 0 || to < from {
		return t, 0, 0, fmt.Errorf("lies at [%d, %d)", from, to)
	}
	if to > size {
		return t, 0, 0, fmt.Errorf("offset %d is past the end of the data (%d)", to, size)
	}
	bytes := e.DType.Size()
	for _, n := range e.Shape {
		if n < 0 || (n > 0 && bytes > math.MaxInt/n) {
			return t, 0, 0, fmt.Errorf("shape %v is impossible", e.Shape)
		}
		bytes *= n
	}
	if e.DType.Size() != 0 && bytes != to-from {
		return t, 0, 0, fmt.Errorf("shape %v of %s needs %d bytes; %d are given", e.Shape, e.DType, bytes, to-from)
	}
	return Tensor{Name: name, DType: e.DType, Shape: e.Shape}, from, to, nil
}
