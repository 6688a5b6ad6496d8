package gguf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

const (
	magic = "GGUF"

	// maxMetadata bounds what values of metadata take in memory, in bytes. The
	// largest in use are vocabularies of some 20 MB.
	maxMetadata = 512 << 20

	// maxDimensions is the most that ggml's tensors have.
	maxDimensions = 4

	defaultAlignment = 32 // of tensors, in bytes
)

// parse reads the header of a file and hands each tensor its part of the data.
func parse(data []byte) (*File, error) {
	r := &reader{data: data, budget: maxMetadata}
	tensors, pairs, err := r.counts()
	if err != nil {
		return nil, err
	}
	f := &File{metadata: map[string]any{}, tensors: map[string]Tensor{}}
	// The counts only end the loops: memory grows with what is really there.
	for i := range pairs {
		key := r.text()
		value := r.value()
		if r.err != nil {
			return nil, fmt.Errorf("metadata %d of %d, %.80q: %w", i+1, pairs, key, r.err)
		}
		if _, twice := f.metadata[key]; twice {
			return nil, fmt.Errorf("metadata %q comes twice", key)
		}
		f.keys = append(f.keys, key)
		f.metadata[key] = value
		if number, ok := value.(uint64); ok && key == "general.file_type" && number == uint64(binary.LittleEndian.Uint32(data[r.at-4:])) {
			f.fileTypeAt = r.at - 4
		}
	}
	f.tensorsAt = r.at
	var placed []place
	for i := range tensors {
		p := r.tensor()
		if r.err != nil {
			return nil, fmt.Errorf("tensor %d of %d, %.80q: %w", i+1, tensors, p.Name, r.err)
		}
		if _, twice := f.tensors[p.Name]; twice {
			return nil, fmt.Errorf("tensor %q comes twice", p.Name)
		}
		f.names = append(f.names, p.Name)
		f.tensors[p.Name] = p.Tensor
		placed = append(placed, p)
	}
	alignment, err := alignmentOf(f.metadata["general.alignment"])
	if err != nil {
		return nil, err
	}
	f.header = data[:r.at]
	begin := (uint64(r.at) + alignment - 1) / alignment * alignment
	return f, f.place(placed, data, begin, alignment)
}

// place gives each tensor its bytes. They begin where the header says, aligned,
// and no byte belongs to two: overlaps are how one file comes to mean two things.
func (f *File) place(placed []place, data []byte, begin, alignment uint64) error {
	slices.SortStableFunc(placed, func(a, b place) int { return cmp.Compare(a.offset, b.offset) })
	var end uint64 // of the tensor before, behind begin
	for _, p := range placed {
		size, known := p.size()
		switch room := uint64(len(data)) - min(begin, uint64(len(data))); {
		case p.offset%alignment != 0:
			return fmt.Errorf("tensor %q: offset %d is not a multiple of %d", p.Name, p.offset, alignment)
		case p.offset < end:
			return fmt.Errorf("tensor %q: data begins at %d, inside the tensor before it, which ends at %d", p.Name, p.offset, end)
		case size > room || p.offset > room-size:
			return fmt.Errorf("tensor %q: its %d bytes at offset %d are past the end of the file (%d)", p.Name, size, p.offset, len(data))
		}
		end = p.offset + size
		if known {
			from := begin + p.offset
			p.Data = data[from : from+size : from+size]
			f.tensors[p.Name] = p.Tensor
		}
	}
	return nil
}

func alignmentOf(value any) (uint64, error) {
	if value == nil {
		return defaultAlignment, nil
	}
	n, ok := value.(uint64)
	if !ok || n == 0 || n > 1<<20 || n%8 != 0 || bits.OnesCount64(n) != 1 {
		return 0, fmt.Errorf("metadata %q is %v, not a power of two from 8 to %d", "general.alignment", value, 1<<20)
	}
	return n, nil
}

// place is a tensor, and where its data begins behind the header.
type place struct {
	Tensor
	offset uint64
}

// size returns the bytes of the tensor's data, and false for a type that is not
// known; those stay without data.
func (p *place) size() (uint64, bool) {
	block := p.Type.block()
	if block.bytes == 0 {
		return 0, false
	}
	return uint64(p.Len()) / uint64(block.elements) * uint64(block.bytes), true
}

// reader reads the pieces of a header. After its first error it returns zeros.
type reader struct {
	data   []byte
	at     int
	budget int // bytes that metadata may still take in memory
	err    error
}

func (r *reader) counts() (tensors, pairs uint64, err error) {
	if len(r.data) < 24 || string(r.data[:4]) != magic {
		return 0, 0, errors.New("does not begin as a GGUF file does")
	}
	r.at = 4
	switch version := r.uint32(); {
	case version == 1:
		return 0, 0, errors.New("version 1 of the format is not supported; convert the model anew")
	case bits.ReverseBytes32(version) < 1<<16 && version >= 1<<16:
		return 0, 0, errors.New("its numbers are big-endian, which is not supported")
	case version != 2 && version != 3:
		return 0, 0, fmt.Errorf("version %d of the format is not known; 2 and 3 are", version)
	}
	return r.uint64(), r.uint64(), nil
}

