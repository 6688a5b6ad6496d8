//go:build unix

package kernel

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allocate returns zeroed memory that goes when its owner does. Weights lie
// outside the garbage collector's heap, which may grow by a share of what is in
// it before it is swept: they would let it hold as much waste as there are
// weights.
func allocate(owner *Matrix, words int) []uint32 {
	const least = 64 << 10 // smaller ones are not worth pages of their own
	if words < least {
		return make([]uint32, words)
	}
	data, err := unix.Mmap(-1, 0, 4*words, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]uint32, words)
	}
	runtime.AddCleanup(owner, func(data []byte) { _ = unix.Munmap(data) }, data)
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(data))), words)
}
