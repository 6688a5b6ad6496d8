package serve

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/steervec/steer/lm"
)

// loop is the one owner of the batch: a goroutine that takes in who waits, steps,
// and tells what was written. It is never kept waiting by a client.
type loop struct {
	batch   *lm.Batch
	cached  *lm.Model
	metrics *metrics
	log     *slog.Logger
	running int // sequences at the same time
	waiting int // likewise
	open    []*choice
	ended   chan struct{}

	mu     sync.Mutex
	queue  []*choice // in the order of their coming
	places int       // taken by those that wait, or are on their way to the queue
	closed bool
	wake   chan struct{}
}

// choice is one text of a request, on its way through the loop.
type choice struct {
	ctx     context.Context
	in      lm.Input
	opts    lm.GenerateOptions
	changed chan<- struct{} // told when there is something new
	arrived time.Time

	sequence *lm.Sequence // the loop's, until the choice is done
	last     time.Time    // when a token came

	mu     sync.Mutex
	latest lm.Generation
	done   bool
	err    error
}

// state returns what is written so far, and whether that is all.
func (c *choice) state() (latest lm.Generation, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest, c.done
}

// failure says why a choice that is done has no whole text; nil where it has.
func (c *choice) failure() error {
	if c.err != nil || c.sequence == nil {
		return c.err
	}
	return c.sequence.Err() // which may compute, and does so here and not in the loop
}

// tell says what is written.
func (c *choice) tell(latest lm.Generation, done bool, err error) {
	c.mu.Lock()
	c.latest, c.done, c.err = latest, done, err
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default: // it is told already and has not looked
	}
}

func newLoop(ctx context.Context, cached *lm.Model, opts Options, m *metrics) (*loop, error) {
	batch, err := cached.NewBatch(lm.BatchOptions{RunTokens: opts.RunTokens, Slots: opts.Cache})
	if err != nil {
		return nil, err
	}
	l := &loop{
		batch: batch, cached: cached, metrics: m, log: opts.Log, running: opts.Running, waiting: opts.Waiting,
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	m.waits(l.waitingNow)
	go l.run(ctx, opts.Cache)
	return l, nil
}

// enter takes places for so many choices that come later, before anything is done
// for them. It reports whether there are as many.
func (l *loop) enter(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.places+n > l.waiting {
		return false
	}
	l.places += n
	return true
}

// full reports whether there is no place left.
func (l *loop) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed || l.places >= l.waiting
}

// leave gives places back.
func (l *loop) leave(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places -= n
}

func (l *loop) waitingNow() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.places
}

// submit queues choices, which have places.
func (l *loop) submit(choices []*choice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, choices...)
	if l.closed {
		l.turnAway()
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run steps as long as somebody writes.
func (l *loop) run(ctx context.Context, slots int) {
	defer close(l.ended)
	defer l.batch.Close()
	idle := true // and the memory was checked
	for ctx.Err() == nil {
		l.admit()
		if l.batch.Open() == 0 {
			if !idle {
				l.rest(slots)
				idle = true
			}
			select {
			case <-l.wake:
			case <-ctx.Done():
			}
			continue
		}
		idle = false
		before := l.batch.Usage()
		if err := l.batch.Step(ctx); err != nil && ctx.Err() == nil {
			l.fail(err)
		}
		l.report()
		l.metrics.stepped(l.batch, l.cached, slots, before)
	}
	l.fail(errEnding)
	l.close()
}

var errEnding = errors.New("the server is ending")

// admit takes from the queue in its order, as long as there is room for all that
// a text can grow to.
func (l *loop) admit() {
	for c := l.next(); c != nil; c = l.next() {
		var err error
		switch c.sequence, err = l.batch.Add(c.ctx, c.in, c.opts); {
		case errors.Is(err, lm.ErrFull):
			return
		case err != nil:
			c.tell(lm.Generation{}, true, &inputError{err})
		default:
			l.metrics.admitted(c)
			l.open = append(l.open, c)
		}
		l.mu.Lock()
		l.queue = l.queue[1:]
		l.places--
		l.mu.Unlock()
	}
}

// inputError is what the batch finds wrong with an input.
type inputError struct{ error }

// next returns the first in the queue, once those who have gone are out of it; nil
// where nobody is to be let in.
func (l *loop) next() *choice {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = slices.DeleteFunc(l.queue, func(c *choice) bool {
		if c.ctx.Err() == nil {
			return false
		}
		l.places--
		l.metrics.finished(lm.FinishCancelled, time.Since(c.arrived))
		c.tell(lm.Generation{}, true, c.ctx.Err())
		return true
	})
	if len(l.queue) == 0 || len(l.open) >= l.running {
		return nil
	}
	return l.queue[0]
}

// report tells what the last step wrote.
func (l *loop) report() {
	l.open = slices.DeleteFunc(l.open, func(c *choice) bool {
		g, done := c.sequence.Generation(), c.sequence.Done()
		if n := len(g.IDs) - len(c.latest.IDs); n > 0 {
			l.metrics.wrote(c, n)
		}
		if done {
			l.metrics.ended(c, g)
		}
		if done || len(g.IDs) > len(c.latest.IDs) {
			c.tell(g, done, nil)
		}
		return done
	})
}

// fail ends all who write.
func (l *loop) fail(err error) {
	for _, c := range l.open {
		l.batch.Remove(c.sequence)
		l.metrics.finished(lm.FinishError, time.Since(c.arrived))
		c.tell(c.sequence.Generation(), true, err)
	}
	l.open = l.open[:0]
}

// close turns away who waits and who still comes.
func (l *loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.turnAway()
}

func (l *loop) turnAway() {
	for _, c := range l.queue {
		c.tell(lm.Generation{}, true, errEnding)
	}
	l.places -= len(l.queue)
	l.queue = nil
}

// rest is for idle moments: the memory is checked.
func (l *loop) rest(slots int) {
	l.metrics.stepped(l.batch, l.cached, slots, l.batch.Usage())
	if err := l.cached.CheckCache(); err != nil {
		l.metrics.broken.Inc()
		l.log.Error("the cache contradicts itself", "error", err)
	}
}
