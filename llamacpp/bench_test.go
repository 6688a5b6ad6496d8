package llamacpp

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// BenchmarkSideBySide times both engines on the GGUF file that STEER_MODEL names, in
// rounds that alternate, and says by how much a vector of theirs differs:
//
//	STEER_MODEL=model.gguf go test -run XXX -bench SideBySide -benchtime 1x .
func BenchmarkSideBySide(b *testing.B) {
	path := os.Getenv("STEER_MODEL")
	if path == "" {
		b.Skip("STEER_MODEL names no GGUF file")
	}
	const rounds, prompt, steps = 3, 256, 16
	for name, dtype := range map[string]lm.DType{"f32": lm.Float32, "auto": lm.Auto} {
		b.Run(name, func(b *testing.B) {
			ours, err := lm.Open(b.Context(), path, lm.Compute(dtype))
			if err != nil {
				b.Fatal(err)
			}
			theirs, err := lm.Open(b.Context(), path, lm.Compute(dtype), lm.OnFiles(Open(options(b))))
			if err != nil {
				b.Fatal(err)
			}
			models := []*lm.Model{ours, theirs}
			vocabulary := ours.Decoder().Vocabulary
			text := func(n, salt int) []int {
				tokens := make([]int, n)
				for i := range tokens {
					tokens[i] = (7919 + i*104729 + i*i*31 + i/20*salt) % vocabulary
				}
				return tokens
			}
			var pairs []lm.Input // of 60 tokens, the first 20 of which are the same in all
			for i := range 32 {
				pairs = append(pairs, lm.Input{Tokens: text(60, 17*i+1), Read: []int{59}})
			}
			var taps []lm.Address
			for layer := range ours.Layers() {
				taps = append(taps, lm.Address{Layer: layer, Site: lm.DecoderBlock})
			}
			extract := func(m *lm.Model) (difference [][]float32) {
				difference = make([][]float32, m.Layers())
				_, err := m.Forward(b.Context(), pairs, lm.ForwardOptions{Taps: taps, Activation: func(input, _ int, at lm.Address, activation []float32) {
					d := difference[at.Layer]
					if d == nil {
						d = make([]float32, len(activation))
						difference[at.Layer] = d
					}
					sign := float32(1-2*(input%2)) / float32(len(pairs)/2)
					for i, v := range activation {
						d[i] += sign * v
					}
				}})
				if err != nil {
					b.Fatal(err)
				}
				return difference
			}
			generate := func(m *lm.Model, tokens int) {
				if _, err := m.Generate(b.Context(), []lm.Input{{Tokens: text(prompt, 0)}}, lm.GenerateOptions{MaxTokens: tokens, IgnoreEnd: true}); err != nil {
					b.Fatal(err)
				}
			}
			steered := make([]*lm.Model, 2)
			ablated := make([]*lm.Model, 2)
			for i, m := range models {
				v := &steer.Vector{Site: lm.DecoderBlock, Layers: map[int][]float32{m.Layers() / 2: slices.Repeat([]float32{0.01}, m.Decoder().Hidden)}}
				for j, op := range []steer.Operator{steer.Add(), steer.Ablate()} {
					edit, err := v.Edit(1, steer.Using(op))
					if err != nil {
						b.Fatal(err)
					}
					if [][]*lm.Model{steered, ablated}[j][i], err = m.With(edit); err != nil {
						b.Fatal(err)
					}
				}
			}
			took := map[string][2][]time.Duration{}
			time1 := func(what string, i int, f func()) {
				begun := time.Now()
				f()
				t := took[what]
				t[i] = append(t[i], time.Since(begun))
				took[what] = t
			}
			var vectors [2][][]float32
			for range rounds {
				for i, m := range models {
					time1("1 prefill of 256 tokens", i, func() { generate(m, 1) })
					time1("2 the same and 16 more", i, func() { generate(m, 1+steps) })
					time1("3 the same with an addition", i, func() { generate(steered[i], 1+steps) })
					time1("4 the same with an ablation", i, func() { generate(ablated[i], 1+steps) })
					time1("5 32 prompts of 60 tokens, read at every layer", i, func() { vectors[i] = extract(m) })
				}
			}
			var lines []string
			for what, t := range took {
				slices.Sort(t[0])
				slices.Sort(t[1])
				lines = append(lines, fmt.Sprintf("%s: cpu %v, llamacpp %v", what, t[0][rounds/2].Round(time.Millisecond), t[1][rounds/2].Round(time.Millisecond)))
			}
			slices.Sort(lines)
			for _, line := range lines {
				b.Log(line)
			}
			worst, at, least := 0.0, 0, 1.0
			for layer := range vectors[0] {
				var dot, a, c float64
				for i, x := range vectors[0][layer] {
					y := vectors[1][layer][i]
					if d := math.Abs(float64(x - y)); d > worst {
						worst, at = d, layer
					}
					dot, a, c = dot+float64(x*y), a+float64(x*x), c+float64(y*y)
				}
				least = min(least, dot/math.Sqrt(a*c))
			}
			b.Logf("vectors differ by up to %.2g (layer %d), cosine at least %.7f; %s, %s", worst, at, least, ours.Description().DType, theirs.Description().DType)
		})
	}
}
