package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// attentionCase is an attention over random keys and values.
type attentionCase struct {
	tokens, heads, size, position int
	spans                         []Span
	window                        int
	softCap                       float32
	slopes                        bool
	chunk                         int
	sinks                         bool
}

var attentionCases = []attentionCase{
	{tokens: 1, heads: 1, size: 8, position: 0, spans: []Span{{0, 1}}},
	{tokens: 5, heads: 1, size: 16, position: 0, spans: []Span{{3, 5}}},
	{tokens: 32, heads: 3, size: 64, position: 100, spans: []Span{{0, 132}}},
	{tokens: 7, heads: 2, size: 20, position: 40, spans: []Span{{70, 13}, {1, 20}, {40, 14}}},
	{tokens: 9, heads: 4, size: 80, position: 600, spans: []Span{{16, 300}, {320, 309}}},
	{tokens: 3, heads: 1, size: 128, position: 1100, spans: []Span{{0, 700}, {705, 403}}},
	{tokens: 40, heads: 2, size: 32, position: 500, spans: []Span{{5, 540}}, window: 30},
	{tokens: 20, heads: 1, size: 32, position: 1010, spans: []Span{{0, 1030}}, window: 600, softCap: 3},
	{tokens: 6, heads: 8, size: 16, position: 30, spans: []Span{{0, 36}}, slopes: true},
	{tokens: 2, heads: 5, size: 96, position: 509, spans: []Span{{0, 511}}, softCap: 50},
	{tokens: 30, heads: 3, size: 16, position: 505, spans: []Span{{5, 540}}, chunk: 20},
	{tokens: 9, heads: 4, size: 24, position: 1020, spans: []Span{{0, 700}, {720, 329}}, sinks: true, window: 700},
}

// build fills slots with the keys and values of positions; what is in other
// slots must not matter.
func (c attentionCase) build(seed uint64, spans []Span) *Attention {
	slots := 0
	for _, s := range spans {
		slots = max(slots, s.Slot+s.Len)
	}
	slots = (slots + KeyTile - 1) / KeyTile * KeyTile
	a := &Attention{
		Tokens: c.tokens, Heads: c.heads, Size: c.size, Position: c.position, Spans: spans,
		Window: c.window, Chunk: c.chunk, Scale: 0.3, SoftCap: c.softCap,
		Keys: make([]float32, slots*c.size), Values: make([]float32, slots*c.size),
		QueryStride: c.heads*c.size + 3, OutStride: c.heads*c.size + 5,
	}
	for i := range a.Keys {
		a.Keys[i], a.Values[i] = float32(math.NaN()), float32(math.NaN())
	}
	random := rand.New(rand.NewPCG(seed, 7))
	a.Query, a.Out = make([]float32, c.tokens*a.QueryStride), make([]float32, c.tokens*a.OutStride)
	fill(random, a.Query)
	key, position := make([]float32, c.size), 0
	for _, s := range spans {
		for i := range s.Len {
			random := rand.New(rand.NewPCG(seed, uint64(100+position)))
			fill(random, key, a.Values[(s.Slot+i)*c.size:(s.Slot+i+1)*c.size])
			StoreKeys(a.Keys, s.Slot+i, key, c.size, 1, c.size)
			position++
		}
	}
	if c.sinks {
		for h := range c.heads {
			a.Sinks = append(a.Sinks, 3*float32(h)-1)
		}
	}
	if c.slopes {
		for h := range c.heads {
			a.Slopes = append(a.Slopes, 0.1*float32(h+1))
		}
	}
	return a
}

// want computes one token and head in float64.
func (a *Attention) want(t, h int) []float64 {
	var keys, values [][]float32
	for _, s := range a.Spans {
		for i := range s.Len {
			key := make([]float32, a.Size)
			LoadKey(a.Keys, s.Slot+i, key)
			keys, values = append(keys, key), append(values, a.Values[(s.Slot+i)*a.Size:])
		}
	}
	last := a.Position + t
	first := 0
	if a.Window > 0 {
		first = max(0, last-a.Window+1)
	}
	if a.Chunk > 0 {
		first = last - last%a.Chunk
	}
	out, total := make([]float64, a.Size), 0.0
	if a.Sinks != nil {
		total = math.Exp(float64(a.Sinks[h]))
	}
	for p := first; p <= last; p++ {
		score := 0.0
		for d := range a.Size {
			score += float64(a.Query[t*a.QueryStride+h*a.Size+d]) * float64(keys[p][d])
		}
		score *= float64(a.Scale)
		if a.SoftCap > 0 {
			score = float64(a.SoftCap) * math.Tanh(score/float64(a.SoftCap))
		}
		if a.Slopes != nil {
			score += float64(a.Slopes[h]) * float64(p)
		}
		weight := math.Exp(score)
		total += weight
		for d := range out {
			out[d] += weight * float64(values[p][d])
		}
	}
	for d := range out {
		out[d] /= total
	}
	return out
}

