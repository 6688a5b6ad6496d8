//go:build unix

package safetensors

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps a file read-only; unmap is nil where there is nothing to undo.
func mapFile(file *os.File, size int64) (data []byte, unmap func() error, err error) {
	if size == 0 {
		return nil, nil, nil
	}
	if int64(int(size)) != size {
		return nil, nil, errors.New("the file is too large for this machine's addresses")
	}
	data, err = unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return data, func() error { return unix.Munmap(data) }, nil
}

// release drops the whole pages inside data from the process's memory. Only
// whole ones: the pages at its ends are shared with the tensors beside it.
func release(data []byte) {
	page := os.Getpagesize()
	start := uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	skip := int(-start & uintptr(page-1))
	if n := (len(data) - skip) &^ (page - 1); n > 0 {
		// Advice that the system does not take costs nothing but memory.
		_ = unix.Madvise(data[skip:skip+n], unix.MADV_DONTNEED)
	}
}