// take returns the next n bytes.
func (r *reader) take(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.data)-r.at) {
		r.err = fmt.Errorf("%d bytes are claimed at offset %d; the file has %d in all", n, r.at, len(r.data))
	}
	if r.err != nil {
		return nil
	}
	r.at += int(n)
	return r.data[r.at-int(n) : r.at]
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// text reads a length and that many bytes of UTF-8. Vocabularies of some models
// hold tokens that are not, so bytes that are not UTF-8 come as they are.
func (r *reader) text() string {
	b := r.take(r.uint64())
	r.spend(len(b))
	return string(b)
}

func (r *reader) spend(bytes int) {
	if r.budget -= bytes; r.budget < 0 && r.err == nil {
		r.err = fmt.Errorf("metadata takes more than %d bytes", maxMetadata)
	}
}

// Types of values, as the format numbers them.
const (
	typeUint8 = iota
	typeInt8
	typeUint16
	typeInt16
	typeUint32
	typeInt32
	typeFloat32
	typeBool
	typeString
	typeArray
	typeUint64
	typeInt64
	typeFloat64
)

// value reads a type and a value of it.
func (r *reader) value() any {
	switch kind := r.uint32(); kind {
	case typeUint8, typeUint16, typeUint32, typeUint64:
		return r.unsigned(kind)
	case typeInt8, typeInt16, typeInt32, typeInt64:
		return r.signed(kind)
	case typeFloat32, typeFloat64:
		return r.float(kind)
	case typeBool:
		return r.bool()
	case typeString:
		return r.text()
	case typeArray:
		return r.array()
	default:
		if r.err == nil {
			r.err = fmt.Errorf("a value of type %d, which is not known", kind)
		}
		return nil
	}
}

// array reads a type, a count and that many values.
func (r *reader) array() any {
	kind, n := r.uint32(), r.uint64()
	least := uint64(1) // bytes that each takes in the file
	switch kind {
	case typeString:
		least = 8
	case typeArray:
		if r.err == nil {
			r.err = errors.New("an array of arrays, which is not supported")
		}
	}
	if room := uint64(len(r.data) - r.at); r.err == nil && n > room/least {
		r.err = fmt.Errorf("an array claims %d values; the file has %d bytes left", n, room)
	}
	const word = 16 // bytes that a value takes in memory at most, a text's own apart
	if r.err == nil && n > uint64(r.budget/word) {
		r.err = fmt.Errorf("metadata takes more than %d bytes", maxMetadata)
	}
	if r.err != nil {
		return nil
	}
	r.spend(int(n) * word)
	switch kind {
	case typeUint8, typeUint16, typeUint32, typeUint64:
		return repeat(n, func() uint64 { return r.unsigned(kind) })
	case typeInt8, typeInt16, typeInt32, typeInt64:
		return repeat(n, func() int64 { return r.signed(kind) })
	case typeFloat32, typeFloat64:
		return repeat(n, func() float64 { return r.float(kind) })
	case typeBool:
		return repeat(n, r.bool)
	case typeString:
		return repeat(n, r.text)
	}
	r.err = fmt.Errorf("an array of type %d, which is not known", kind)
	return nil
}

func repeat[T any](n uint64, read func() T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = read()
	}
	return out
}

func (r *reader) unsigned(kind uint32) uint64 {
	switch kind {
	case typeUint8:
		return uint64(r.byte())
	case typeUint16:
		if b := r.take(2); b != nil {
			return uint64(binary.LittleEndian.Uint16(b))
		}
		return 0
	case typeUint32:
		return uint64(r.uint32())
	}
	return r.uint64()
}

func (r *reader) signed(kind uint32) int64 {
	switch kind {
	case typeInt8:
		return int64(int8(r.byte()))
	case typeInt16:
		return int64(int16(r.unsigned(typeUint16)))
	case typeInt32:
		return int64(int32(r.uint32()))
	}
	return int64(r.uint64())
}

func (r *reader) float(kind uint32) float64 {
	if kind == typeFloat32 {
		return float64(math.Float32frombits(r.uint32()))
	}
	return math.Float64frombits(r.uint64())
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) bool() bool {
	b := r.byte()
	if b > 1 && r.err == nil {
		r.err = fmt.Errorf("a truth value of %d", b)
	}
	return b == 1
}

// tensor reads the entry of one tensor.
func (r *reader) tensor() place {
	p := place{Tensor: Tensor{Name: r.text()}}
	dimensions := r.uint32()
	if r.err == nil && (dimensions < 1 || dimensions > maxDimensions) {
		r.err = fmt.Errorf("%d dimensions; from 1 to %d are allowed", dimensions, maxDimensions)
	}
	if r.err == nil && !utf8.ValidString(p.Name) {
		r.err = errors.New("its name is not UTF-8")
	}
	if r.err != nil {
		return p
	}
	count := uint64(1)
	for range dimensions {
		n := r.uint64()
		high, low := bits.Mul64(count, n)
		if r.err == nil && (high != 0 || low > math.MaxInt/8 || n > math.MaxInt/8) {
			r.err = errors.New("its dimensions multiply to more than fits")
		}
		if r.err != nil {
			return p
		}
		count = low
		p.Shape = append(p.Shape, int(n))
	}
	slices.Reverse(p.Shape) // the format begins with the dimension whose elements are neighbours
	p.Type = Type(r.uint32())
	p.offset = r.uint64()
	if block := p.Type.block(); r.err == nil && block.bytes != 0 && p.Shape[len(p.Shape)-1]%block.elements != 0 {
		r.err = fmt.Errorf("rows of %d elements are not whole blocks of %d, as %v has", p.Shape[len(p.Shape)-1], block.elements, p.Type)
	}
	return p
}
