package gguf_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
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
