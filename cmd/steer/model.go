package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint"
)

// modelFlags name a model and how it computes.
type modelFlags struct{ ref, dtype string }

func (f *modelFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.ref, "model", "", "`REF`: a checkpoint's folder, or a Hub id org/name[@revision]")
	c.Flags().StringVar(&f.dtype, "dtype", "auto", "number `FORMAT`: auto, f32 or bf16")
}

func (f *modelFlags) open(ctx context.Context, diagnostics io.Writer) (*lm.Model, error) {
	numbers, ok := map[string]lm.Numbers{"auto": lm.Auto, "f32": lm.Float32, "bf16": lm.BFloat16}[f.dtype]
	if !ok {
		return nil, usage("--dtype %q: it is auto, f32 or bf16", f.dtype)
	}
	downloads := newBar(diagnostics, "downloading")
	defer downloads.finish()
	return lm.Open(ctx, f.ref, lm.OpenOptions{Numbers: numbers, Checkpoint: checkpoint.Options{Progress: func(e checkpoint.Event) {
		if e.Note != "" {
			fmt.Fprintln(diagnostics, e.Note)
			return
		}
		downloads.describe(e.File)
		downloads.set(e.Done, e.Total)
	}}})
}

// parseLayers reads a list such as 1,2,-1; nil for "".
func parseLayers(flag, text string) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	return parseInts(flag, text)
}

func parseInts(flag, text string) ([]int, error) {
	var out []int
	for _, part := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil {
			return nil, usage("--%s %q: %q is not a whole number", flag, text, part)
		}
		out = append(out, n)
	}
	return out, nil
}

// parseSite checks a layer type's name.
func parseSite(text string) (lm.Site, error) {
	sites := []lm.Site{lm.DecoderBlock, lm.SelfAttn, lm.MLP, lm.InputLayerNorm, lm.PostAttentionLayerNorm, lm.ResidualMid, lm.AttnHeads}
	if !slices.Contains(sites, lm.Site(text)) {
		return "", usage("--layer-type %q: it is one of %v", text, sites)
	}
	return lm.Site(text), nil
}

// promptFlags give one prompt, as text or as token ids.
type promptFlags struct{ text, ids string }

func (f *promptFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.text, "prompt", "", "the prompt's `TEXT`; - reads it from standard input")
	c.Flags().StringVar(&f.ids, "prompt-ids", "", "the prompt as token ids, such as `1,15,27`")
}

// read returns the prompt's text, "" where it is given as ids.
func (f *promptFlags) read(c *cobra.Command) (string, error) {
	given := 0
	for _, name := range []string{"prompt", "prompt-ids"} {
		if c.Flags().Changed(name) {
			given++
		}
	}
	if given != 1 {
		return "", usage("give one of --prompt and --prompt-ids")
	}
	if f.text != "-" {
		return f.text, nil
	}
	data, err := io.ReadAll(c.InOrStdin())
	return strings.TrimSuffix(string(data), "\n"), err
}

// tokens returns the prompt's ids.
func (f *promptFlags) tokens(model *lm.Model, text string) ([]int, error) {
	if f.ids != "" {
		return parseInts("prompt-ids", f.ids)
	}
	if text == "" {
		return nil, usage("--prompt is empty")
	}
	return model.Tokenize(text)
}

// checkOutput refuses to find out only after hours of work that a file cannot
// be written.
func checkOutput(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return usage("--out %s is a folder", path)
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".steer-*")
	if err != nil {
		return fmt.Errorf("--out %s: %w", path, err)
	}
	probe.Close()
	return os.Remove(probe.Name())
}
