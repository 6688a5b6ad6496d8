// Package jinja renders chat templates: the Jinja that transformers gives
// them, with trim_blocks and lstrip_blocks, loop controls, and a sandbox in
// which values cannot be changed.
//
// Templates come with downloaded checkpoints, so they are hostile until
// rendered: there is no way to a file, the network or Go from inside, and
// what one rendering may compute, produce and nest is bounded.
package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Template is a parsed template. It is immutable and safe for concurrent
// use.
type Template struct {
	body []statement
}

// Limits of templates.
const (
	maxSource  = 1 << 20 // bytes
	maxNesting = 200     // of expressions and blocks in the source, and of values
	maxCalls   = 200     // of macros in each other
	maxWork    = 1 << 24 // operations and the items that they handle
	maxText    = 1 << 26 // bytes of one string
	maxRange   = 100_000 // items of range(), as in Jinja's sandbox
)

// Parse reads the source of a template.
func Parse(source string) (t *Template, err error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("the template of %d bytes is over %d bytes", len(source), maxSource)
	}
	defer recoverFailure(&err)
	tokens := lex(source)
	p := &parser{tokens: tokens}
	body := p.body()
	if p.peek().kind != tokenEnd {
		p.fail("unexpected %s", p.peek())
	}
	return &Template{body}, nil
}

// Render renders the template with variables as encoding/json makes them:
// nil, bool, numbers (ints included), string, []any, map[string]any, and
// json.RawMessage, whose objects keep the order of their keys. now is what
// strftime_now tells.
func (t *Template) Render(variables map[string]any, now time.Time) (text string, err error) {
	defer recoverFailure(&err)
	s := &state{work: maxWork, now: now, out: &strings.Builder{}}
	s.scope = &scope{vars: globals()}
	s.scope = s.scope.child()
	for name, value := range variables {
		s.scope.vars[name] = fromGo(value, 0)
	}
	s.scope = s.scope.child()
	s.run(t.body)
	return s.out.String(), nil
}

// failure is an error on its way up from deep inside of an expression. It
// travels as a panic, which Parse and Render turn into their error, so that
// expressions can be written as expressions.
type failure struct{ error }

func fail(format string, values ...any) {
	panic(failure{fmt.Errorf(format, values...)})
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

// ErrRaised is wrapped by the error of a template that calls
// raise_exception, which is how templates refuse conversations.
var ErrRaised = errors.New("the template refuses")

// state is one rendering.
type state struct {
	scope *scope
	out   *strings.Builder
	work  int // what may still be done
	calls int // macros that are running
	now   time.Time
	// caller is what a call block hands to the call that comes next.
	caller any
}

// spend counts n units of work.
func (s *state) spend(n int) {
	if s.work -= n; s.work < 0 || n < 0 {
		fail("the template computes too much")
	}
}

// handle counts the work of an operation on a text of n bytes: copying is
// cheap.
func (s *state) handle(n int) {
	if n > maxText {
		fail("a text of %d bytes is over %d bytes", n, maxText)
	}
	s.spend(1 + n/32)
}

// scope holds variables. Loop bodies and macros have scopes of their own,
// conditions do not.
type scope struct {
	vars   map[string]any
	parent *scope
}

func (c *scope) child() *scope { return &scope{map[string]any{}, c} }

func (c *scope) get(name string) any {
	for ; c != nil; c = c.parent {
		if value, ok := c.vars[name]; ok {
			return value
		}
	}
	return undefined{name}
}

// signal is how a statement ends.
type signal int

const (
	next signal = iota
	leaveLoop
	nextIteration
)

// statement is an executable piece of a template.
type statement func(s *state) signal

// expression computes a value.
type expression func(s *state) any

func (s *state) run(body []statement) signal {
	for _, statement := range body {
		s.spend(1)
		if end := statement(s); end != next {
			return end
		}
	}
	return next
}

// capture runs a body and returns its text.
func (s *state) capture(body []statement) string {
	out := s.out
	s.out = &strings.Builder{}
	defer func() { s.out = out }()
	s.run(body)
	return s.out.String()
}
