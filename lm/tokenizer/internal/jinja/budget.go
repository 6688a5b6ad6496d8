package jinja

import (
	"context"
	"fmt"
	"math"
	"strings"
)

// A rendering has a budget of work and one of memory. Every operation draws on
// them before it begins, by the bytes that it looks at and the bytes that it
// makes, so that what it costs is known whatever the values are. Memory is
// counted when it is made and never given back: what lives at once is less.
const (
	maxWork   = 1 << 24   // units of some ten nanoseconds
	maxMemory = 256 << 20 // bytes
	maxText   = 1 << 26   // bytes of one string

	bytesPerUnit  = 32 // that are copied, compared or counted
	walkedPerUnit = 8  // bytes that are looked at character by character

	// What values take in memory, in bytes.
	itemSize    = 24  // an item of a list
	textSize    = 48  // an item that is a string, its bytes apart
	entrySize   = 128 // an entry of a dictionary
	closureSize = 1 << 10

	lookUpEvery = 1 << 14 // units, until the context is asked
)

// budget is what a rendering may still use.
type budget struct {
	ctx          context.Context
	work, memory int
	asked        int // work that was left when the context was asked last
}

func newBudget(ctx context.Context) budget {
	return budget{ctx, maxWork, maxMemory, maxWork}
}

// spend counts n units of work.
func (b *budget) spend(n int) {
	if b.work -= n; b.work < 0 || n < 0 {
		fail("the template computes too much")
	}
	if b.asked-b.work > lookUpEvery {
		b.look()
	}
}

// look ends the rendering where its context has ended.
func (b *budget) look() {
	b.asked = b.work
	if b.ctx.Err() != nil {
		panic(failure{context.Cause(b.ctx)})
	}
}

// read counts an operation that looks at n bytes.
func (b *budget) read(n int) { b.spend(1 + n/bytesPerUnit) }

// walk counts an operation that looks at n bytes character by character.
func (b *budget) walk(n int) { b.spend(1 + n/walkedPerUnit) }

// hold counts n bytes that are made.
func (b *budget) hold(n int) {
	if b.memory -= n; b.memory < 0 || n < 0 {
		fail("the template needs more than %d bytes of memory", maxMemory)
	}
	b.read(n)
}

// text counts a string of n bytes that is made.
func (b *budget) text(n int) {
	if n > maxText {
		fail("a text of %d bytes is over %d bytes", n, maxText)
	}
	b.hold(n)
}

// list counts a list of n items that is made.
func (b *budget) list(n int) { b.hold(product(n, itemSize)) }

// search counts looking for part in text. Searching for long parts can be made
// to take time in proportion to both lengths.
func (b *budget) search(text, part string) {
	b.read(len(text))
	const short = 64
	if len(part) > short {
		b.read(product(len(text)/short, int64(len(part))))
	}
}

// builder makes a string piece by piece.
type builder struct {
	budget *budget
	out    strings.Builder
}

func (b *builder) put(text string) {
	if b.out.Len()+len(text) > maxText {
		fail("a text is over %d bytes", maxText)
	}
	b.budget.hold(len(text))
	b.out.WriteString(text)
}

func (b *builder) String() string { return b.out.String() }

// product is size times n, or more than any limit where that is too large.
func product(size int, n int64) int {
	if n <= 0 || size == 0 {
		return 0
	}
	if n > math.MaxInt32 || size > math.MaxInt32 {
		return math.MaxInt
	}
	return size * int(n)
}

// failure is an error on its way up from deep inside of an expression. It
// travels as a panic, which Parse and Render turn into their error, so that
// expressions can be written as expressions.
type failure struct{ error }

// fail ends parsing or rendering. Texts among the values come from templates
// and are cut short.
func fail(format string, values ...any) {
	for i, value := range values {
		if text, ok := value.(string); ok {
			values[i] = shortened(text, 200)
		}
	}
	panic(failure{fmt.Errorf(format, values...)})
}

func shortened(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func recoverFailure(err *error) {
	switch r := recover().(type) {
	case nil:
	case failure:
		*err = r.error
	default:
		*err = fmt.Errorf("the template broke its interpreter: %v", r)
	}
}
