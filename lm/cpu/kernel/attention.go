package kernel

import (
	"math"
	"sync"
	"unsafe"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/lm/internal/bfloat16"
)

// KeyTile is the number of neighbouring slots whose keys are stored together,
// transposed, so that one vector instruction scores them all.
const KeyTile = 16

// KeyIndex returns where element 0 of the key in a slot lies in a head's key
// memory [tiles, size, KeyTile]; element i lies i*KeyTile further on.
func KeyIndex(slot, size int) int {
	return slot/KeyTile*size*KeyTile + slot%KeyTile
}

// StoreKeys writes n keys [size], stride elements apart, into neighbouring slots
// of a head's key memory.
func StoreKeys(memory []float32, slot int, keys []float32, stride, n, size int) {
	for n > 0 {
		together := min(n, KeyTile-slot%KeyTile)
		tile := wordsOf(memory[KeyIndex(slot, size):][:(size-1)*KeyTile+together])
		transpose(tile, KeyTile, bytesOf(wordsOf(keys[:(together-1)*stride+size])), 4*stride, together, size)
		slot, n, keys = slot+together, n-together, keys[min(len(keys), together*stride):]
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
	Values   []float32 // [slots, Size]; nil: a key is its own value
	Spans    []Span    // the path in position order, from 0 to at least the last token

	Window  int     // a token sees this many positions, itself included; 0: all
	Chunk   int     // a token sees the positions from the last multiple of Chunk on; 0: all
	Scale   float32 // of the scores
	SoftCap float32 // scores become cap*tanh(score/cap); 0: as they are

	// Slopes [Heads] are those of ALiBi (Press et al. 2022): slope*(key position)
	// is added to the score; nil for none. RoundBias rounds that product to
	// bfloat16 and ScaleBias multiplies it by Scale, as Falcon does both.
	Slopes               []float32
	RoundBias, ScaleBias bool

	// Sinks [Heads] are scores of no position: they take their part of the softmax
	// and give nothing (Xiao et al. 2023); nil for none.
	Sinks []float32
}

// Run computes softmax(scale·q·kᵀ)·v for every token and head, some rows at a
// time over one stretch of keys after the other, so that no more scores are
// held than those (Milakov and Gimelshein 2018; Dao et al. 2022). The result for
// a token depends on the visible keys and values in position order alone, not
// on the slots they lie in nor on the other tokens of the call.
func (a *Attention) Run() {
	s := attending.Get().(*attend)
	defer attending.Put(s)
	s.Attention = *a
	s.begin()
	last := a.Position + a.Tokens - 1
	for from := a.first(a.Position) / stretch * stretch; from <= last; from += stretch {
		if a.Values == nil {
			s.turn(from, min(from+stretch-1, last))
		}
		for row := 0; row < a.Tokens*a.Heads; row += tileRows {
			s.rows(row, min(tileRows, a.Tokens*a.Heads-row), from)
		}
	}
	s.end()
	s.Attention = Attention{}
	a.apart()
}

// apart computes tokens once more, each alone, whose results are not finite: in
// a tile of several tokens a key that is hidden from one of them has the weight
// 0, and 0 times a value that is not finite is not 0.
func (a *Attention) apart() {
	for t := 0; a.Tokens > 1 && t < a.Tokens; t++ {
		if finite.All(a.Out[t*a.OutStride:][:a.Heads*a.Size]) {
			continue
		}
		one := *a
		one.Tokens, one.Position = 1, a.Position+t
		one.Query, one.Out = a.Query[t*a.QueryStride:], a.Out[t*a.OutStride:]
		one.Run()
	}
}

// first returns the first position that a token at that position sees.
func (a *Attention) first(position int) int {
	first := 0
	if a.Window > 0 {
		first = max(first, position-a.Window+1)
	}
	if a.Chunk > 0 {
		first = max(first, position/a.Chunk*a.Chunk)
	}
	return first
}

// stretch is how many positions are attended to at a time. Stretches begin at
// its multiples, whatever token looks, so that all sums have one order.
const stretch = 512

// attend is a call of Run. Row r is head r%Heads of token r/Heads.
type attend struct {
	Attention
	set     *instructionSet
	queries []float32 // [rows, Size]
	sums    []float32 // [rows, Size]: of values, weighted by exp(score - most)
	most    []float32 // [rows]: the largest score so far
	weights []float64 // [rows]: sum of exp(score - most)
	turned  []float32 // [stretch, Size]: keys that are values
	scores  [tileRows * scoreStride]float32
	tile    [tileRows * panelWidth]float32 // scores of slots that are not all wanted
}

// scoreStride leaves room for slots beyond the stretch in tiles that it ends in.
const scoreStride = stretch + panelWidth

var attending = sync.Pool{New: func() any { return new(attend) }}

func (s *attend) begin() {
	rows := s.Tokens * s.Heads
	s.set = active
	s.queries = sized(&s.queries, rows*s.Size)
	for t := range s.Tokens {
		copy(s.queries[t*s.Heads*s.Size:(t+1)*s.Heads*s.Size], s.Query[t*s.QueryStride:])
	}
	s.sums = sized(&s.sums, rows*s.Size)
	clear(s.sums)
	s.most = sized(&s.most, rows)
	s.weights = sized(&s.weights, rows)
	for r := range rows {
		s.most[r], s.weights[r] = float32(math.Inf(-1)), 0
	}
}

func (s *attend) end() {
	for t := range s.Tokens {
		for h := range s.Heads {
			r := t*s.Heads + h
			out := s.Out[t*s.OutStride+h*s.Size:][:s.Size]
			copy(out, s.sums[r*s.Size:])
			total := s.weights[r]
			if s.Sinks != nil {
				total += math.Exp(float64(s.Sinks[h]) - float64(s.most[r]))
			}
			Scale(out, float32(1/total))
		}
	}
}

// rows attends from n neighbouring rows to the positions of one stretch.
func (s *attend) rows(row, n, from int) {
	lastOf := func(r int) int { return min(from+stretch-1, s.Position+r/s.Heads) }
	first, last := max(from, s.first(s.Position+row/s.Heads)), lastOf(row+n-1)
	if first > last {
		return
	}
	s.eachPiece(first, last, func(position, slot, count, beyond int) {
		s.score(row, n, position-from, slot, count, beyond)
	})
	for r := range n {
		one := s.scores[r*scoreStride:][:last-from+1]
		visible, end := max(first, s.first(s.Position+(row+r)/s.Heads)), lastOf(row+r)
		if visible > end {
			clear(one[first-from:])
			continue
		}
		clear(one[first-from : visible-from])
		clear(one[end-from+1:])
		s.weigh(row+r, visible, one[visible-from:end-from+1])
	}
	s.eachPiece(first, last, func(position, slot, count, _ int) {
		values := s.Values
		if values == nil {
			values, slot = s.turned, position-from
		}
		multiply(s.set, n, s.scores[position-from:], scoreStride, values[slot*s.Size:], s.Size, count, s.sums[row*s.Size:], s.Size)
	})
}

// turn makes rows of the keys of a stretch, from its first position to the last: their
// values. It costs a copy of each key where every row of queries multiplies all.
func (s *attend) turn(from, last int) {
	turned := sized(&s.turned, stretch*s.Size)
	s.eachPiece(max(from, s.first(s.Position)), last, func(position, slot, count, _ int) {
		for count > 0 {
			together := min(count, KeyTile-slot%KeyTile)
			keys := bytesOf(wordsOf(s.Keys[KeyIndex(slot, s.Size):][:(s.Size-1)*KeyTile+together]))
			transpose(wordsOf(turned[(position-from)*s.Size:][:together*s.Size]), s.Size, keys, 4*KeyTile, s.Size, together)
			position, slot, count = position+together, slot+together, count-together
		}
	})
}

// eachPiece calls f for each run of neighbouring slots that hold the positions
// in [first, last]; beyond is how many more positions follow in the slots after.
func (s *attend) eachPiece(first, last int, f func(position, slot, count, beyond int)) {
	position := 0
	for _, span := range s.Spans {
		from, to := max(first, position), min(last+1, position+span.Len)
		if from < to {
			f(from, span.Slot+from-position, to-from, position+span.Len-to)
		}
		position += span.Len
	}
}

// score writes the inner products of n rows with the keys in some slots to the
// scores at an offset. Keys come in tiles; what the tiles hold before and after
// is left out, or after, if it belongs to following positions, overwritten later.
func (s *attend) score(row, n, offset, slot, count, beyond int) {
	const columns = KeyTile
	together := max(1, s.set.columns/columns) // tiles
	queries := s.queries[row*s.Size:]
	for count > 0 {
		skip := slot % columns
		tiles := min(together, (skip+count+columns-1)/columns)
		if tiles < together {
			tiles = 1
		}
		keys := s.Keys[slot/columns*columns*s.Size:]
		took := min(count, tiles*columns-skip)
		if skip == 0 && tiles*columns <= count+beyond {
			s.scoreTiles(s.scores[offset:], scoreStride, queries, n, keys, tiles)
		} else {
			s.scoreTiles(s.tile[:], panelWidth, queries, n, keys, tiles)
			for r := range n {
				copy(s.scores[r*scoreStride+offset:][:took], s.tile[r*panelWidth+skip:])
			}
		}
		slot, offset, count = slot+took, offset+took, count-took
	}
}

// scoreTiles writes the inner products of n queries with the keys of some tiles.
func (s *attend) scoreTiles(dst []float32, stride int, queries []float32, n int, keys []float32, tiles int) {
	size := s.Size
	if s.set.tile[single][n] == nil {
		for r := range n {
			for t := range tiles {
				var sums [KeyTile]float32
				for d, q := range queries[r*size : (r+1)*size] {
					for i, k := range keys[(t*size+d)*KeyTile:][:KeyTile] {
						sums[i] += q * k
					}
				}
				copy(dst[r*stride+t*KeyTile:][:KeyTile], sums[:])
			}
		}
		return
	}
	q, k, to := pointer(queries[:n*size]), pointer(keys[:tiles*size*KeyTile]), &dst[:(n-1)*stride+tiles*KeyTile][0]
	switch {
	case s.set.columns == KeyTile:
		s.set.tile[single][n](q, size*4, k, KeyTile*4, s.set.lanes*4, size, to, stride*4, false, nil)
	case tiles*KeyTile == s.set.columns:
		s.set.tile[single][n](q, size*4, k, KeyTile*4, size*KeyTile*4, size, to, stride*4, false, nil)
	default:
		s.set.narrow[n](q, size*4, k, KeyTile*4, 0, size, to, stride*4, false, nil, KeyTile)
	}
}

// weigh turns the scores of one row's visible keys, the first at a position,
// into weights, and puts what was summed before on their scale.
func (s *attend) weigh(row, position int, scores []float32) {
	var most float32
	if s.SoftCap == 0 && s.Slopes == nil {
		most = scaleMaximum(scores, s.Scale)
	} else {
		Scale(scores, s.Scale)
		if s.SoftCap > 0 {
			SoftCap(scores, s.SoftCap)
		}
		if s.Slopes != nil {
			for i := range scores {
				scores[i] += s.bias(row%s.Heads, position+i)
			}
		}
		most = maximum(scores)
	}
	before := s.most[row]
	most = max(most, before)
	s.most[row] = most
	if before != most && s.weights[row] > 0 {
		shrink := math.Exp(float64(before - most))
		s.weights[row] *= shrink
		Scale(s.sums[row*s.Size:(row+1)*s.Size], float32(shrink))
	}
	s.weights[row] += expSum(scores, most)
}

// multiply adds a·w to dst for rows of a [rows, k] and dst [rows, columns] with
// their strides and w [k, columns].
func multiply(set *instructionSet, rows int, a []float32, aStride int, w []float32, columns, k int, dst []float32, dstStride int) {
	if set.tile[single][rows] == nil {
		for r := range rows {
			to := dst[r*dstStride:][:columns]
			for i, x := range a[r*aStride:][:k] {
				AddScaled(to, w[i*columns:], x)
			}
		}
		return
	}
	from, to := pointer(a[:(rows-1)*aStride+k]), dst[:(rows-1)*dstStride+columns]
	w = w[:k*columns]
	c := 0
	for ; c+set.columns <= columns; c += set.columns {
		set.tile[single][rows](from, aStride*4, pointer(w[c:]), columns*4, set.lanes*4, k, &to[c], dstStride*4, true, nil)
	}
	for ; c < columns && set.narrow[rows] == nil; c++ {
		for r := range rows {
			for i, x := range a[r*aStride:][:k] {
				to[r*dstStride+c] += x * w[i*columns+c]
			}
		}
	}
	for ; c < columns; c += set.lanes {
		set.narrow[rows](from, aStride*4, pointer(w[c:]), columns*4, 0, k, &to[c], dstStride*4, true, nil, min(set.lanes, columns-c))
	}
}

// wordsOf looks at numbers as words.
func wordsOf(x []float32) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

func pointer(x []float32) *byte { return (*byte)(unsafe.Pointer(unsafe.SliceData(x))) }

// bias returns what ALiBi adds to the score of head h and a key's position.
func (a *Attention) bias(h, position int) float32 {
	bias := a.Slopes[h] * float32(position)
	if a.RoundBias {
		bias = bfloat16.Widen(bfloat16.Round(bias))
	}
	if a.ScaleBias {
		bias *= a.Scale
	}
	return bias
}
