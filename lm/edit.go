package lm

import "github.com/steervec/steer/lm/arch"

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

// Edit changes the activations at one site of some layers while a sequence is
// computed: one steering vector at work.
type Edit struct {
	Site     Site
	Layers   map[int][]float32 // 0-based layer -> vector [width of the site]; negative layers count from the last
	Operator Operator          // nil: the vector is added
	Tokens   Tokens            // nil: every token
}

// Operator writes into delta what is to be added to one activation. All three
// have the width of the site; delta comes zeroed. It must be a pure function:
// many goroutines call it.
type Operator func(delta, activation, vector []float32)

// Tokens selects tokens of a sequence by position.
type Tokens interface {
	// Selects reports whether the token at a position, counted from 0 at the
	// sequence's first token, is selected. prompt is the number of tokens that the
	// caller gave; generated tokens have positions from there on. The answer must
	// depend on nothing else, so that a cached decode equals a full recompute.
	Selects(position, prompt int) bool

	// Check returns an error where the selection names tokens that a prompt of
	// this many tokens lacks.
	Check(prompt int) error
}
