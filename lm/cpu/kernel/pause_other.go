//go:build !amd64 && !arm64

package kernel

// pause tells the CPU that this is a spin loop.
func pause() {}
