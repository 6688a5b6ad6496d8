package kernel

import "math"

// KeyTile is the number of neighbouring slots whose keys are stored together,
// transposed, so that one vector instruction scores them all.
const KeyTile = 16

// KeyIndex returns where element 0 of the key in a slot lies in a head's key
// memory [tiles, size, KeyTile]; element i lies i*KeyTile further on.
func KeyIndex(slot, size int) int {
	return slot/KeyTile*size*KeyTile + slot%KeyTile
}

// StoreKey writes one key [size] into its slot of a head's key memory.
func StoreKey(keys []float32, slot int, key []float32) {
	at := KeyIndex(slot, len(key))
	for i, v := range key {
		keys[at+i*KeyTile] = v
	}
}

// LoadKey reads one key [size] back.
func LoadKey(keys []float32, slot int, key []float32) {
	at := KeyIndex(slot, len(key))
	for i := range key {
		key[i] = keys[at+i*KeyTile]
	}
}

// Span is a range of slots that hold consecutive positions of one path.
type Span struct{ Slot, Len int }

// Attention describes the attention of consecutive tokens of one path over all
// their ancestors and themselves, for the query heads that share one key/value
// head.
type Attention struct {
	// Query holds the queries and Out takes the results: head h of token t lies
	// at t*QueryStride + h*Size and t*OutStride + h*Size.
	Query, Out             []float32
	QueryStride, OutStride int
	Tokens, Heads, Size    int // Size is the number of elements of a head

	Position int       // of token 0; the path's root has position 0
	Keys     []float32 // [slots/KeyTile, Size, KeyTile]
	Values   []float32 // [slots, Size]
	Spans    []Span    // the path in position order, from 0 to at least the last token

	Window  int     // a token sees this many positions, itself included; 0: all
	Scale   float32 // of the scores
	SoftCap float32 // scores become cap*tanh(score/cap); 0: as they are

	// Slopes [Heads] are those of ALiBi (Press et al. 2022): slope*(key position)
	// is added to the score; nil for none. RoundBias rounds that product to
	// bfloat16 and ScaleBias multiplies it by Scale, as Falcon does both.
	Slopes               []float32
	RoundBias, ScaleBias bool
}

// Run computes softmax(scale·q·kᵀ)·v for every token and head. The result for a
// token depends on the visible keys and values in position order alone, not
// on the slots they lie in nor on the other tokens of the call.
func (a *Attention) Run() {
	scores := make([]float32, a.Position+a.Tokens)
	for t := range a.Tokens {
		last := a.Position + t
		first := 0
		if a.Window > 0 {
			first = max(0, last-a.Window+1)
		}
		for h := range a.Heads {
			q := a.Query[t*a.QueryStride+h*a.Size:][:a.Size]
			out := a.Out[t*a.OutStride+h*a.Size:][:a.Size]
			visible := scores[:last-first+1]
			a.eachKey(first, last, func(i, slot int) {
				at := KeyIndex(slot, a.Size)
				var dot float32
				for d, v := range q {
					dot += v * a.Keys[at+d*KeyTile]
				}
				dot *= a.Scale
				if a.SoftCap > 0 {
					dot = float32(float64(a.SoftCap) * math.Tanh(float64(dot/a.SoftCap)))
				}
				if a.Slopes != nil {
					dot += a.bias(h, first+i)
				}
				visible[i] = dot
			})
			Softmax(visible)
			clear(out)
			a.eachKey(first, last, func(i, slot int) {
				AddScaled(out, a.Values[slot*a.Size:], visible[i])
			})
		}
	}
}

// eachKey calls f with the index from first and the slot of each position in
// [first, last].
func (a *Attention) eachKey(first, last int, f func(i, slot int)) {
	position := 0
	for _, s := range a.Spans {
		from, to := max(first, position), min(last+1, position+s.Len)
		for p := from; p < to; p++ {
			f(p-first, s.Slot+p-position)
		}
		position += s.Len
	}
}

// bias returns what ALiBi adds to the score of head h and a key's position.
func (a *Attention) bias(h, position int) float32 {
	bias := a.Slopes[h] * float32(position)
	if a.RoundBias {
		bias = FromBF16(ToBF16(bias))
	}
	if a.ScaleBias {
		bias *= a.Scale
	}
	return bias
}
