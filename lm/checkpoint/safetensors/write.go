package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/steervec/steer/internal/output"
)

// Write writes the tensors in the order given; equal arguments give equal bytes.
// Path never holds half a file, a symbolic link stays one, and a file that is
// read-only or being written by another is not touched: see
// [github.com/steervec/steer/internal/output]. Errors name the tensor that is wrong.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	infos, err := infosOf(tensors)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	w, err := Create(path, infos, metadata)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, t := range tensors {
		if err := w.WriteAt(t.Name, t.Data, 0); err != nil {
			return err
		}
	}
	return w.Commit()
}

// Encode returns the bytes of the file that [Write] writes.
func Encode(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	infos, err := infosOf(tensors)
	if err != nil {
		return nil, err
	}
	data, _, size, err := layOut(infos, metadata)
	if err != nil {
		return nil, err
	}
	data = slices.Grow(data, int(size)-len(data))
	for _, t := range tensors {
		data = append(data, t.Data...)
	}
	return data, nil
}

// infosOf describes tensors whose data must be as long as their shapes say.
func infosOf(tensors []Tensor) ([]TensorInfo, error) {
	infos := make([]TensorInfo, len(tensors))
	for i, t := range tensors {
		infos[i] = TensorInfo{t.Name, t.DType, t.Shape}
		if size, ok := byteSize(t.DType, t.Shape); t.DType.Size() != 0 && (!ok || size != len(t.Data)) {
			return nil, fmt.Errorf("tensor %q: shape %v of %s does not fit its %d bytes", t.Name, t.Shape, t.DType, len(t.Data))
		}
	}
	return infos, nil
}

// TensorInfo says what a tensor will be before its data is there.
type TensorInfo struct {
	Name  string
	DType DType
	Shape []int
}

// Writer writes a file whose tensors' shapes are known before their data. The
// data may come in any order and from several goroutines. Only Commit makes
// the file appear under its name, and only when every byte has been given.
type Writer struct {
	path    string
	file    *output.File // nil once committed or aborted
	tensors map[string]*slot

	mu sync.Mutex // guards the slots' spans
}

// slot is a tensor's place in the file.
type slot struct {
	TensorInfo
	offset, size int64
	written      []span // sorted, disjoint, not touching
}

// span is a range of bytes [from, to).
type span struct{ from, to int64 }

// Create starts a file of these tensors, in this order. Finish it with Commit;
// Abort, which does nothing after Commit, is for a defer.
func Create(path string, tensors []TensorInfo, metadata map[string]string) (*Writer, error) {
	header, slots, size, err := layOut(tensors, metadata)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	file, err := output.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, file: file, tensors: slots}
	if _, err = file.Write(header); err == nil {
		err = file.Truncate(size)
	}
	if err != nil {
		w.Abort()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return w, nil
}

