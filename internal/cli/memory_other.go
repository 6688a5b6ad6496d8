//go:build !unix

package cli

// peakMemory returns 0: the system does not tell.
func peakMemory() float64 { return 0 }
