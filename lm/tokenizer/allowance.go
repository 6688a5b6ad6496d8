package tokenizer

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Files of tokenizers come with downloads. What they may make of a text is
// bounded: each stage by what the text may grow to, all searches together by
// time.
const (
	// The most that grows in earnest is one ligature, of 3 bytes, to the 33 that
	// NFKD makes of it and some spaces that become "▁".
	mostGrowth = 16       // times the text
	someGrowth = 64 << 10 // bytes besides, for what is put before a text
)

// searchTime bounds the searches for patterns in one text, and searchTimePerByte
// is added for long ones: a hostile pattern may backtrack without end. A variable,
// because tests have less.
var searchTime = 10 * time.Second

const searchTimePerByte = time.Microsecond

// allowance is what a text may still grow to, and the clock of its searches.
type allowance struct {
	length int // of the text, in bytes
	left   int // bytes that may still be made of it
	clock  *clock
}

func newAllowance(length int) *allowance {
	return &allowance{length, mostGrowth*length + someGrowth, &clock{limit: searchTime + time.Duration(length)*searchTimePerByte}}
}

// stage returns the allowance of one stage, which makes the whole text anew.
func (a *allowance) stage() *allowance {
	copied := *a
	return &copied
}

// take counts n bytes that a stage makes; call it before they are made where n
// is known.
func (a *allowance) take(n int) error {
	if a.left -= n; a.left < 0 || n < 0 {
		return fmt.Errorf("a text of %d bytes would become more than %d", a.length, mostGrowth*a.length+someGrowth)
	}
	return nil
}

// taken is take for a text that was made, of a size that depends on the old one
// alone.
func (a *allowance) taken(t text) (text, error) { return t, a.take(len(t.s)) }

// clock ends searches that take too long together. It runs from the first one.
type clock struct {
	limit time.Duration
	timer *time.Timer // nil: it does not run yet
	over  atomic.Bool
}

func (c *clock) start() {
	if c.timer == nil {
		c.timer = time.AfterFunc(c.limit, func() { c.over.Store(true) })
	}
}

func (c *clock) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

var errSearchTime = errors.New("searches for patterns take too long")