// WriteAt writes bytes of a tensor, beginning at a byte offset within it.
func (w *Writer) WriteAt(name string, data []byte, offset int64) error {
	s, err := w.slot(name)
	if err != nil {
		return err
	}
	if offset < 0 || offset > s.size || int64(len(data)) > s.size-offset {
		return fmt.Errorf("write %s: tensor %q: %d bytes at %d do not fit into %d", w.path, name, len(data), offset, s.size)
	}
	if _, err := w.file.WriteAt(data, s.offset+offset); err != nil {
		return fmt.Errorf("write %s: tensor %q: %w", w.path, name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.add(span{offset, offset + int64(len(data))})
	return nil
}

// WriteRows writes whole rows of a tensor [rows, ...], beginning at row, rounding
// the values to its type: F32, F16, BF16 or F64. A row is what one step of the first
// dimension holds.
func (w *Writer) WriteRows(name string, row int, values []float32) error {
	s, err := w.slot(name)
	if err != nil {
		return err
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("write %s: tensor %q: %s", w.path, name, fmt.Sprintf(format, args...))
	}
	switch s.DType {
	case F64, F32, F16, BF16:
	default:
		return fail("numbers cannot be written as %s", s.DType)
	}
	if len(s.Shape) == 0 {
		return fail("a scalar has no rows")
	}
	width, _ := byteSize(U8, s.Shape[1:]) // elements of a row; fits, as the whole does
	if row < 0 || row > s.Shape[0] || width == 0 && len(values) > 0 || width > 0 && len(values)%width != 0 {
		return fail("%d values are not whole rows of shape %v from row %d on", len(values), s.Shape, row)
	}
	return w.WriteAt(name, AppendFloats(nil, s.DType, values), int64(row)*int64(width)*int64(s.DType.Size()))
}

// Commit makes the file durable and gives it its name. A tensor of which bytes
// are missing is an error, and no file appears.
func (w *Writer) Commit() error {
	if w.file == nil {
		return fmt.Errorf("write %s: already committed or aborted", w.path)
	}
	defer w.Abort()
	for _, name := range slices.Sorted(maps.Keys(w.tensors)) {
		if s := w.tensors[name]; s.size > 0 && !slices.Equal(s.written, []span{{0, s.size}}) {
			return fmt.Errorf("write %s: tensor %q: not all of its %d bytes were written", w.path, name, s.size)
		}
	}
	err := w.file.Commit()
	w.file = nil
	return err
}

// Abort removes what was written; path is as it was. After Commit it does nothing.
func (w *Writer) Abort() error {
	if w.file == nil {
		return nil
	}
	file := w.file
	w.file = nil
	return file.Abort()
}

func (w *Writer) slot(name string) (*slot, error) {
	if w.file == nil {
		return nil, fmt.Errorf("write %s: already committed or aborted", w.path)
	}
	s, ok := w.tensors[name]
	if !ok {
		return nil, fmt.Errorf("write %s: tensor %q was not announced", w.path, name)
	}
	return s, nil
}

// add merges a span into the written ones.
func (s *slot) add(next span) {
	if next.from == next.to {
		return
	}
	first := 0 // of the spans that next touches
	for first < len(s.written) && s.written[first].to < next.from {
		first++
	}
	last := first
	for last < len(s.written) && s.written[last].from <= next.to {
		next.from = min(next.from, s.written[last].from)
		next.to = max(next.to, s.written[last].to)
		last++
	}
	s.written = slices.Replace(s.written, first, last, next)
}

// layOut returns the bytes before the data, padded so that the data is aligned
// to 8 bytes, where each tensor goes, and the size of the file.
func layOut(tensors []TensorInfo, metadata map[string]string) (header []byte, slots map[string]*slot, size int64, err error) {
	header = append(make([]byte, 8), '{')
	if len(metadata) > 0 {
		for key, value := range metadata {
			if !utf8.ValidString(key) || !utf8.ValidString(value) {
				return nil, nil, 0, fmt.Errorf("metadata %q is not UTF-8", key)
			}
		}
		header = append(header, `"`+metadataKey+`":`...)
		header = appendJSON(header, metadata) // sorts the keys
	}
	slots = map[string]*slot{}
	at := 0 // behind the header
	for _, t := range tensors {
		if t.Name == metadataKey || !utf8.ValidString(t.Name) {
			return nil, nil, 0, fmt.Errorf("%q cannot name a tensor", t.Name)
		}
		if slots[t.Name] != nil {
			return nil, nil, 0, fmt.Errorf("tensor %q comes twice", t.Name)
		}
		if t.DType.Size() == 0 {
			return nil, nil, 0, fmt.Errorf("tensor %q: %q is not a known type", t.Name, t.DType)
		}
		bytes, ok := byteSize(t.DType, t.Shape)
		if !ok || at+bytes < at {
			return nil, nil, 0, fmt.Errorf("tensor %q: shape %v of %s is impossible", t.Name, t.Shape, t.DType)
		}
		if len(header) > 9 {
			header = append(header, ',')
		}
		header = appendJSON(header, t.Name)
		header = append(header, ':')
		header = appendJSON(header, struct {
			DType   DType  `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}{t.DType, append([]int{}, t.Shape...), [2]int{at, at + bytes}})
		slots[t.Name] = &slot{TensorInfo: t, offset: int64(at), size: int64(bytes)}
		at += bytes
	}
	header = append(header, '}')
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	if len(header)-8 > maxHeader {
		return nil, nil, 0, fmt.Errorf("the header takes %d bytes; at most %d are allowed", len(header)-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	for _, s := range slots {
		s.offset += int64(len(header))
	}
	return header, slots, int64(len(header)) + int64(at), nil
}

// appendJSON appends a value that always has a JSON form.
func appendJSON(out []byte, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return append(out, text...)
}
