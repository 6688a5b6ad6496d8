//go:build unix

package mapped

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps a file read-only.
func mapFile(file *os.File, size int64) (Bytes, error) {
	if size == 0 {
		return Bytes{}, nil
	}
	if int64(int(size)) != size {
		return Bytes{}, errors.New("the file is too large for this machine's addresses")
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return Bytes{}, err
	}
	return Bytes{data, func() error { return unix.Munmap(data) }}, nil
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
