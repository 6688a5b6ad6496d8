package cpu_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/engine"
)

// held is a checkpoint in memory.
type held map[string]safetensors.Tensor

func (h held) Tensor(name string) (safetensors.Tensor, bool) { t, ok := h[name]; return t, ok }
func (held) Release(safetensors.Tensor)                      {}
func (held) Config() []byte                                  { return nil }

// Experts in MXFP4 are those whose numbers were written out: to rounding with float32
// activations, and near with integers.
func TestExpertsInFourBitsAreTheirNumbers(t *testing.T) {
	const hidden, inner, count, vocabulary = 64, 32, 3, 20
	d, err := arch.Parse(fmt.Appendf(nil, `{"model_type": "gpt_oss", "hidden_size": %d, "intermediate_size": %d, "num_hidden_layers": 1, "vocab_size": %d,
		"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "attention_bias": true, "sliding_window": 4,
		"num_local_experts": %d, "num_experts_per_tok": 2, "rms_norm_eps": 1e-5}`, hidden, inner, vocabulary, count))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	plain := held{}
	add := func(name string, shape ...int) {
		n := 1
		for _, s := range shape {
			n *= s
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(r.NormFloat64()) / 4
		}
		plain[name] = safetensors.Tensor{Name: name, DType: safetensors.BF16, Shape: shape, Data: safetensors.AppendFloats(nil, safetensors.BF16, values)}
	}
	add("model.embed_tokens.weight", vocabulary, hidden)
	add("lm_head.weight", vocabulary, hidden)
	add("model.norm.weight", hidden)
	p := "model.layers.0."
	add(p+"input_layernorm.weight", hidden)
	add(p+"post_attention_layernorm.weight", hidden)
	for name, out := range map[string]int{"q_proj": 16, "k_proj": 8, "v_proj": 8} {
		add(p+"self_attn."+name+".weight", out, hidden)
		add(p+"self_attn."+name+".bias", out)
	}
	add(p+"self_attn.o_proj.weight", hidden, 16)
	add(p+"self_attn.o_proj.bias", hidden)
	add(p+"self_attn.sinks", 2)
	add(p+"mlp.router.weight", count, hidden)
	add(p+"mlp.router.bias", count)
	add(p+"mlp.experts.gate_up_proj_bias", count, 2*inner)
	add(p+"mlp.experts.down_proj_bias", count, hidden)

	packed := held{}
	for name, tensor := range plain {
		packed[name] = tensor
	}
	numbers := []float64{0, 0.5, 1, 1.5, 2, 3, 4, 6}
	for name, shape := range map[string][2]int{"gate_up_proj": {2 * inner, hidden}, "down_proj": {hidden, inner}} {
		out, in := shape[0], shape[1]
		blocks, scales := make([]byte, count*out*in/2), make([]byte, count*out*in/32)
		for i := range blocks {
			blocks[i] = byte(r.Uint32())
		}
		for i := range scales {
			scales[i] = byte(121 + r.IntN(6))
		}
		values := make([]float32, count*out*in) // [experts, in, out]
		for e := range count {
			for row := range out {
				for column := range in {
					at := (e*out+row)*in + column
					nibble := blocks[at/2] >> (at % 2 * 4) & 15
					v := numbers[nibble&7] * math.Exp2(float64(scales[at/32])-127)
					if nibble&8 != 0 {
						v = -v
					}
					values[(e*in+column)*out+row] = float32(v)
				}
			}
		}
		name = p + "mlp.experts." + name
		plain[name] = safetensors.Tensor{Name: name, DType: safetensors.BF16, Shape: []int{count, in, out}, Data: safetensors.AppendFloats(nil, safetensors.BF16, values)}
		packed[name+"_blocks"] = safetensors.Tensor{Name: name + "_blocks", DType: safetensors.U8, Shape: []int{count, out, in / 32, 16}, Data: blocks}
		packed[name+"_scales"] = safetensors.Tensor{Name: name + "_scales", DType: safetensors.U8, Shape: []int{count, out, in / 32}, Data: scales}
	}
	logits := func(tensors held, dtype engine.DType) (out []float32) {
		m, err := cpu.Load(t.Context(), d, tensors, dtype)
		if err != nil {
			t.Fatal(err)
		}
		run := chain(3, 1, 4, 1, 5)
		run.LogitRows, run.Logits = []int{4}, func(_ int, l []float32) { out = slices.Clone(l) }
		if err := m.NewSession().Run(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := logits(plain, engine.Float32)
	for _, c := range []struct {
		dtype     engine.DType
		tolerance float64
	}{{engine.Float32, 1e-6}, {engine.Auto, 1e-2}} { // Auto rounds what is no block to bfloat16
		for i, got := range logits(packed, c.dtype) {
			if d := math.Abs(float64(got - want[i])); !(d <= c.tolerance) {
				t.Errorf("dtype %d: logit %d is %v, want %v", c.dtype, i, got, want[i])
			}
		}
	}

	name := p + "mlp.experts.down_proj_scales"
	short := packed[name]
	short.Shape = []int{count, hidden, 2}
	packed[name] = short
	if _, err := cpu.Load(t.Context(), d, packed, engine.Auto); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("error %v, want one that names %s", err, name)
	}
}
