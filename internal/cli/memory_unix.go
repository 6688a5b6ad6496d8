//go:build unix

package cli

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// peakMemory returns the most bytes of memory that this process has held; 0
// where the system does not tell.
func peakMemory() float64 {
	// Linux counts what a parent held before exec into the usage of a process,
	// but not into its status.
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		var kilobytes float64
		if _, line, ok := strings.Cut(string(status), "VmHWM:"); ok {
			if _, err := fmt.Sscan(line, &kilobytes); err == nil {
				return kilobytes * 1024
			}
		}
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return float64(usage.Maxrss)
	}
	return float64(usage.Maxrss) * 1024
}
