// Package arch describes decoder-only transformers as data. A model family is
// one file that turns a checkpoint's config.json into a [Decoder]: which norms
// stand where, how positions enter, how attention and MLP are shaped, and
// which tensor of the checkpoint fills each part. One executor reads it.
//
// To add a family, write one file that registers a function from [Config] to
// Decoder, and a golden that proves it; nothing else in the module names a
// family.
package arch

import "math"

// Decoder describes a decoder-only transformer. Sizes are in elements.
type Decoder struct {
	Family       string // the config's model_type
	Hidden       int    // width of the residual stream
	Vocabulary   int
	MaxPositions int // that the config names; 0 where positions have no limit

	Embedding Embedding
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
	Modules map[Site]string
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
}

// Block is one decoder block. Its norms may stand in six places; nil means
// that none stands there.
//
//	sequential:  x  = AfterAttentionAdd(x + AfterAttention(attention(BeforeAttention(x))))
//	             x' = AfterMLPAdd(x + AfterMLP(mlp(BeforeMLP(x))))
//	parallel:    x' = x + attention(BeforeAttention(x)) + mlp(BeforeMLP(x))
//
// A parallel block without BeforeMLP feeds both parts from BeforeAttention.
type Block struct {
	Parallel bool

	BeforeAttention, AfterAttention, AfterAttentionAdd *Norm
	Attention                                          Attention

	BeforeMLP, AfterMLP, AfterMLPAdd *Norm
	MLP                              MLP

	// MLPBeside reads what the MLP reads, and its result is added to the MLP's
	// past the site mlp; nil: none.
	MLPBeside *MLP

	// ResidualScale multiplies what attention and MLP add to the stream; 0: 1.
	ResidualScale float32

	// ResidualAfterNorm adds to the normalised input in place of the input itself.
	ResidualAfterNorm bool

	// AttentionAddsResidual and MLPAddsResidual say that the module of the site
	// self_attn, or mlp, gives out its result with the residual added already.
	AttentionAddsResidual, MLPAddsResidual bool
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

// Attention is grouped-query attention: Heads queries share KVHeads keys and
// values.
type Attention struct {
	Heads, KVHeads, HeadSize int

	// The projections are either three tensors or one fused tensor, whose rows
	// repeat, Groups times, the queries, then the keys, then the values of
	// Heads/Groups and KVHeads/Groups heads; or the values before the keys.
	Query, Key, Value Linear
	Fused             Linear
	Groups            int
	ValuesBeforeKeys  bool

	// Latent stands in place of all these; nil: none.
	Latent *Latent

	// Experts gives each token queries and an output projection of its own: those of
	// the few experts that it uses, each with as many heads as there are keys. Query
	// and Output then hold all experts as [Experts] says, and Fused the keys and the
	// values (Shen et al. 2024, section 2.2); nil: none.
	Experts *Experts

	Output Linear

	QueryNorm, KeyNorm *Norm // nil: none
	NormScope          NormScope
	NormAfterRope      bool    // the norms follow the rotation; else they stand before it
	Clip               float32 // queries, keys and values are clamped to ±Clip after the norms; 0: not

	Rope    *Rope   // nil: the block has no rotary positions
	Alibi   *Alibi  // nil: none
	Window  int     // a token sees this many positions, itself included; 0: all
	Chunk   int     // a token sees the positions from the last multiple of Chunk on; 0: all
	Scale   float32 // of the scores
	SoftCap float32 // scores become cap*tanh(score/cap); 0: as they are

	// Sinks is the tensor [heads] of scores that belong to no position: they take
	// their part of the softmax and give nothing (Xiao et al. 2023); "": none.
	Sinks string

	Temperature  *Temperature  // nil: none
	Differential *Differential // nil: the usual attention
}

// Differential is attention whose noise is taken away (Ye et al. 2024): each head
// of the first half, less λ times its fellow of the second, gathers the values of
// both side by side; the row of twice the head size is normalised and multiplied
// by 1-Initial. λ is exp(Query1·Key1) - exp(Query2·Key2) + Initial.
type Differential struct {
	Query1, Key1, Query2, Key2 string // tensors [head size]
	Initial                    float32
	Norm                       *Norm // without a weight
}

// Latent is multi-head latent attention (DeepSeek-AI 2024, section 2.1): the keys
// and values of all heads are made of one short row, the latent, beside which
// stands the part of the keys that turns, the same for all heads. What is cached,
// and what HeadSize and KVHeads 1 of the attention describe, is this row of
// Rank+RopeSize elements: queries are brought to it, and values are made of what
// they gather.
type Latent struct {
	QueryRank int
	QueryDown Linear // [QueryRank, hidden]; no weight: QueryUp reads the hidden state
	QueryNorm *Norm  // of what QueryDown gives
	QueryUp   Linear // [heads*(KeySize+RopeSize), QueryRank or hidden]

	Rank int
	Down Linear // [Rank+RopeSize, hidden]
	Norm *Norm  // of the latent
	Up   Linear // [heads*(KeySize+ValueSize), Rank], head by head keys, then values

	KeySize, RopeSize, ValueSize int // of a head
}

// OutputWidth returns the number of elements that the output projection reads.
func (a *Attention) OutputWidth() int {
	if a.Latent != nil {
		return a.Heads * a.Latent.ValueSize
	}
	return a.Heads * a.HeadSize
}

// Temperature multiplies the queries of a position by
// 1 + Scale*log(1 + floor((position+1)/Floor)), so that attention over long
// texts stays sharp (Nakanishi 2025, as Llama 4 has it).
type Temperature struct{ Floor, Scale float32 }

// At returns the factor of a position.
func (t *Temperature) At(position int) float32 {
	steps := math.Floor(float64((float32(position) + 1) / t.Floor))
	return float32(math.Log(steps+1))*t.Scale + 1
}

// NormScope says over which elements the query and key norms run.
type NormScope uint8

const (
	// EachHead normalises each head with one weight [head size].
	EachHead NormScope = iota
	// EachHeadOwnWeight normalises each head with its own weight. The tensor is
	// [heads, head size], or one tensor per head where the name holds {head}.
	EachHeadOwnWeight
	// AllHeads normalises the heads together, as one row [heads*head size].
	AllHeads
)

// Alibi adds slope*(key position) to the scores of each head
// (Press, Smith and Lewis 2022).
type Alibi struct {
	Slopes    []float32 // [heads]
	RoundBias bool      // the product is rounded to bfloat16
	ScaleBias bool      // the bias is multiplied by the attention's scale
}

// MLP is the feed-forward part of a block: down(activation(up(x))), or with a
// gate down(activation(gate(x)) * up(x)), or a mixture of such experts.
type MLP struct {
	Activation Activation
	Inner      int // width of the hidden layer

	Gate, Up, Down Linear
	GateUp         Linear // the gate's rows, then those of up, in one tensor; replaces both
	Alternating    bool   // in GateUp, rows of the gate and of up alternate

	GateLimit float32 // bounds the gate from above and up to ±GateLimit, before the activation; 0: not
	UpOffset  float32 // added to up before it meets the gate
	XIELU     *XIELU  // the constants of that activation

	Experts *Experts // nil: dense
}

// Experts is a mixture of MLPs of which each token uses a few
// (Shazeer et al. 2017). The fields of the enclosing MLP describe one expert;
// {expert} in its tensor names stands for the expert's number. A name without it
// is a tensor that holds all experts: [experts, out, in] or the same rows in two
// dimensions, with Transposed [experts, in, out], and biases [experts, out].
type Experts struct {
	Router   Linear // [experts, hidden]
	Count    int
	PerToken int

	Scoring Scoring

	// Correction is the tensor [experts] or [1, experts] that is added to the
	// scores when experts are chosen, but not to their weights (Wang et al. 2024);
	// "": none.
	Correction string

	// The experts form Groups of neighbours, of which only those of the
	// GroupsPerToken best can be chosen; Groups 0: all can. A group is as good as its
	// best expert (DeepSeek-AI 2024, section 2.1.2), or as its two best together.
	Groups, GroupsPerToken int
	GroupByTwo             bool

	Normalize  bool    // the chosen experts' weights are made to sum to 1
	Scale      float32 // multiplies the weights then; 0: 1
	WeighInput bool    // the weight multiplies what the expert reads, not what it gives

	Bias       string // tensor [hidden], added to what the experts give together; "": none
	Shared     *MLP   // an expert that every token uses; nil: none
	SharedGate Linear // [1, hidden], whose sigmoid weighs the shared expert; no weight: 1
}

// Scoring turns the router's outputs into experts' scores, which are their weights.
type Scoring uint8

const (
	Softmax Scoring = iota
	Sigmoid
	// SparseMixer chooses one expert after the other. Its weight is the softmax over
	// those left whose outputs lie within 2 % of the best (Liu et al. 2023).
	SparseMixer
)

// Activation is the function between an MLP's layers.
type Activation string

const (
	SiLU     Activation = "silu"
	GELU     Activation = "gelu"
	GELUTanh Activation = "gelu_tanh"
	ReLU     Activation = "relu"
	// ReLU2 is ReLU, squared.
	ReLU2 Activation = "relu2"
	// QuickGELU is x·sigmoid(1.702·x).
	QuickGELU Activation = "quick_gelu"
	// LearnedIELU is the activation of [XIELU], with constants of its own on each layer.
	LearnedIELU Activation = "xielu"
)

// XIELU names the tensors that hold an activation's constants, each of one
// element: it is softplus(Positive)·x² + Beta·x above zero and else
// (Beta + softplus(Negative))·(exp(min(x, Epsilon)) - 1 - x) + Beta·x
// (Huang and Schlag 2025).
type XIELU struct{ Positive, Negative, Beta, Epsilon string }

// Head turns the last hidden states into logits.
type Head struct {
	Linear          // [vocabulary, width]
	Tied    bool    // the weight is the embedding's
	Project Linear  // [width, hidden], before the head; no weight: none
	Scale   float32 // multiplies the logits; 0: 1
	SoftCap float32 // logits become cap*tanh(logit/cap); 0: as they are
}
