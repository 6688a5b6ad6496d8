package kernel

import "golang.org/x/sys/unix"

// wantHugePages asks for pages of 2 MB where memory can have them: the first use of each
// costs a turn in the system, and a model has a million of the usual size.
func wantHugePages(data []byte) { _ = unix.Madvise(data, unix.MADV_HUGEPAGE) }
