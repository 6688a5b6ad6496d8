package torch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A file of the older kind is five pickles, one after the other, and the
// storages: a magic number, the version, what machine wrote it, the value, and
// the keys of the storages in their order. Before each storage stands the number
// of its elements, in 8 bytes.

// magicPickle is the pickle of the magic number, with which the file begins.
var magicPickle = []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")

const legacyVersion = 1001

func loadLegacy(data []byte) (any, error) {
	rest, ok := bytes.CutPrefix(data, magicPickle)
	if !ok {
		return nil, errors.New("it does not begin as torch.save writes it")
	}
	version, rest, err := unpickle(rest, nothing)
	if err != nil {
		return nil, err
	}
	if version != int64(legacyVersion) {
		return nil, fmt.Errorf("its version is %v, not %d", version, legacyVersion)
	}
	machine, rest, err := unpickle(rest, nothing)
	if err != nil {
		return nil, err
	}
	if about, ok := machine.(*Dict); ok {
		if little, ok := about.Get("little_endian"); ok && little != true {
			return nil, errors.New("its numbers are big-endian, which is not supported")
		}
	}
	storages := map[string]*storage{}
	value, rest, err := unpickle(rest, surroundings{storage: func(id any) (*storage, error) {
		k, err := parseStorageKey(id)
		if err != nil {
			return nil, err
		}
		if s, ok := storages[k.key]; ok {
			if s.kind.name != k.kind.name || s.count != k.count {
				return nil, fmt.Errorf("storage %q is named twice, with other sizes", k.key)
			}
			return s, nil
		}
		if uint64(k.count) > uint64(len(data))/uint64(k.kind.size) {
			return nil, fmt.Errorf("storage %q claims %d elements in a file of %d bytes", k.key, k.count, len(data))
		}
		storages[k.key] = &storage{kind: k.kind, count: k.count}
		return storages[k.key], nil
	}})
	if err != nil {
		return nil, err
	}
	keys, rest, err := unpickle(rest, nothing)
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*List)
	if !ok {
		return nil, fmt.Errorf("the keys of its storages are %s", Describe(keys))
	}
	for _, item := range list.Items {
		key, _ := item.(string)
		s, ok := storages[key]
		if !ok || s.data != nil {
			return nil, fmt.Errorf("storage %q is there twice, or not used", key)
		}
		if len(rest) < 8 {
			return nil, fmt.Errorf("storage %q: %w", key, errEnd)
		}
		count := binary.LittleEndian.Uint64(rest)
		rest = rest[8:]
		if count != uint64(s.count) || uint64(len(rest)) < count*uint64(s.kind.size) {
			return nil, fmt.Errorf("storage %q has %d elements of %d bytes, which are not there", key, count, s.kind.size)
		}
		size := s.count * s.kind.size
		s.data, rest = rest[:size:size], rest[size:]
		if s.data == nil {
			s.data = []byte{}
		}
	}
	for key, s := range storages {
		if s.data == nil {
			return nil, fmt.Errorf("storage %q is not there", key)
		}
	}
	return value, nil
}
