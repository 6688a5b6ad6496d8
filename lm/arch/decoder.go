// Package arch describes decoder-only transformers as data. A model family is
// one file that turns a checkpoint's config.json into a [Decoder]: which norms
// stand where, how positions enter, how attention and MLP are shaped, and
// which tensor of the checkpoint fills each part. One executor reads it.
//
// To add a family, write one file that registers a function from [Config] to
// Decoder, and a golden that proves it; nothing else in the module names a
// family.
package arch

import (
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Decoder describes a decoder-only transformer. Sizes are in elements.
type Decoder struct {
	Family       string // the config's model_type
	Hidden       int    // width of the residual stream
	Vocabulary   int
	MaxPositions int // that the config names; 0 where positions have no limit

	Embedding Embedding
	Streams   *Streams // nil: one residual stream
	Blocks    []Block
	Norm      *Norm // of the last hidden states; nil: none
	Head      Head

	// Prefix begins most tensor names. A checkpoint that was saved from the
	// model without its head may lack it everywhere; see [Decoder.Names].
	Prefix string

	// Wrapper is the model_type of the multimodal model whose text model this is;
	// "": it stands alone.
	Wrapper string

	// Modules gives the path of the Hugging Face module whose output each site
	// is, with {num} for the layer. A site that no module's output shows is absent.
	// A block may have others: [Decoder.Module].
	Modules map[Site]string
}

// Module returns the path of the module whose output the site of a layer is; "":
// none is.
func (d *Decoder) Module(layer int, site Site) string {
	return strings.ReplaceAll(d.module(layer, site), "{num}", strconv.Itoa(layer))
}

func (d *Decoder) module(layer int, site Site) string {
	if own := d.Blocks[layer].Modules[site]; own != "" {
		return own
	}
	return d.Modules[site]
}

// ModuleTemplates returns the paths, with {num} for the layer, of the modules whose
// output a site is: one for most, several where layers differ.
func (d *Decoder) ModuleTemplates(site Site) []string {
	var paths []string
	for layer := range d.Blocks {
		if path := d.module(layer, site); path != "" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// Embedding turns tokens into the first residual stream.
type Embedding struct {
	Tokens string  // tensor [vocabulary, width]
	Width  int     // of a token's row; 0: hidden
	Scale  float32 // multiplies the token's row; 0: 1

	// Project turns a row of another width into [hidden]; no weight: none.
	Project Linear

	// Positions is the tensor [positions, hidden] of learned positions, whose row
	// position + PositionOffset is added; "": none.
	Positions      string
	PositionOffset int

	// Sinusoidal adds a row of sines and cosines of position + PositionOffset
	// instead: [AddSinusoid].
	Sinusoidal bool

	Norm *Norm // nil: none

	LayerInputs *LayerInputs // nil: none
}

// Block is one decoder block. Its norms may stand in six places; nil means
// that none stands there.
//
//	sequential:  x  = AfterAttentionAdd(x + AfterAttention(attention(BeforeAttention(x))))
//	             x' = AfterMLPAdd(x + AfterMLP(mlp(BeforeMLP(x))))
//	parallel:    x' = x + attention(BeforeAttention(x)) + mlp(BeforeMLP(x))
//
// A parallel block without BeforeMLP feeds both parts from BeforeAttention.
//
// Where a block has a recurrence, it stands in place of attention that has no
// heads, at the site self_attn; or beside attention: it reads what that reads, and
// what it gives is added to attention's result past the site.
type Block struct {
	Parallel bool
	AltUp    *AltUp // where the decoder has several streams

	BeforeAttention, AfterAttention, AfterAttentionAdd *Norm
	Attention                                          Attention
	Recurrence                                         *Recurrence // nil: none
	Laurel                                             *Laurel     // nil: none

	BeforeMLP, AfterMLP, AfterMLPAdd *Norm
	MLP                              MLP

	// MLPBeside reads what the MLP reads, and its result is added to the MLP's
	// past the site mlp; nil: none.
	MLPBeside *MLP

	LayerInput *LayerInput // nil: none

	// AttentionScale and MLPScale multiply what attention and MLP add to the stream,
	// AttentionKeeps and MLPKeeps the stream to which they add; 0: 1.
	AttentionScale, MLPScale, AttentionKeeps, MLPKeeps float32

	// ResidualAfterNorm adds to the normalised input in place of the input itself.
	ResidualAfterNorm bool

	// AttentionAddsResidual and MLPAddsResidual say that the module of the site
	// self_attn, or mlp, gives out its result with the residual added already.
	AttentionAddsResidual, MLPAddsResidual bool

	Modules map[Site]string // in place of the decoder's

	// First is a block that the stream passes before this one, in the same layer; nil:
	// none. A site of the layer is the one that shows it: Hidden are those that a block
	// has and does not show.
	First  *Block
	Hidden []Site

	// Shortcut, of a First, reads what its MLP reads; its result is the site mlp and is
	// added to the stream at the end of the layer; nil: none.
	Shortcut *MLP
}

// Passed gives the blocks in the order in which the stream passes them, with the
// layer of each.
func (d *Decoder) Passed() iter.Seq2[int, *Block] {
	return func(yield func(int, *Block) bool) {
		for layer := range d.Blocks {
			b := &d.Blocks[layer]
			if b.First != nil && !yield(layer, b.First) || !yield(layer, b) {
				return
			}
		}
	}
}

// Norm normalises rows of the width of its place.
type Norm struct {
	Kind         NormKind
	Weight, Bias string // tensors; "": ones, zeros
	Epsilon      float32
	Offset       float32 // added to the weight: 1 where weight-1 is stored
	Site         Site    // the site that shows this norm's output; "": none
}

// NormKind is how a row is normalised.
type NormKind uint8

const (
	RMS   NormKind = iota // x / sqrt(mean(x²) + ε)
	Layer                 // (x - mean) / sqrt(variance + ε)
)

// Linear is a product with a weight [out, in] and a bias [out].
type Linear struct {
	Weight, Bias string // tensors; "" in Weight: the part is absent; "" in Bias: none
	Transposed   bool   // the checkpoint stores the weight as [in, out]
}

// Head turns the last hidden states into logits.
type Head struct {
	Linear          // [vocabulary, width]
	Tied    bool    // the weight is the embedding's
	Project Linear  // [width, hidden], before the head; no weight: none
	Scale   float32 // multiplies the logits; 0: 1
	SoftCap float32 // logits become cap*tanh(logit/cap); 0: as they are
}
