package kernel

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Parallel calls f(0) … f(tasks-1) on the workers, in any order, and returns
// when all calls have. Any number of callers may be in it at once, and f may
// call it again. A panic in f reaches the caller, after which calls that had not
// begun are left out.
//
// The workers are goroutines that persist: GOMAXPROCS of them, the caller
// included, also when that changes while the program runs.
func Parallel(tasks int, f func(task int)) { parallel(tasks, taskFunc(f)) }

// work is what the workers share out; kernels that keep their arguments in a
// pooled struct implement it, so that a call allocates nothing.
type work interface{ do(task int) }

type taskFunc func(task int)

func (f taskFunc) do(task int) { f(task) }

func parallel(tasks int, w work) {
	if tasks > 1 {
		if helpers := team.resize(runtime.GOMAXPROCS(0) - 1); helpers > 0 {
			if j := team.post(tasks, w); j != nil {
				defer j.finish()
				j.help()
				return
			}
		}
	}
	for task := range tasks {
		w.do(task)
	}
}

// A job is one call of parallel while it runs. What is waited for is that all
// its tasks are done, not that all workers have seen it: a worker that the
// system does not let run at the moment holds nothing up.
//
// Jobs are used again and again, while a slow worker may still look at an
// earlier use. That is safe because a worker touches nothing of a job before it
// has taken a task from open, which is negative or zero until the next use is
// complete, and because a use ends only when all taken tasks are done.
type job struct {
	taken   atomic.Bool // by a caller
	work    work
	tasks   int
	failure atomic.Pointer[failure]
	sleeps  atomic.Bool   // the caller waits for finished
	woken   chan struct{} // capacity 1
	_       [64]byte      // the counters live in cache lines of their own
	open    atomic.Int64  // tasks that nobody has taken; at most 0 when there are none
	_       [56]byte
	done    atomic.Int64 // tasks that have returned
	_       [56]byte
}

type failure struct{ value any }

var errExit = errors.New("kernel: a parallel task called runtime.Goexit")

// help runs tasks of the job until none is left to take.
func (j *job) help() {
	for !j.drain() {
	}
}

// drain is help up to the first task that panics.
func (j *job) drain() (empty bool) {
	var mine, tasks int
	defer func() {
		if !empty {
			value := recover()
			if value == nil {
				value = errExit
			}
			j.failure.CompareAndSwap(nil, &failure{value})
		}
		if mine > 0 && int(j.done.Add(int64(mine))) == tasks && j.sleeps.Load() {
			select {
			case j.woken <- struct{}{}:
			default:
			}
		}
	}()
	for {
		left := int(j.open.Add(-1))
		if left < 0 {
			return true
		}
		tasks = j.tasks
		mine++
		if j.failure.Load() == nil {
			j.work.do(tasks - 1 - left)
		}
	}
}

// finish waits for the tasks that others have taken, frees the job and passes
// a panic on.
func (j *job) finish() {
	j.help() // there are tasks left only when the caller's own ended its goroutine
	complete := func() bool { return int(j.done.Load()) == j.tasks }
	if !spin(complete) {
		j.sleeps.Store(true)
		for !complete() {
			<-j.woken
		}
		j.sleeps.Store(false)
	}
	failed := j.failure.Load()
	j.work = nil
	j.failure.Store(nil)
	j.taken.Store(false)
	if failed != nil {
		panic(failed.value)
	}
}

// crew is the workers and the jobs that they look at.
type crew struct {
	jobs    [16]job // more callers than this at a time work alone
	active  atomic.Int32
	workers atomic.Pointer[[]*worker]
	growing sync.Mutex
}

var team = func() *crew {
	c := new(crew)
	for i := range c.jobs {
		c.jobs[i].woken = make(chan struct{}, 1)
	}
	c.workers.Store(new([]*worker))
	return c
}()

// resize sets how many workers help callers, starting those that are missing.
func (c *crew) resize(helpers int) int {
	if int(c.active.Load()) == helpers {
		return helpers
	}
	c.growing.Lock()
	defer c.growing.Unlock()
	all := *c.workers.Load()
	for len(all) < helpers {
		w := &worker{crew: c, number: len(all), wake: make(chan struct{}, 1)}
		all = append(all[:len(all):len(all)], w)
		go w.run()
	}
	c.workers.Store(&all)
	c.active.Store(int32(helpers))
	return helpers
}

// post offers a job to the workers; nil when too many callers have one.
func (c *crew) post(tasks int, w work) *job {
	for i := range c.jobs {
		j := &c.jobs[i]
		if j.taken.Load() || !j.taken.CompareAndSwap(false, true) {
			continue
		}
		j.work, j.tasks = w, tasks
		j.done.Store(0)
		j.open.Store(int64(tasks))
		workers := *c.workers.Load()
		for _, w := range workers[:min(len(workers), int(c.active.Load()), tasks-1)] {
			if w.parked.Load() && w.parked.CompareAndSwap(true, false) {
				w.wake <- struct{}{}
			}
		}
		return j
	}
	return nil
}

// A worker looks for jobs, and parks when it has found none for a while.
type worker struct {
	crew   *crew
	number int
	parked atomic.Bool
	wake   chan struct{} // capacity 1: who sets parked to false sends
}

func (w *worker) run() {
	defer func() { go w.run() }() // reached only when a task ended the goroutine
	for {
		if j := w.find(); j != nil {
			j.help()
		} else if !spin(func() bool { return w.find() != nil }) {
			w.parked.Store(true)
			// A job that was posted before parked was set would not wake us.
			if w.find() != nil && w.parked.CompareAndSwap(true, false) {
				continue
			}
			<-w.wake
		}
	}
}

// find returns a job with open tasks, nil if there is none for this worker.
func (w *worker) find() *job {
	if w.number >= int(w.crew.active.Load()) {
		return nil
	}
	for i := range w.crew.jobs {
		if j := &w.crew.jobs[i]; j.open.Load() > 0 {
			return j
		}
	}
	return nil
}

// spinTime is how long a worker stays hot after its last job: longer than the
// serial steps between two products, shorter than anybody minds. Waking a
// parked worker costs some 10 microseconds.
const spinTime = 200 * time.Microsecond

// spin waits for a condition without sleeping, for spinTime at most, and
// returns whether it came true. It lets other goroutines and, more important
// when the machine is shared, other processes run meanwhile.
func spin(condition func() bool) bool {
	var since time.Time
	for round := 0; ; round++ {
		for range 32 {
			if condition() {
				return true
			}
			pause()
		}
		yield()
		if round%4 == 3 {
			runtime.Gosched()
			if since.IsZero() {
				since = time.Now()
			} else if time.Since(since) > spinTime {
				return condition()
			}
		}
	}
}
