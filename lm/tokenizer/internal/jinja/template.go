// Package jinja renders chat templates: the Jinja that transformers gives
// them, with trim_blocks and lstrip_blocks, loop controls, and a sandbox in
// which values cannot be changed.
//
// Templates come with downloaded checkpoints, so they are hostile until
// rendered: there is no way to a file, the network or Go from inside, and
// what one rendering may compute, produce and nest is bounded.
package jinja

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Template is a parsed template. It is immutable and safe for concurrent
// use.
type Template struct {
	body []statement
}

// Limits of templates; budget.go has those of what they compute.
const (
	maxSource  = 1 << 20 // bytes
	maxName    = 1 << 10 // bytes of a name in the source
	maxNesting = 200     // of expressions and blocks in the source, and of values
	maxCalls   = 200     // of macros in each other
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
// strftime_now tells. The error wraps that of the context where it ended first.
func (t *Template) Render(ctx context.Context, variables map[string]any, now time.Time) (text string, err error) {
	defer recoverFailure(&err)
	s := &state{budget: newBudget(ctx), now: now}
	s.look()
	s.out = s.builder()
	s.scope = &scope{vars: globals()}
	s.scope = s.scope.child()
	for name, value := range variables {
		s.scope.vars[name] = s.fromGo(value, 0)
	}
	s.scope = s.scope.child()
	s.run(t.body)
	return s.out.String(), nil
}

// ErrRaised is wrapped by the error of a template that calls
// raise_exception, which is how templates refuse conversations.
var ErrRaised = errors.New("the template refuses")

// state is one rendering.
type state struct {
	budget
	scope *scope
	out   *builder
	calls int // macros that are running
	now   time.Time
	// caller is what a call block hands to the call that comes next.
	caller any
}

func (s *state) builder() *builder { return &builder{budget: &s.budget} }

// scope holds variables. Loop bodies and macros have scopes of their own,
// conditions do not.
type scope struct {
	vars   map[string]any
	parent *scope
}

func (c *scope) child() *scope { return &scope{map[string]any{}, c} }

// variable is the value of a name.
func (s *state) variable(name string) any {
	for c := s.scope; c != nil; c = c.parent {
		s.spend(1)
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
	s.out = s.builder()
	defer func() { s.out = out }()
	s.run(body)
	return s.out.String()
}
