//go:build unix

package safetensors

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

// mapFile maps a file read-only.
func mapFile(file *os.File, size int64) ([]byte, func() error, error) {
	if size == 0 {
		return nil, func() error { return nil }, nil
	}
	if int64(int(size)) != size {
		return nil, nil, errors.New("the file is too large for this machine's addresses")
	}
	data, err := syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return data, func() error { return syscall.Munmap(data) }, nil
}

// release drops the whole pages inside data from memory.
func release(data []byte) {
	page := uintptr(os.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	skip := int((page - start%page) % page)
	if n := (len(data) - skip) / int(page) * int(page); n > 0 {
		// Advice that the system does not take costs nothing but memory.
		_ = syscall.Madvise(data[skip:skip+n], syscall.MADV_DONTNEED)
	}
}
