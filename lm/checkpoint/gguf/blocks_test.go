package gguf_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/gguf"
)

var quantized = []gguf.Type{gguf.Q4_0, gguf.Q4_1, gguf.Q5_0, gguf.Q5_1, gguf.Q8_0, gguf.Q2_K, gguf.Q3_K, gguf.Q4_K, gguf.Q5_K, gguf.Q6_K}

// Random blocks expand to the bits that llama.cpp's own library gives; see
// testdata/expand.c.
func TestBlocksExpandAsInLlamaCpp(t *testing.T) {
	for _, kind := range quantized {
		t.Run(kind.String(), func(t *testing.T) {
			name := filepath.Join("testdata", strings.Replace(strings.ToLower(kind.String()), "_k", "_K", 1))
			blocks, err := os.ReadFile(name + ".blocks")
			if err != nil {
				t.Fatal(err)
			}
			floats, err := os.ReadFile(name + ".floats")
			if err != nil {
				t.Fatal(err)
			}
			elements, bytes := kind.Block()
			got := make([]float32, len(blocks)/bytes*elements)
			if len(floats) != 4*len(got) {
				t.Fatalf("%d bytes of floats for %d elements", len(floats), len(got))
			}
			kind.Expand(got, blocks)
			for i, g := range got {
				if want := math.Float32frombits(binary.LittleEndian.Uint32(floats[4*i:])); math.Float32bits(g) != math.Float32bits(want) {
					t.Fatalf("element %d is %v, want %v", i, g, want)
				}
			}
		})
	}
}

// The smallest blocks, worked out by hand from the formats' description.
func TestBlocksByHand(t *testing.T) {
	const one, two = "\x00\x3c", "\x00\x40" // halves
	block := func(parts ...string) []byte { return []byte(strings.Join(parts, "")) }
	for _, c := range []struct {
		kind gguf.Type
		data []byte
		want map[int]float32
	}{
		{gguf.F32, block("\x00\x00\x80\x3f"), map[int]float32{0: 1}},
		{gguf.F16, block(two), map[int]float32{0: 2}},
		{gguf.BF16, block("\x80\xbf"), map[int]float32{0: -1}},
		{gguf.Q4_0, block(two, "\x0f", strings.Repeat("\x98", 15)), map[int]float32{0: 14, 16: -16, 1: 0, 17: 2}},
		{gguf.Q8_0, block(two, "\xff", strings.Repeat("\x03", 31)), map[int]float32{0: -2, 31: 6}},
		{gguf.Q4_K, block(one, two, "\x03\x01\x01\x01\x02\x01\x01\x01\x11\x11\x11\x11", strings.Repeat("\x21", 128)), map[int]float32{0: 3*1 - 2*2, 32: 1*2 - 2*1, 255: 1*2 - 2*1}},
		{gguf.Q6_K, block(strings.Repeat("\x21", 128), strings.Repeat("\xff", 64), strings.Repeat("\x01", 15), "\xff", one), map[int]float32{0: 17, 64: 18, 255: -18}},
	} {
		elements, _ := c.kind.Block()
		out := make([]float32, elements)
		c.kind.Expand(out, c.data)
		for i, want := range c.want {
			if out[i] != want {
				t.Errorf("%v: element %d is %v, want %v", c.kind, i, out[i], want)
			}
		}
	}
}

func BenchmarkExpand(b *testing.B) {
	for _, kind := range []gguf.Type{gguf.Q4_0, gguf.Q8_0, gguf.Q4_K, gguf.Q5_K, gguf.Q6_K} {
		b.Run(kind.String(), func(b *testing.B) {
			elements, bytes := kind.Block()
			const n = 1 << 16
			data, out := make([]byte, n/elements*bytes), make([]float32, n)
			b.SetBytes(4 * n)
			for b.Loop() {
				kind.Expand(out, data)
			}
			b.ReportMetric(n*float64(b.N)/float64(b.Elapsed().Nanoseconds())*1e3, "Melements/s")
		})
	}
}

// Rounded numbers are near: within half a step of the group's range, or a step where
// the scale itself is rounded to few bits.
func TestNumbersAreRoundedToBlocks(t *testing.T) {
	steps := map[gguf.Type]float64{ // parts of the range of a block
		gguf.Q8_0: 1. / 250, gguf.Q4_0: 1. / 14, gguf.Q4_1: 1. / 29, gguf.Q5_0: 1. / 29, gguf.Q5_1: 1. / 60, gguf.Q2_K: 1. / 4, gguf.Q3_K: 1. / 6, gguf.Q4_K: 1. / 20,
		gguf.Q5_K: 1. / 40, gguf.Q6_K: 1. / 55, gguf.IQ4_NL: 1. / 12, gguf.MXFP4: 1. / 8,
	}
	random := rand.New(rand.NewPCG(1, 1))
	for _, kind := range gguf.Quantizable() {
		t.Run(kind.String(), func(t *testing.T) {
			elements, bytes := kind.Block()
			for _, mean := range []float64{0, 0.5, -3} {
				values, got, blocks := make([]float32, elements), make([]float32, elements), make([]byte, bytes)
				low, high := 0., 0.
				for i := range values {
					values[i] = float32(mean + random.Float64() - 0.5)
					low, high = min(low, float64(values[i])), max(high, float64(values[i]))
				}
				if err := kind.Quantize(blocks, values); err != nil {
					t.Fatal(err)
				}
				kind.Expand(got, blocks)
				size := max(high, -low)
				for i, v := range values {
					if d := math.Abs(float64(got[i] - v)); d > 2*size*steps[kind] {
						t.Fatalf("%v becomes %v, %v of a range of %v", v, got[i], d, 2*size)
					}
				}
				// Numbers of the format stay what they are, or very nearly.
				again := make([]byte, bytes)
				if err := kind.Quantize(again, got); err != nil {
					t.Fatal(err)
				}
				kind.Expand(values, again)
				for i, v := range values {
					if d := math.Abs(float64(got[i] - v)); d > size*steps[kind] {
						t.Fatalf("%v becomes %v the second time", got[i], v)
					}
				}
			}
			zero := make([]float32, elements)
			blocks := make([]byte, bytes)
			if err := kind.Quantize(blocks, zero); err != nil {
				t.Fatal(err)
			}
			got := slices.Repeat([]float32{1}, elements)
			if kind.Expand(got, blocks); slices.ContainsFunc(got, func(v float32) bool { return v != 0 }) {
				t.Errorf("zeros become %v", got)
			}
			zero[5] = float32(math.NaN())
			if err := kind.Quantize(blocks, zero); err == nil {
				t.Error("NaN is rounded")
			}
			if zero[5] = 1e30; kind != gguf.MXFP4 {
				if err := kind.Quantize(blocks, zero); err == nil {
					t.Error("a number is rounded whose scale is no half")
				}
			}
		})
	}
	if err := gguf.F32.Quantize(nil, nil); err == nil {
		t.Error("F32 is a format of blocks")
	}
}
