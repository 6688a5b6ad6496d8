package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	// maxHeader is the longest header that the reference implementation accepts, in bytes.
	maxHeader = 100_000_000
	// metadataKey is the one entry of a header that is not a tensor.
	metadataKey = "__metadata__"
)

// parse reads the header of a file, of at most that many bytes, and hands each
// tensor its part of the data.
func parse(data []byte, most int) (*File, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("the file has %d bytes, too few for a header's length", len(data))
	}
	length := binary.LittleEndian.Uint64(data)
	if length > uint64(most) {
		return nil, fmt.Errorf("the header claims %d bytes; at most %d are allowed", length, most)
	}
	if length > uint64(len(data)-8) {
		return nil, fmt.Errorf("the header claims %d bytes; the file has %d in all", length, len(data))
	}
	begin := 8 + int(length) // of the tensors' bytes
	f := &File{header: data[8:begin], tensors: map[string]Tensor{}}
	entries, metadata, err := parseHeader(f.header)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	f.metadata = metadata

	// Tensors must cover the data from end to end: bytes that belong to two, or
	// to none, are how one file comes to mean two things.
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	end := 0
	for _, e := range entries {
		fail := func(format string, args ...any) error {
			return fmt.Errorf("tensor %q: %s", e.name, fmt.Sprintf(format, args...))
		}
		if e.to < e.from {
			return nil, fail("data offsets [%d, %d] run backwards", e.from, e.to)
		}
		if e.to > len(data)-begin {
			// begin+to can exceed an int.
			return nil, fail("offset %d is past the end of the file (%d)", uint64(begin)+uint64(e.to), len(data))
		}
		if e.from != end {
			return nil, fail("data begins at %d; the tensors before it end at %d", e.from, end)
		}
		size, ok := byteSize(e.dtype, e.shape)
		if !ok {
			return nil, fail("shape %v of %s is too large", e.shape, e.dtype)
		}
		if e.dtype.Size() != 0 && size != e.to-e.from {
			return nil, fail("shape %v of %s needs %d bytes; data offsets [%d, %d] hold %d", e.shape, e.dtype, size, e.from, e.to, e.to-e.from)
		}
		end = e.to
		f.names = append(f.names, e.name)
		f.tensors[e.name] = Tensor{Name: e.name, DType: e.dtype, Shape: e.shape, Data: data[begin+e.from : begin+e.to : begin+e.to]}
	}
	if end != len(data)-begin {
		return nil, fmt.Errorf("the tensors end at byte %d; the file has %d", begin+end, len(data))
	}
	return f, nil
}

// entry is one tensor's entry in a header; its data is [from, to) behind the header.
type entry struct {
	name     string
	dtype    DType
	shape    []int
	from, to int
}

// parseHeader reads the JSON of a header. It goes token by token, because the
// usual decoding into structs forgives what must not be forgiven here: keys that
// come twice, null for a number, keys in another case.
func parseHeader(header []byte) ([]entry, map[string]string, error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, nil, errors.New("does not begin with {")
	}
	if !utf8.Valid(header) {
		return nil, nil, errors.New("is not UTF-8")
	}
	r := reader{json.NewDecoder(bytes.NewReader(header))}
	r.UseNumber()
	var entries []entry
	var metadata map[string]string
	err := r.object(func(name string) (err error) {
		if name == metadataKey {
			metadata, err = r.metadata()
		} else {
			var e entry
			e, err = r.entry(name)
			entries = append(entries, e)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if _, err := r.Token(); err != io.EOF {
		return nil, nil, errors.New("something follows the JSON object")
	}
	return entries, metadata, nil
}

// reader reads the pieces of a header's JSON.
type reader struct{ *json.Decoder }

// next returns the next token; a header that ends here is cut short.
func (r reader) next() (json.Token, error) {
	t, err := r.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

func (r reader) expect(want json.Delim) error {
	switch t, err := r.next(); {
	case err != nil:
		return err
	case t != want:
		return fmt.Errorf("%v stands where %v belongs", t, want)
	}
	return nil
}

// object reads an object, calling value for each key in order to read what
// belongs to it. A key that comes twice is an error.
func (r reader) object(value func(key string) error) error {
	if err := r.expect('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.More() {
		t, err := r.next()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("%v stands where a key belongs", t)
		}
		if seen[key] {
			return fmt.Errorf("%q comes twice", key)
		}
		seen[key] = true
		if err := value(key); err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
	}
	return r.expect('}')
}

func (r reader) text() (string, error) {
	t, err := r.next()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%v stands where a string belongs", t)
	}
	return s, nil
}

// sizes reads an array of non-negative whole numbers.
func (r reader) sizes() ([]int, error) {
	if err := r.expect('['); err != nil {
		return nil, err
	}
	out := []int{}
	for r.More() {
		t, err := r.next()
		if err != nil {
			return nil, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%v stands where a number belongs", t)
		}
		n, err := strconv.Atoi(number.String())
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s is not a size", number)
		}
		out = append(out, n)
	}
	return out, r.expect(']')
}

func (r reader) metadata() (map[string]string, error) {
	out := map[string]string{}
	err := r.object(func(key string) (err error) {
		out[key], err = r.text()
		return err
	})
	return out, err
}

func (r reader) entry(name string) (entry, error) {
	e := entry{name: name}
	var offsets []int
	known := 0
	err := r.object(func(key string) (err error) {
		known++
		switch key {
		case "dtype":
			var dtype string
			dtype, err = r.text()
			e.dtype = DType(dtype)
		case "shape":
			e.shape, err = r.sizes()
		case "data_offsets":
			offsets, err = r.sizes()
		default:
			known--
			err = r.skip() // as the reference implementation does
		}
		return err
	})
	if err != nil {
		return e, err
	}
	if known != 3 {
		return e, errors.New("needs dtype, shape and data_offsets")
	}
	if len(offsets) != 2 {
		return e, fmt.Errorf("has %d data offsets; two belong there", len(offsets))
	}
	e.from, e.to = offsets[0], offsets[1]
	return e, nil
}

// skip reads one value of any kind.
func (r reader) skip() error {
	for depth := 0; ; {
		t, err := r.next()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
