//go:build unix

package kernel

import (
	"runtime"
	"sync"
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
	wantHugePages(data)
	mapped.add(len(data))
	runtime.AddCleanup(owner, func(data []byte) {
		mapped.add(-len(data))
		_ = unix.Munmap(data)
	}, data)
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(data))), words)
}

// mapped counts the memory outside the heap. The garbage collector does not see
// it, so it is asked to look for dead owners whenever that has doubled.
var mapped = outside{limit: 1 << 30}

type outside struct {
	sync.Mutex
	bytes, limit int
}

func (o *outside) add(n int) {
	o.Lock()
	o.bytes += n
	full := o.bytes > o.limit
	if full {
		o.limit = 2 * o.bytes
	}
	o.Unlock()
	if full {
		runtime.GC()
	}
}
