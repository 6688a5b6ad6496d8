// Package operators holds the ways in which vectors act on activations: what
// docs/operators.md tabulates, one file each.
//
// An operator is a small value that [engine.Operator] describes. At a layer it has
// a vector of one or several rows, [rows, width]; what the rows are is said at
// each. Below, h is the activation, v a row and v̂ = v/‖v‖. Sums over a row are
// float64: a dot product over a few thousand float32 terms would lose the digits
// by which an ablation is to reach zero.
package operators

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/engine"
)

// kind is a sort of operators as they are written.
type kind struct {
	usage string // NAME or NAME:KEY=VALUE,…, parameters that may be left out in brackets
	parse func(p *parameters) engine.Operator
}

// name returns what stands before the parameters.
func (k kind) name() string { return k.usage[:strings.IndexAny(k.usage+":", ":[")] }

// kinds are all operators, in the order in which they are listed.
var kinds = []kind{
	{"add", func(*parameters) engine.Operator { return Add() }},
	{"add-same-norm[:only=grown]", func(p *parameters) engine.Operator { return AddSameNorm(p.flag("only", "grown")) }},
	{"ablate[:share=0…1]", func(p *parameters) engine.Operator { return Ablate(p.number("share", 1)) }},
	{"ablate-then-add", func(*parameters) engine.Operator { return AblateThenAdd() }},
	{"ablate-positive[:share=0…1]", func(p *parameters) engine.Operator { return AblatePositive(p.number("share", 1)) }},
	{"clamp:at=N or floor=N,ceiling=N", parseClamp},
	{"rotate:by=DEGREES or to=DEGREES[,only=positive]", parseRotate},
	{"slerp:share=0…1", func(p *parameters) engine.Operator { return Slerp(p.needed("share")) }},
	{"multiply:by=N", func(p *parameters) engine.Operator { return Multiply(p.needed("by")) }},
	{"affine", func(*parameters) engine.Operator { return Affine() }},
	{"transport", func(*parameters) engine.Operator { return Transport() }},
	{"leace", func(*parameters) engine.Operator { return LEACE() }},
}

// names returns the operators' names.
func names() []string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.name())
	}
	return all
}

// Syntax says how each operator is written, with what may follow its name.
func Syntax() string {
	var usage []string
	for _, k := range kinds {
		usage = append(usage, k.usage)
	}
	return strings.Join(usage, "; ")
}

// Parse reads an operator as its Name is: NAME or NAME:KEY=VALUE,KEY=VALUE. What it
// does not know, and numbers out of range, are errors.
func Parse(text string) (engine.Operator, error) {
	name, rest, more := strings.Cut(text, ":")
	at := slices.IndexFunc(kinds, func(k kind) bool { return k.name() == name })
	if at < 0 {
		return nil, fmt.Errorf("unknown operator %q: it is one of %s", name, strings.Join(names(), ", "))
	}
	p := &parameters{values: map[string]string{}}
	if more {
		for field := range strings.SplitSeq(rest, ",") {
			key, value, ok := strings.Cut(field, "=")
			if _, twice := p.values[key]; twice || !ok {
				return nil, fmt.Errorf("operator %q: %q is not one KEY=VALUE; it is written %s", text, field, kinds[at].usage)
			}
			p.values[key] = value
		}
	}
	operator := kinds[at].parse(p)
	if err := p.end(); err != nil {
		return nil, fmt.Errorf("operator %q: %w; it is written %s", text, err, kinds[at].usage)
	}
	if limited, ok := operator.(limited); ok {
		if err := limited.valid(); err != nil {
			return nil, fmt.Errorf("operator %q: %w", text, err)
		}
	}
	return operator, nil
}

// limited is an operator whose parameters can be out of range.
type limited interface{ valid() error }

// parameters are what follows an operator's name. Who reads them takes them out;
// what is left is unknown. The first mistake is kept.
type parameters struct {
	values map[string]string
	err    error
}

// has reports whether a parameter is given.
func (p *parameters) has(key string) bool {
	_, ok := p.values[key]
	return ok
}

// number returns a parameter, or otherwise where it is not given.
func (p *parameters) number(key string, otherwise float64) float64 {
	text, ok := p.values[key]
	if !ok {
		return otherwise
	}
	delete(p.values, key)
	x, err := strconv.ParseFloat(text, 64)
	if (err != nil || math.IsNaN(x) || math.IsInf(x, 0)) && p.err == nil {
		p.err = fmt.Errorf("%s=%s is not a number", key, text)
	}
	return x
}

// needed returns a parameter that must be given.
func (p *parameters) needed(key string) float64 {
	if !p.has(key) && p.err == nil {
		p.err = fmt.Errorf("%s is missing", key)
	}
	return p.number(key, 0)
}

// flag reports whether a parameter that has one value only is given.
func (p *parameters) flag(key, value string) bool {
	text, ok := p.values[key]
	delete(p.values, key)
	if ok && text != value && p.err == nil {
		p.err = fmt.Errorf("%s=%s is unknown", key, text)
	}
	return ok
}

func (p *parameters) end() error {
	for key := range p.values {
		if p.err == nil {
			p.err = fmt.Errorf("there is no parameter %q", key)
		}
	}
	return p.err
}

// named writes an operator's name with parameters, KEY=VALUE each; empty ones are
// left out.
func named(name string, parameters ...string) string {
	separator := ":"
	for _, p := range parameters {
		if p != "" {
			name += separator + p
			separator = ","
		}
	}
	return name
}

// parameter writes a number, and "" where it is what holds without it.
func parameter(key string, x, otherwise float64) string {
	if x == otherwise {
		return ""
	}
	return key + "=" + strconv.FormatFloat(x, 'g', -1, 64)
}

// checkShare returns an error where a share is not from 0 to 1.
func checkShare(share float64) error {
	if !(0 <= share && share <= 1) {
		return fmt.Errorf("the share %v is not from 0 to 1", share)
	}
	return nil
}

// Blend returns, for an operator that maps activations ([Affine], [Transport],
// [LEACE]), the vector that goes so much of the way: 1 is all of it and 0 nothing.
// For others, whose vectors are directions to be multiplied, maps is false.
func Blend(o engine.Operator, vector []float32, width int, by float64) (blended []float32, maps bool) {
	m, maps := o.(mapping)
	if !maps {
		return nil, false
	}
	out := slices.Clone(vector)
	if len(out) >= width {
		m.blend(out, width, by)
	}
	return out, true
}

// mapping is an operator whose vector is a map. blend changes its rows so that the
// delta is multiplied.
type mapping interface {
	blend(rows []float32, width int, by float64)
}

// Adds reports whether an operator adds the vector itself, so that its length is
// how far activations move.
func Adds(o engine.Operator) bool {
	switch o.(type) {
	case add, addSameNorm, ablateThenAdd:
		return true
	}
	return false
}

var errZero = errors.New("it is zero: it has no direction")

// needRows returns an error where a vector has not so many rows.
func needRows(vector []float32, width, rows int, what string) error {
	if len(vector) != rows*width {
		return fmt.Errorf("it has %s; the operator needs %d: %s", counted(vector, width), rows, what)
	}
	return nil
}

func counted(vector []float32, width int) string {
	if width <= 0 || len(vector)%width != 0 {
		return fmt.Sprintf("%d elements, for a width of %d", len(vector), width)
	}
	if len(vector) == width {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", len(vector)/width)
}
