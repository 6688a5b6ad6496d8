package arch

import "math"

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
	// values (Shen et al. 2024, section 2.2). Heads that share a key stand together, in
	// the order of the experts' numbers; nil: none.
	Experts *Experts

	Output Linear

	// Gated says that Query holds for each head the query and then as many outputs
	// whose sigmoid multiplies what the head gathers.
	Gated bool

	InputScale float32 // multiplies what attention reads; 0: 1

	// KeysBack says that the keys and values are those of the layer so many before, so
	// that there are none of its own; 0: its own.
	KeysBack int

	QueryNorm, KeyNorm, ValueNorm *Norm // nil: none
	NormScope                     NormScope
	NormAfterRope                 bool // the norms of queries and keys follow the rotation; else they stand before it

	Clip float32 // queries, keys and values are clamped to ±Clip after the norms; 0: not

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

	Rank  int
	Down  Linear  // [Rank+RopeSize, hidden]
	Norm  *Norm   // of the latent
	Scale float32 // multiplies the latent past its norm; 0: 1
	Up    Linear  // [heads*(KeySize+ValueSize), Rank], head by head keys, then values

	// KeyUp [Rank, KeySize] and ValueUp [ValueSize, Rank] stand in place of Up where each
	// head has tensors of its own, {head} in their names standing for its number.
	KeyUp, ValueUp string

	KeySize, RopeSize, ValueSize int // of a head
}

// Stored returns how many elements of keys and values a token keeps: none of attention
// that shares those of another layer, and a latent once, which is both.
func (a *Attention) Stored() int {
	switch {
	case a.KeysBack > 0:
		return 0
	case a.Latent != nil:
		return a.HeadSize
	}
	return 2 * a.KVHeads * a.HeadSize
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
