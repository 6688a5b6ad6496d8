package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hybridgroup/yzma/pkg/llama"
)

// kinds are what files hold: as they are written, and as llama.cpp rounds them.
var kinds = []string{"bf16", "q8_0", "q4_0", "q4_k_m"}

var fileTypes = map[string]llama.Ftype{"q8_0": llama.FtypeMostlyQ8_0, "q4_0": llama.FtypeMostlyQ4_0, "q4_k_m": llama.FtypeMostlyQ4_K_M}

// load loads llama.cpp's libraries. With a variant, only those kernels are among them.
func load(folder, variant string) error {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	if err := llama.Load(folder); err != nil {
		return err
	}
	llama.LogSet(llama.LogSilent())
	if variant != "" {
		name := "libggml-cpu-" + variant + ".so"
		only, err := os.MkdirTemp("", "steer-compare-library")
		if err != nil {
			return err
		}
		defer os.RemoveAll(only)
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join(folder, name), filepath.Join(only, name)); err != nil {
			return err
		}
		folder = only
	}
	if err := llama.GGMLBackendLoadAllFromPath(folder); err != nil {
		return err
	}
	llama.Init()
	return nil
}

// systemInfo returns the instructions that llama.cpp's kernels use.
func systemInfo() string {
	var used []string
	for _, one := range strings.Split(llama.PrintSystemInfo(), "|") {
		if name, ok := strings.CutSuffix(strings.TrimSpace(one), " = 1"); ok {
			_, name = cutLast(name, ":")
			used = append(used, strings.TrimSpace(name))
		}
	}
	return strings.Join(used, " ")
}

func cutLast(text, separator string) (before, after string) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):]
	}
	return "", text
}

// quantize lets llama.cpp round a file.
func quantize(from, to, kind string) error {
	fileType, ok := fileTypes[kind]
	if !ok {
		return fmt.Errorf("%q is none of %s", kind, strings.Join(kinds, ", "))
	}
	params := llama.ModelQuantizeDefaultParams()
	params.Ftype, params.NThread = fileType, int32(runtime.GOMAXPROCS(0))
	if code := llama.ModelQuantize(from, to+".part", &params); code != 0 {
		return fmt.Errorf("llama.cpp does not round %s: %d", from, code)
	}
	return os.Rename(to+".part", to)
}

// theirs is llama.cpp.
type theirs struct {
	model      llama.Model
	context    llama.Context
	vocabulary int
}

// cache is how llama.cpp keeps keys and values.
type cache bool

const (
	fast       cache = false // as it does by itself
	exactCache cache = true  // in float32, and attention without shortcuts
)

func openTheirs(path string, vocabulary, context int, keep cache) (engine, error) {
	model, err := llama.ModelLoadFromFile(path, llama.ModelDefaultParams())
	if err != nil {
		return nil, err
	}
	params := llama.ContextDefaultParams()
	params.NCtx, params.NBatch, params.NUbatch = uint32(context), uint32(context), uint32(context)
	params.NThreads, params.NThreadsBatch = int32(runtime.GOMAXPROCS(0)), int32(runtime.GOMAXPROCS(0))
	if keep == exactCache {
		params.TypeK, params.TypeV = llama.GGMLTypeF32, llama.GGMLTypeF32
		params.FlashAttentionType = llama.FlashAttentionTypeDisabled
	}
	c, err := llama.InitFromModel(model, params)
	if err != nil {
		return nil, errors.Join(err, llama.ModelFree(model))
	}
	return &theirs{model, c, vocabulary}, nil
}

func (t *theirs) prefill(_ context.Context, tokens []int) ([]float32, error) {
	memory, err := llama.GetMemory(t.context)
	if err != nil {
		return nil, err
	}
	if err := llama.MemoryClear(memory, true); err != nil {
		return nil, err
	}
	batch := make([]llama.Token, len(tokens))
	for i, token := range tokens {
		batch[i] = llama.Token(token)
	}
	return t.compute(batch)
}

// compute computes tokens behind those before and returns the logits of the last.
func (t *theirs) compute(tokens []llama.Token) ([]float32, error) {
	if code, err := llama.Decode(t.context, llama.BatchGetOne(tokens)); err != nil || code != 0 {
		return nil, fmt.Errorf("llama.cpp does not decode: %d, %w", code, err)
	}
	logits, err := llama.GetLogitsIth(t.context, -1, t.vocabulary)
	if err != nil {
		return nil, err
	}
	return slices.Clone(logits), nil
}

func (t *theirs) decode(ctx context.Context, tokens int) (float64, error) {
	logits, err := t.prefill(ctx, []int{1, 2, 3, 4, 5, 6, 7, 8})
	if err != nil {
		return 0, err
	}
	var took []float64
	last := time.Now()
	for range tokens {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		next := llama.Token(largest(logits))
		if logits, err = t.compute([]llama.Token{next}); err != nil {
			return 0, err
		}
		now := time.Now()
		took, last = append(took, now.Sub(last).Seconds()), now
	}
	return median(took), nil
}

// largest returns where the largest logit is.
func largest(logits []float32) (at int) {
	for i, v := range logits {
		if v > logits[at] {
			at = i
		}
	}
	return at
}

func (t *theirs) close() {
	_ = llama.Free(t.context)
	_ = llama.ModelFree(t.model)
}
