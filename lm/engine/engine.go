// Package engine holds the words in which package lm speaks to what computes a
// model. An [Engine] is a loaded model; a [Session] of it holds keys and values
// and computes packed runs: tokens that each have a path of ancestors, what is
// read of them and what is changed. Nothing else passes the seam: an engine
// chooses its own kernels, memory and device.
//
// What an engine cannot do it says in [Engine.Check] and [Engine.Limits], before
// anything is computed.
package engine

import (
	"context"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/forest"
)

// DType chooses the number format in which a model computes.
type DType uint8

const (
	// Auto keeps bfloat16 weights and rounds activations to bfloat16 at the entry
	// of each matrix product; every other checkpoint computes in float32. Blocks of
	// few bits stay as they are; activations become 16-bit integers that share a
	// scale for each 32 inputs.
	Auto DType = iota
	// Float32 keeps everything but stored bfloat16 weights and blocks in float32.
	Float32
	// BFloat16 rounds weights, and activations at the entry of each product; blocks
	// are as with Auto.
	BFloat16
)

// Source is a checkpoint, of which an engine reads what it needs.
type Source interface {
	Config() []byte // config.json
	Tensor(name string) (safetensors.Tensor, bool)

	// Release is told which parts of a tensor's data have been read and are not
	// needed any more, by any number of goroutines.
	Release(part safetensors.Tensor)
}

// Blocked is a source that may store matrices in blocks of few bits. An engine that
// multiplies them as they are looks here before it asks for a tensor, of which the
// blocks would be expanded.
type Blocked interface {
	Blocks(name string) (gguf.Rows, bool)
}

// Filed is a source that may be one GGUF file on disk, for an engine that opens such
// files itself.
type Filed interface {
	File() (path string, ok bool)
}

// Opener loads a model. Errors name the tensor or the config's field that is wrong.
type Opener func(ctx context.Context, source Source, dtype DType) (Engine, error)

// Engine is a loaded model. It is immutable; any number of goroutines may use
// it, each with a session of its own.
type Engine interface {
	// Decoder describes the model. It must not be changed.
	Decoder() *arch.Decoder
	Description() Description

	// Check returns an error where the engine cannot read an activation, or, given
	// an operator, change it so. The layer and the site are the decoder's.
	Check(layer int, site arch.Site, operator Operator) error

	// Limits says what runs a session takes.
	Limits() Limits

	NewSession() Session
}

// Limits are what [Run]s must keep to.
type Limits struct {
	// Late: a run may begin past the first decoder block: see [Run.First].
	Late bool
	// Ends is how many paths a session keeps that end in different nodes; 0: any
	// number. A run that needs more is an error.
	Ends int
}

// Description says how an engine computes, for provenance: two engines of equal
// descriptions give equal bits.
type Description struct {
	Name         string // of the engine
	DType        string // of the products: f32, bf16, mixed, or of blocks as q4_k+q6_k:i16
	Instructions string // the instruction set or device
	Parameters   int    // stored weights, tied ones counted once
}

// Session holds the keys and values of nodes, each in its slot, and states, in
// memory that grows with what runs name. It has one user at a time.
type Session interface {
	// Run computes a packed run: the keys and values of its nodes go into their
	// slots, taps and logits are called. When ctx ends it returns with its error,
	// maybe after some were called; what the slots of nodes hold that were not
	// computed before then means nothing. A node that was, and that a run computes
	// once more, keeps what its slot holds.
	Run(ctx context.Context, run *Run) error
	Close()
}

// Run is a packed run of nodes. Rows are counted from 0 in the order of Tokens.
// A node may follow from nodes before it in the same run.
type Run struct {
	Tokens   []int     // [nodes]
	Segments []Segment // cover the nodes in order
	Slots    int       // slots that exist
	States   int       // states that exist

	// Freed are slots whose nodes have gone since the run before, or were never
	// computed because that failed. Nodes of this run may take them.
	Freed []forest.Span

	Edits []Edit // in the order in which they act
	Taps  []Tap

	// LogitRows are the rows whose logits Logits is called with, ascending. The
	// slice given to Logits, [vocabulary], is valid during the call only.
	LogitRows []int
	Logits    func(row int, logits []float32)

	// First is the first decoder block that is computed. Where it is not 0, Residual
	// [nodes, width of the stream, or of all] is the residual stream that enters it, and
	// the keys and values of the blocks below are copied from each segment's Twin.
	First    int
	Residual []float32
}

// Segment is a chain of nodes: each is the parent of the next.
type Segment struct {
	Nodes    int
	Position int         // of the first node; the root has 0
	Path     forest.Path // slots from the root to the segment's last node
	Length   int         // tokens of the sequences through here, for positions that depend on it

	// Again is how many nodes, from the first on, were computed before, in this run or
	// an earlier one. They are computed once more for what follows on them, and their
	// slots keep what they hold.
	Again int

	// What a decoder's recurrences remember is one state for all nodes of a path,
	// numbered from 1. The segment goes on from the state Before, 0 being that of no
	// nodes, which an earlier segment or run has left and which it does not change, and
	// leaves the state After; 0: none.
	Before, After int

	// Twin are the slots of nodes, computed before, that equal the segment's nodes
	// below the run's first block; [Nodes] of them, and unused where that is 0.
	Twin forest.Path

	// TwinState is the state past the last of Twin, whose part of the blocks below the
	// run's first the state After has too. 0: After has nothing of those blocks, and only
	// runs that begin at the same block or higher go on from it.
	TwinState int
}

// Tap reads the activations of some rows, ascending, after edits have acted. The
// slice given to Read is valid during the call only; calls come in row order.
type Tap struct {
	Layer int // 0-based
	Site  arch.Site
	Rows  []int
	Read  func(row int, activation []float32)
}

// Edit changes the activations of some rows, ascending.
type Edit struct {
	Layer    int
	Site     arch.Site
	Rows     []int
	Operator Operator
	Vector   []float32 // [rows, width of the site], as Operator.Prepare returned it
	Scale    float32   // what the operator adds is multiplied by this; 0: 1

	// Acts says, where it is not nil, on which of the rows the edit acts. It is asked
	// when the edit's turn has come, after the taps of the row at addresses before it
	// were read: what it answers may depend on them. Several goroutines ask it.
	Acts func(row int) bool
}

// Operator says how a vector acts on an activation. It is a small value with
// parameters, and pure: several goroutines call it.
type Operator interface {
	// Name names the operator with its parameters. Operators of equal names compute
	// the same function.
	Name() string

	// Prepare makes of a vector [rows, width], as many rows as the operator asks for,
	// what Delta is to have: what would else be computed for every token, as a
	// direction's length, is computed here once. Nil says that nothing would change.
	// It is an error where the operator makes no sense with the vector, as an
	// ablation of a zero one.
	Prepare(vector []float32, width int) (prepared []float32, err error)

	// Delta writes what is to be added to an activation [width] into delta [width],
	// which comes zeroed. It allocates nothing.
	Delta(delta, activation, prepared []float32)
}
