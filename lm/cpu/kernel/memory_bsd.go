//go:build unix && !linux

package kernel

func wantHugePages([]byte) {}
