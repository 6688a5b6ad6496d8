package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Parallel calls f(0) … f(tasks-1) on the workers, in any order, and returns
// when all calls have. Any number of callers may be in it at once.
func Parallel(tasks int, f func(task int)) {
	workers := min(runtime.GOMAXPROCS(0), tasks)
	if workers <= 1 {
		for i := range tasks {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < tasks; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wait.Wait()
}
