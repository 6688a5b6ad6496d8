package cpu_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
)

// random is a checkpoint that has every tensor that is asked for, of the shape
// that its name ends in: "name:8x4".
type random struct {
	dtype safetensors.DType
	made  map[string]safetensors.Tensor
	rand  *rand.Rand
}

func (*random) Config() []byte { return nil }

func (r *random) Tensor(name string) (safetensors.Tensor, bool) {
	if t, ok := r.made[name]; ok {
		return t, true
	}
	var rows, cols int
	if _, err := fmt.Sscanf(name[len(name)-len("00000x00000"):], "%dx%d", &rows, &cols); err != nil {
		return safetensors.Tensor{}, false
	}
	values := make([]float32, rows*cols)
	for i := range values {
		values[i] = float32(r.rand.NormFloat64()) / 32
	}
	t := safetensors.Tensor{Name: name, DType: r.dtype, Shape: []int{rows, cols}, Data: safetensors.AppendFloats(nil, r.dtype, values)}
	r.made[name] = t
	return t, true
}

func (r *random) Release(safetensors.Tensor) {}

func part(name string, rows, cols int) arch.Linear {
	return arch.Linear{Weight: fmt.Sprintf("%s:%05dx%05d", name, rows, cols)}
}

// The speed of experts beside that of one dense MLP with as many active
// parameters: GFLOP/s count the products of active parameters alone. Attention is
// too small to count.
func BenchmarkExperts(b *testing.B) {
	const hidden, active, vocabulary = 1024, 4096, 4096
	gated := func(name string, inner int) arch.MLP {
		return arch.MLP{
			Activation: arch.SiLU, Inner: inner,
			Gate: part(name+"gate", inner, hidden), Up: part(name+"up", inner, hidden), Down: part(name+"down", hidden, inner),
		}
	}
	mixture := func(count, perToken int) arch.MLP {
		m := gated("{expert}", active/perToken)
		m.Experts = &arch.Experts{Router: part("router", count, hidden), Count: count, PerToken: perToken, Normalize: true}
		return m
	}
	for _, compute := range []engine.DType{engine.Float32, engine.BFloat16} {
		for _, c := range []struct {
			name string
			mlp  arch.MLP
		}{{"dense", gated("dense", active)}, {"2of8", mixture(8, 2)}, {"8of64", mixture(64, 8)}} {
			d := &arch.Decoder{
				Hidden: hidden, Vocabulary: vocabulary, Embedding: arch.Embedding{Tokens: part("embed", vocabulary, hidden).Weight}, Head: arch.Head{Tied: true},
				Blocks: []arch.Block{{
					Attention: arch.Attention{
						Heads: 1, KVHeads: 1, HeadSize: 2, Scale: 1,
						Query: part("q", 2, hidden), Key: part("k", 2, hidden), Value: part("v", 2, hidden), Output: part("o", hidden, 2),
					},
					BeforeMLP: &arch.Norm{Epsilon: 1e-6},
					MLP:       c.mlp,
				}},
			}
			dtype := safetensors.F32
			if compute == engine.BFloat16 {
				dtype = safetensors.BF16
			}
			model, err := cpu.Load(context.Background(), d, &random{dtype, map[string]safetensors.Tensor{}, rand.New(rand.NewPCG(1, 2))}, compute)
			if err != nil {
				b.Fatal(err)
			}
			for _, rows := range []int{1, 16, 128, 512, 2048} {
				b.Run(model.Description().DType+"/"+c.name+"/rows="+strconv.Itoa(rows), func(b *testing.B) {
					r := rand.New(rand.NewPCG(3, 4))
					run := &engine.Run{Slots: rows + 16, Taps: []engine.Tap{{Site: arch.MLPOutput, Read: func(int, []float32) {}}}}
					for i := range rows {
						run.Tokens = append(run.Tokens, r.IntN(vocabulary))
						run.Taps[0].Rows = append(run.Taps[0].Rows, i)
					}
					for b.Loop() {
						run.Segments = []engine.Segment{{Nodes: rows, Path: forest.Path{{Len: rows}}, Length: rows}}
						if err := model.NewSession().Run(context.Background(), run); err != nil {
							b.Fatal(err)
						}
					}
					operations := 2 * 3 * float64(hidden*active) * float64(rows)
					b.ReportMetric(operations*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
				})
			}
		}
	}
}
