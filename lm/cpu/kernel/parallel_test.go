package kernel

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestParallelCallsEachTaskOnce(t *testing.T) {
	for _, tasks := range []int{-1, 0, 1, 2, 3, 17, 1000} {
		counts := make([]atomic.Int32, max(tasks, 0))
		Parallel(tasks, func(i int) { counts[i].Add(1) })
		for i := range counts {
			if n := counts[i].Load(); n != 1 {
				t.Errorf("task %d of %d ran %d times", i, tasks, n)
			}
		}
	}
}

func TestParallelManyCallersAtOnce(t *testing.T) {
	var wait sync.WaitGroup
	for caller := range 40 { // more than there are jobs
		wait.Go(func() {
			for round := range 100 {
				tasks := 1 + (caller+round)%7
				sums := make([]int, tasks) // written by the tasks without atomics: the race detector watches
				Parallel(tasks, func(i int) { sums[i] += caller + i })
				for i, s := range sums {
					if s != caller+i {
						t.Errorf("caller %d task %d: got %d", caller, i, s)
					}
				}
			}
		})
	}
	wait.Wait()
}

func TestParallelNests(t *testing.T) {
	var n atomic.Int32
	Parallel(9, func(int) {
		Parallel(9, func(int) {
			Parallel(3, func(int) { n.Add(1) })
		})
	})
	if n.Load() != 9*9*3 {
		t.Errorf("got %d calls", n.Load())
	}
}

func TestParallelFollowsGOMAXPROCS(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, procs := range []int{1, 2, 5, 3, 1, 4} {
		runtime.GOMAXPROCS(procs)
		var running, most atomic.Int32
		for range 20 {
			Parallel(8*procs, func(int) {
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(50 * time.Microsecond)
				running.Add(-1)
			})
		}
		if int(most.Load()) > procs {
			t.Errorf("GOMAXPROCS %d: %d tasks at once", procs, most.Load())
		}
		if most.Load() == 1 && procs > 1 {
			t.Errorf("GOMAXPROCS %d: never two tasks at once", procs)
		}
	}
}

func TestParallelPassesPanicsOn(t *testing.T) {
	for _, culprit := range []int{0, 50, 99} {
		func() {
			defer func() {
				if got, want := recover(), fmt.Sprint("task ", culprit); got != want {
					t.Errorf("recovered %v, want %v", got, want)
				}
			}()
			Parallel(100, func(i int) {
				if i == culprit {
					panic(fmt.Sprint("task ", i))
				}
			})
		}()
	}
	TestParallelCallsEachTaskOnce(t) // the workers are still there
}

func TestParallelSurvivesGoexit(t *testing.T) {
	for range 20 {
		done := make(chan any)
		go func() {
			defer func() { done <- recover() }()
			Parallel(8, func(int) {
				time.Sleep(10 * time.Microsecond)
				runtime.Goexit()
			})
		}()
		if value := <-done; value != errExit {
			t.Fatalf("recovered %v, want %v", value, errExit)
		}
	}
	TestParallelCallsEachTaskOnce(t)
}

func TestParallelDoesNotAllocate(t *testing.T) {
	var n atomic.Int64
	f := func(int) { n.Add(1) }
	if allocs := testing.AllocsPerRun(100, func() { Parallel(8, f) }); allocs >= 1 {
		t.Errorf("%v allocations per call", allocs)
	}
}

func BenchmarkParallel(b *testing.B) {
	for _, work := range []time.Duration{0, 3 * time.Microsecond, 16 * time.Microsecond, 300 * time.Microsecond} {
		b.Run(work.String(), func(b *testing.B) {
			const tasks = 8
			spinFor := func(d time.Duration) {
				for start := time.Now(); time.Since(start) < d; {
				}
			}
			for b.Loop() {
				Parallel(tasks, func(int) {
					if work > 0 {
						spinFor(work / tasks)
					}
				})
			}
			if work > 0 {
				b.ReportMetric(float64(work)*float64(b.N)/float64(b.Elapsed()), "speed-up")
			}
		})
	}
}
