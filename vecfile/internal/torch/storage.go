package torch

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/x448/float16"
)

// storage is the elements that tensors are views of.
type storage struct {
	kind  elementKind
	count int
	data  []byte // count elements, little endian; nil until it is read
}

// elementKind is a type of elements.
type elementKind struct {
	name  string
	size  int                  // bytes
	float func([]byte) float32 // of the first element; nil: not of floating point
}

// kinds are the storages' types by the name of their class in torch.
var kinds = map[string]elementKind{
	"FloatStorage":    {"float32", 4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }},
	"DoubleStorage":   {"float64", 8, func(b []byte) float32 { return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))) }},
	"HalfStorage":     {"float16", 2, func(b []byte) float32 { return float16.Frombits(binary.LittleEndian.Uint16(b)).Float32() }},
	"BFloat16Storage": {"bfloat16", 2, func(b []byte) float32 { return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16) }},
	"LongStorage":     {"int64", 8, nil},
	"IntStorage":      {"int32", 4, nil},
	"ShortStorage":    {"int16", 2, nil},
	"CharStorage":     {"int8", 1, nil},
	"ByteStorage":     {"uint8", 1, nil},
	"BoolStorage":     {"bool", 1, nil},
}

// storageKey is what a pickle says of a storage that lies elsewhere in its file.
type storageKey struct {
	kind  elementKind
	key   string
	count int
}

// parseStorageKey reads ("storage", class, key, location, count) and, in older
// files, a view of a part, which must be None.
func parseStorageKey(id any) (storageKey, error) {
	parts, ok := id.(Tuple)
	if !ok || len(parts) < 5 || len(parts) > 6 || parts[0] != "storage" {
		return storageKey{}, fmt.Errorf("a storage is named by %s", Describe(id))
	}
	of, isClass := parts[1].(class)
	kind, known := kinds[of.name]
	if !isClass || of.module != "torch" || !known {
		return storageKey{}, fmt.Errorf("a storage is of %s, which is not read", Describe(parts[1]))
	}
	key, isText := parts[2].(string)
	count, isNumber := parts[4].(int64)
	if !isText || !isNumber || count < 0 || count > math.MaxInt/8 {
		return storageKey{}, fmt.Errorf("a storage has the key %s and the size %v", Describe(parts[2]), parts[4])
	}
	if len(parts) == 6 && parts[5] != nil {
		return storageKey{}, fmt.Errorf("storage %q is a part of another, which is not read", key)
	}
	return storageKey{kind, key, int(count)}, nil
}

// noStorage is for pickles that lie in no file with storages.
func noStorage(id any) (*storage, error) {
	return nil, fmt.Errorf("it names a storage outside of it: %s", Describe(id))
}

// nothing is around the pickles that describe a file.
var nothing = surroundings{storage: noStorage}
