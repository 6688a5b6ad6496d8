//go:build !unix

package kernel

// allocate returns zeroed memory.
func allocate(_ *Matrix, words int) []uint32 { return make([]uint32, words) }
