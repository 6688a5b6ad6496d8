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
	"slices"
	"strings"

	"github.com/steervec/steer/internal/parameters"
	"github.com/steervec/steer/lm/engine"
)

// kind is a sort of operators as they are written.
type kind struct {
	usage string // NAME or NAME:KEY=VALUE,…, parameters that may be left out in brackets
	parse func(p *parameters.Set) engine.Operator
}

// name returns what stands before the parameters.
func (k kind) name() string { return k.usage[:strings.IndexAny(k.usage+":", ":[")] }

// kinds are all operators, in the order in which they are listed.
var kinds = []kind{
	{"add", func(*parameters.Set) engine.Operator { return Add() }},
	{"add-same-norm[:only=grown]", func(p *parameters.Set) engine.Operator { return AddSameNorm(p.Flag("only", "grown")) }},
	{"add-nearest", func(*parameters.Set) engine.Operator { return AddNearest() }},
	{"ablate[:share=0…1]", func(p *parameters.Set) engine.Operator { return Ablate(p.Number("share", 1)) }},
	{"ablate-then-add", func(*parameters.Set) engine.Operator { return AblateThenAdd() }},
	{"ablate-positive[:share=0…1]", func(p *parameters.Set) engine.Operator { return AblatePositive(p.Number("share", 1)) }},
	{"clamp:at=N or floor=N,ceiling=N", parseClamp},
	{"rotate:by=DEGREES or to=DEGREES[,only=positive]", parseRotate},
	{"slerp:share=0…1", func(p *parameters.Set) engine.Operator { return Slerp(p.Needed("share")) }},
	{"multiply:by=N", func(p *parameters.Set) engine.Operator { return Multiply(p.Needed("by")) }},
	{"affine", func(*parameters.Set) engine.Operator { return Affine() }},
	{"transport", func(*parameters.Set) engine.Operator { return Transport() }},
	{"leace", func(*parameters.Set) engine.Operator { return LEACE() }},
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
	name, p, err := parameters.Parse(text)
	at := slices.IndexFunc(kinds, func(k kind) bool { return k.name() == name })
	if at < 0 {
		return nil, fmt.Errorf("unknown operator %q: it is one of %s", name, strings.Join(names(), ", "))
	}
	var operator engine.Operator
	if err == nil {
		operator = kinds[at].parse(p)
		err = p.End()
	}
	if err != nil {
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

// prepareShare makes what an operator of a share needs of its rows; a share of 0
// changes nothing, whatever the rows are.
func prepareShare(share float64, vector []float32, width int, rows func(vector []float32, width int) ([]float32, error)) ([]float32, error) {
	if err := checkShare(share); err != nil {
		return nil, err
	}
	prepared, err := rows(vector, width)
	if share == 0 {
		return nil, err
	}
	return prepared, err
}

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
