// Package mapped brings the bytes of weight files into memory: by mapping
// where the system can, by reading where it cannot.
package mapped

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"unsafe"
)

// Bytes are a whole file's bytes, not to be written.
type Bytes struct {
	Data  []byte
	unmap func() error // nil: ordinary memory
}

// Open maps or reads file, a regular one, and closes it. A file on disk is
// mapped; any other, such as an embedded one, is read.
func Open(file fs.File) (Bytes, error) {
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Bytes{}, err
	}
	if !info.Mode().IsRegular() {
		return Bytes{}, errors.New("not a regular file")
	}
	if onDisk, ok := file.(*os.File); ok {
		return mapFile(onDisk, info.Size())
	}
	data, err := io.ReadAll(file)
	return Bytes{Data: data}, err
}

// Parsed is Open with what parse makes of the bytes, which are given up again
// where it fails.
func Parsed[F any](file fs.File, parse func([]byte) (F, error)) (parsed F, bytes Bytes, err error) {
	if bytes, err = Open(file); err != nil {
		return parsed, bytes, err
	}
	if parsed, err = parse(bytes.Data); err != nil {
		bytes.Close()
	}
	return parsed, bytes, err
}

// Release tells the system that a part of the bytes is not needed any more.
// Reading it again brings it back from disk. Ordinary memory stays, also where
// part is no part of the bytes: given up, it would be lost.
func (b Bytes) Release(part []byte) {
	if b.unmap != nil && contains(b.Data, part) {
		release(part)
	}
}

func contains(whole, part []byte) bool {
	if len(part) == 0 || len(part) > len(whole) {
		return false
	}
	from, first := uintptr(unsafe.Pointer(unsafe.SliceData(whole))), uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	return from <= first && first+uintptr(len(part)) <= from+uintptr(len(whole))
}

// Close unmaps the bytes.
func (b Bytes) Close() error {
	if b.unmap == nil {
		return nil
	}
	return b.unmap()
}
