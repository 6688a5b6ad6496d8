//go:build !linux

package kernel

// yield lets another thread have this CPU; here runtime.Gosched must do.
func yield() {}
