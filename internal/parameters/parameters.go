// Package parameters reads and writes what has a name and perhaps parameters:
// NAME or NAME:KEY=VALUE,KEY=VALUE.
package parameters

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Set is what follows a name. Who reads a parameter takes it out; what is left is
// unknown. The first mistake is kept for [Set.End].
type Set struct {
	values map[string]string
	err    error
}

// Parse parts a text into the name and its parameters.
func Parse(text string) (name string, p *Set, err error) {
	p = &Set{values: map[string]string{}}
	name, rest, more := strings.Cut(text, ":")
	if !more {
		return name, p, nil
	}
	for field := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(field, "=")
		if _, twice := p.values[key]; twice || !ok {
			return name, p, fmt.Errorf("%q is not one KEY=VALUE", field)
		}
		p.values[key] = value
	}
	return name, p, nil
}

// Has reports whether a parameter is given and was not read yet.
func (p *Set) Has(key string) bool {
	_, ok := p.values[key]
	return ok
}

// Number returns a finite number, or otherwise where it is not given.
func (p *Set) Number(key string, otherwise float64) float64 {
	text, ok := p.take(key)
	if !ok {
		return otherwise
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		p.fail("%s=%s is not a number", key, text)
	}
	return x
}

// Needed is Number for a parameter that must be given.
func (p *Set) Needed(key string) float64 {
	if !p.Has(key) {
		p.fail("%s is missing", key)
	}
	return p.Number(key, 0)
}

// Positive is Number for one above zero.
func (p *Set) Positive(key string, otherwise float64) float64 {
	given := p.Has(key)
	x := p.Number(key, otherwise)
	if given && !(x > 0) {
		p.fail("%s=%g is not above zero", key, x)
	}
	return x
}

// Count returns a whole number from 1 on, or otherwise where it is not given.
func (p *Set) Count(key string, otherwise int) int {
	text, ok := p.take(key)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > math.MaxInt32 {
		p.fail("%s=%s is not a whole number from 1 on", key, text)
	}
	return n
}

// Flag reports whether a parameter is given that has one value only.
func (p *Set) Flag(key, value string) bool { return p.Choice(key, value) != "" }

// Choice returns one of some words, or "" where it is not given.
func (p *Set) Choice(key string, words ...string) string {
	text, ok := p.take(key)
	if ok && !slices.Contains(words, text) {
		p.fail("%s=%s is unknown; it can be %s", key, text, strings.Join(words, ", "))
	}
	return text
}

// End returns the first mistake: also a parameter that nobody has read.
func (p *Set) End() error {
	for key := range p.values {
		p.fail("there is no parameter %q", key)
	}
	return p.err
}

func (p *Set) take(key string) (string, bool) {
	text, ok := p.values[key]
	delete(p.values, key)
	return text, ok
}

func (p *Set) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// Name writes a name with parameters, KEY=VALUE each; empty ones are left out.
func Name(name string, parameters ...string) string {
	separator := ":"
	for _, p := range parameters {
		if p != "" {
			name += separator + p
			separator = ","
		}
	}
	return name
}

// Pair writes a parameter, and "" where it is what holds without it.
func Pair[T comparable](key string, value, otherwise T) string {
	if value == otherwise {
		return ""
	}
	return fmt.Sprintf("%s=%v", key, value)
}
