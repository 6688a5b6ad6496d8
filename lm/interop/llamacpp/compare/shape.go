package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/steervec/steer/internal/output"
	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// shape is the size of a Llama model whose head is its embedding.
type shape struct {
	name                                                    string
	hidden, layers, heads, keyValueHeads, inner, vocabulary int
}

var shapes = []shape{
	{"135M", 576, 30, 9, 3, 1536, 49152},
	{"360M", 960, 32, 15, 5, 2560, 49152},
	{"1B", 2048, 16, 32, 8, 8192, 128256},
}

// someTokens returns n token ids that look like text in nothing but their number.
func (s shape) someTokens(n int) []int {
	tokens := make([]int, n)
	for i := range tokens {
		tokens[i] = (7919 + i*104729 + i*i*31) % s.vocabulary
	}
	return tokens
}

// write makes a model with random weights in bfloat16, without a vocabulary's texts.
func (s shape) write(ctx context.Context, path string) error {
	var file gguf.Contents
	size := s.hidden / s.heads
	for key, value := range map[string]int{
		"context_length": 4096, "embedding_length": s.hidden, "block_count": s.layers, "feed_forward_length": s.inner, "vocab_size": s.vocabulary,
		"attention.head_count": s.heads, "attention.head_count_kv": s.keyValueHeads, "rope.dimension_count": size,
	} {
		file.Set("llama."+key, uint32(value))
	}
	file.Set("general.architecture", "llama")
	file.Set("general.file_type", gguf.BF16.FileType())
	file.Set("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	file.Set("llama.rope.freq_base", float32(10000))
	file.Set("tokenizer.ggml.model", "no_vocab")
	var tensors []gguf.Made
	norm := func(name string) {
		ones := make([]float32, s.hidden)
		for i := range ones {
			ones[i] = 1
		}
		data := make([]byte, 4*s.hidden)
		_ = gguf.F32.Encode(data, ones) // every number fits
		tensors = append(tensors, gguf.Made{Tensor: gguf.Tensor{Name: name + ".weight", Type: gguf.F32, Shape: []int{s.hidden}, Data: data}})
	}
	matrix := func(name string, out, in int) {
		number := uint64(len(tensors))
		tensors = append(tensors, gguf.Made{
			Tensor: gguf.Tensor{Name: name + ".weight", Type: gguf.BF16, Shape: []int{out, in}},
			Rows: func(values []float32, first int) error {
				fill(values, 1/math.Sqrt(float64(in)), rand.NewPCG(number, uint64(first)))
				return nil
			},
		})
	}
	matrix("token_embd", s.vocabulary, s.hidden)
	norm("output_norm")
	for layer := range s.layers {
		block := fmt.Sprintf("blk.%d.", layer)
		norm(block + "attn_norm")
		matrix(block+"attn_q", s.hidden, s.hidden)
		matrix(block+"attn_k", s.keyValueHeads*size, s.hidden)
		matrix(block+"attn_v", s.keyValueHeads*size, s.hidden)
		matrix(block+"attn_output", s.hidden, s.hidden)
		norm(block + "ffn_norm")
		matrix(block+"ffn_gate", s.inner, s.hidden)
		matrix(block+"ffn_up", s.inner, s.hidden)
		matrix(block+"ffn_down", s.hidden, s.inner)
	}
	target, err := output.Create(path)
	if err != nil {
		return err
	}
	if err := file.Write(ctx, target, tensors); err != nil {
		return errors.Join(err, target.Abort())
	}
	return target.Commit()
}

// fill draws numbers around 0 that are nearly normal: each is a sum of four of 16 bits.
func fill(values []float32, deviation float64, random *rand.PCG) {
	scale := float32(deviation * math.Sqrt(3) / (1 << 16))
	for i := range values {
		bits := random.Uint64()
		sum := int32(bits&0xffff+bits>>16&0xffff+bits>>32&0xffff+bits>>48) - 2*0xffff
		values[i] = float32(sum) * scale
	}
}