func TestAttentionIsThatOfFloat64(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for i, c := range attentionCases {
			a := c.build(uint64(i), c.spans)
			a.Run()
			for token := range a.Tokens {
				for h := range a.Heads {
					for d, want := range a.want(token, h) {
						if got := a.Out[token*a.OutStride+h*a.Size+d]; !near(got, want, 1e-5, 1e-5) {
							t.Fatalf("case %d: token %d head %d element %d is %v, want %v", i, token, h, d, got, want)
						}
					}
				}
			}
		}
	})
}

// A token's result has the same bits alone, and wherever keys and values lie.
func TestAttentionDoesNotDependOnOtherTokensNorOnSlots(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for i, c := range attentionCases {
			together := c.build(uint64(i), c.spans)
			together.Run()
			total := 0
			for _, s := range c.spans {
				total += s.Len
			}
			for _, spans := range [][]Span{c.spans, {{0, total}}, scattered(total)} {
				for token := range c.tokens {
					alone := c.build(uint64(i), spans)
					alone.Query, alone.Out = alone.Query[token*alone.QueryStride:], alone.Out[token*alone.OutStride:]
					alone.Position, alone.Tokens = c.position+token, 1
					alone.Run()
					n := c.heads * c.size
					if want := together.Out[token*together.OutStride:][:n]; !slices.Equal(alone.Out[:n], want) {
						t.Fatalf("case %d: token %d has other bits alone, in %v", i, token, spans)
					}
				}
			}
		}
	})
}

// Without values a key is its own value, to the bit, wherever keys lie.
func TestKeysThatAreValuesGiveWhatValuesOfTheirOwnGive(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for i, c := range attentionCases {
			total := 0
			for _, s := range c.spans {
				total += s.Len
			}
			for _, spans := range [][]Span{c.spans, scattered(total)} {
				once, twice := c.build(uint64(i), spans), c.build(uint64(i), spans)
				for _, s := range spans {
					for slot := s.Slot; slot < s.Slot+s.Len; slot++ {
						LoadKey(twice.Keys, slot, twice.Values[slot*c.size:(slot+1)*c.size])
					}
				}
				once.Values = nil
				once.Run()
				twice.Run()
				if !slices.Equal(once.Out, twice.Out) {
					t.Fatalf("case %d: other bits with keys as values, in %v", i, spans)
				}
			}
		}
	})
}

// scattered lays n positions out in pieces of awkward lengths, backwards.
func scattered(n int) []Span {
	var spans []Span
	for at, length := 0, 1; at < n; at, length = at+length, length%37+5 {
		length = min(length, n-at)
		spans = append(spans, Span{Slot: 2 * (n - at - length), Len: length})
	}
	return spans
}

func TestKeysComeBackFromAnySlots(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, size := range []int{1, 8, 20, 64} {
			for _, slot := range []int{0, 3, 15, 16} {
				const n = 40
				stride := size + 2
				memory, keys := make([]float32, 64*size), make([]float32, n*stride)
				fill(rand.New(rand.NewPCG(5, 5)), keys)
				StoreKeys(memory, slot, keys[:(n-1)*stride+size], stride, n, size)
				key := make([]float32, size)
				for i := range n {
					if LoadKey(memory, slot+i, key); !slices.Equal(key, keys[i*stride:i*stride+size]) {
						t.Fatalf("size %d: key %d from slot %d on is %v, want %v", size, i, slot, key, keys[i*stride:i*stride+size])
					}
				}
			}
		}
	})
}

func BenchmarkAttention(b *testing.B) {
	for _, size := range []int{64, 128} {
		b.Run(fmt.Sprintf("512 tokens of size %d", size), func(b *testing.B) {
			c := attentionCase{tokens: 32, heads: 3, size: size, position: 480, spans: []Span{{0, 512}}}
			a := c.build(1, c.spans)
			bound := peak()
			for b.Loop() {
				a.Run()
			}
			operations := 4 * float64(c.tokens*c.heads*size*(480+16)) * float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(operations/1e9, "GFLOP/s")
			b.ReportMetric(2*operations/bound.Multiply, "of-one-core's-peak")
		})
	}
}

// What a token does not see cannot reach it, even where it is not finite and
// the token is computed beside one that does see it.
func TestAHiddenKeyThatIsNotFiniteReachesNobody(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		const tokens, broken = 12, 7 // the positions from there on are not finite
		c := attentionCase{tokens: tokens, heads: 2, size: 32, position: 5}
		spans := []Span{{Slot: 3, Len: 17}}
		want := c.build(1, spans)
		want.Run()
		got := c.build(1, spans)
		nan := slices.Repeat([]float32{float32(math.NaN())}, c.size)
		for position := broken; position < 17; position++ {
			slot := 3 + position
			copy(got.Values[slot*c.size:(slot+1)*c.size], nan)
			StoreKeys(got.Keys, slot, nan, c.size, 1, c.size)
		}
		got.Run()
		for token := range tokens {
			at := token * got.OutStride
			row, sound := got.Out[at:at+2*c.size], want.Out[at:at+2*c.size]
			if c.position+token < broken {
				if !slices.Equal(row, sound) {
					t.Errorf("position %d has other bits", c.position+token)
				}
			} else if !math.IsNaN(float64(row[0])) {
				t.Errorf("position %d is %v in spite of what it sees", c.position+token, row[0])
			}
		}
	})
}
