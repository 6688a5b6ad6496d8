package kernel

import "syscall"

// yield lets another thread have this CPU if one waits for it. Without it a
// spinning worker keeps the thread that does the work from running.
func yield() { syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }
