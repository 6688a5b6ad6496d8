package torch

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"
)

// An archive is a zip file whose records lie uncompressed under one folder:
// data.pkl is the value, data/<key> are the storages, version and byteorder say
// how they are written.

func loadArchive(data []byte, extra string) (any, []byte, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, nil, err
	}
	records := map[string][]byte{} // by name, without the folder
	folder := ""
	for _, f := range z.File {
		root, name, ok := strings.Cut(f.Name, "/")
		if !ok || folder != "" && root != folder {
			return nil, nil, fmt.Errorf("archive: %q does not lie in the one folder that torch.save makes", f.Name)
		}
		folder = root
		if _, twice := records[name]; twice {
			return nil, nil, fmt.Errorf("archive: %q is there twice", f.Name)
		}
		if records[name], err = stored(data, f); err != nil {
			return nil, nil, fmt.Errorf("archive: %q %w", f.Name, err)
		}
	}
	program, ok := records["data.pkl"]
	if !ok {
		return nil, nil, fmt.Errorf("archive: there is no data.pkl: torch.save did not write it")
	}
	if order, ok := records["byteorder"]; ok && string(order) != "little" {
		return nil, nil, fmt.Errorf("archive: the byte order %.20q is not supported", order)
	}
	storages := map[string]*storage{}
	value, rest, err := unpickle(program, surroundings{storage: func(id any) (*storage, error) {
		k, err := parseStorageKey(id)
		if err != nil {
			return nil, err
		}
		if s, ok := storages[k.key]; ok && s.kind.name == k.kind.name && s.count == k.count {
			return s, nil
		}
		elements, ok := records["data/"+k.key]
		if !ok || uint64(len(elements))/uint64(k.kind.size) < uint64(k.count) {
			return nil, fmt.Errorf("storage %q should have %d %s elements; the archive has %d bytes of it", k.key, k.count, k.kind.name, len(elements))
		}
		storages[k.key] = &storage{kind: k.kind, count: k.count, data: elements}
		return storages[k.key], nil
	}})
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("archive: %d bytes follow the pickle in data.pkl", len(rest))
	}
	return value, records[extra], err
}

// stored returns the bytes of a record as they lie in the file.
func stored(data []byte, f *zip.File) ([]byte, error) {
	if f.Method != zip.Store {
		return nil, fmt.Errorf("is compressed, as torch.save leaves nothing")
	}
	at, err := f.DataOffset()
	if err != nil {
		return nil, err
	}
	if f.CompressedSize64 != f.UncompressedSize64 || at < 0 || at > int64(len(data)) || f.UncompressedSize64 > uint64(int64(len(data))-at) {
		return nil, fmt.Errorf("claims %d bytes in a file of %d", f.UncompressedSize64, len(data))
	}
	end := at + int64(f.UncompressedSize64)
	if crc32.ChecksumIEEE(data[at:end]) != f.CRC32 {
		return nil, fmt.Errorf("is damaged: its checksum is another")
	}
	return data[at:end:end], nil
}
