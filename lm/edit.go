package lm

import (
	"fmt"
	"sync/atomic"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/engine"
)

// Site is a place in a decoder block where activations are read and changed;
// with a 0-based layer it is the address of an activation.
type Site = arch.Site

// The sites, in the order in which a sequential block passes them; docs/sites.md
// draws them.
const (
	InputLayerNorm         = arch.InputLayerNorm
	AttnHeads              = arch.AttnHeads
	SelfAttn               = arch.SelfAttn
	ResidualMid            = arch.ResidualMid
	PostAttentionLayerNorm = arch.PostAttentionLayerNorm
	MLP                    = arch.MLPOutput
	DecoderBlock           = arch.DecoderBlock
)

// Address is where an activation is read or changed.
type Address struct {
	Layer int // 0-based
	Site  Site
}

func (a Address) String() string { return fmt.Sprintf("layer %d, %s", a.Layer, a.Site) }

// Edit changes the activations at one site of some layers while a sequence is
// computed: one steering vector at work. It is plain data; [Model.With] and
// [Model.Steering] check it against a model.
type Edit struct {
	Site     Site              // "": decoder_block
	Layers   map[int][]float32 // 0-based layer -> vector [rows, width of the site], rows as the operator asks; negative layers count from the last
	Operator Operator          // how the vector acts
	Tokens   Tokens            // nil: every token

	// Of the tokens that are selected, the edit changes those for which all of these
	// hold.
	Condition *Condition // nil: none
	Between   *Between   // nil: everywhere
	Decay     Decay
}

// Operator says how a vector acts on an activation: see [engine.Operator]. It is
// a value with parameters whose Name is its identity; [OperatorFunc] makes one of
// a plain function.
type Operator = engine.Operator

// OperatorFunc makes an operator of a pure function that writes into delta [width]
// what is to be added to an activation [width]; the vector is as the edit has it, and
// delta comes zeroed. Each call makes another operator: what was computed with
// one is not taken for what another computes, even where their names are equal.
func OperatorFunc(name string, f func(delta, activation, vector []float32)) Operator {
	return operatorFunc{fmt.Sprintf("%s#%d", name, operatorFuncs.Add(1)), f}
}

var operatorFuncs atomic.Int64

type operatorFunc struct {
	name  string
	delta func(delta, activation, vector []float32)
}

func (o operatorFunc) Name() string                                       { return o.name }
func (o operatorFunc) Prepare(vector []float32, _ int) ([]float32, error) { return vector, nil }
func (o operatorFunc) Delta(delta, activation, vector []float32)          { o.delta(delta, activation, vector) }

// Tokens selects tokens of a sequence by position.
type Tokens interface {
	// Selects reports whether the token at a position, counted from 0 at the
	// sequence's first token, is selected. prompt is the number of tokens of the
	// prompt; those of the answer have positions from there on. The answer must
	// depend on nothing else, so that a cached decode equals a full recompute.
	Selects(position, prompt int) bool

	// Check returns an error where the selection names tokens that a prompt of
	// this many tokens lacks.
	Check(prompt int) error
}
