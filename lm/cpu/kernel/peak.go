package kernel

import (
	"math"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

// Peak is what the machine does at most at the moment, on all workers
// together, as the active instruction set measures it. What the plain Go set
// cannot measure is 0.
type Peak struct {
	Multiply float64 // float32 operations per second in fused multiply-adds
	Pairs    float64 // bfloat16 operations per second in dot products of pairs; 0: no such instruction
	Read     float64 // bytes per second read from memory, one after the other
}

// Products returns the peak that bounds products of the given precision.
func (p Peak) Products(precision Precision) float64 {
	if precision == BF16 && p.Pairs > 0 {
		return p.Pairs
	}
	return p.Multiply
}

// MeasurePeak takes about as long as it is told for each figure.
func MeasurePeak(each time.Duration) Peak {
	var p Peak
	lanes := active.lanes
	if f := active.multiplyPeak; f != nil {
		p.Multiply = rate(each, func() float64 { f(1 << 15); return 12 * 2 * float64(lanes) * (1 << 15) })
	}
	if f := active.pairPeak; f != nil {
		p.Pairs = rate(each, func() float64 { f(1 << 15); return 12 * 4 * float64(lanes) * (1 << 15) })
	}
	if f := active.read; f != nil {
		p.Read = readRate(each, f)
	}
	return p
}

// rate runs f on every worker again and again; f returns how much it did.
func rate(each time.Duration, f func() float64) float64 {
	best := 0.0
	for range 5 {
		workers := runtime.GOMAXPROCS(0)
		done := make([]float64, workers)
		start := time.Now()
		var group sync.WaitGroup
		for w := range workers {
			group.Go(func() {
				for time.Since(start) < each/5 {
					done[w] += f()
				}
			})
		}
		group.Wait()
		total := 0.0
		for _, d := range done {
			total += d
		}
		best = math.Max(best, total/time.Since(start).Seconds())
	}
	return best
}

// readRate reads memory of which no cache holds much, in the pieces in which
// products read weights.
func readRate(each time.Duration, read func(x *byte, n int)) float64 {
	const size, piece = 512 << 20, 256 << 10
	memory := make([]uint64, size/8)
	for i := 0; i < len(memory); i += 512 {
		memory[i] = 1 // a page of its own, not the system's page of zeros
	}
	best := 0.0
	for start := time.Now(); time.Since(start) < each; {
		begin := time.Now()
		Parallel(size/piece, func(task int) {
			read((*byte)(unsafe.Pointer(&memory[task*piece/8])), piece)
		})
		best = math.Max(best, size/time.Since(begin).Seconds())
	}
	return best
}
