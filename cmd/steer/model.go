package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/demo"
)

// modelFlags name a model and how it computes.
type modelFlags struct {
	ref   string
	dtype lm.DType
}

func (f *modelFlags) add(c *cobra.Command) {
	flagsUnder(c, "Model", func(flags *pflag.FlagSet) {
		addRef(flags, &f.ref)
		choice(flags, &f.dtype, "dtype", []string{"auto", "f32", "bf16"}, func(name string) lm.DType {
			return map[string]lm.DType{"auto": lm.Auto, "f32": lm.Float32, "bf16": lm.BFloat16}[name]
		}, "number format of the matrix products")
	})
}

// addRef adds the flag that names a model.
func addRef(flags *pflag.FlagSet, ref *string) {
	flags.StringVar(ref, "model", "", "the model at `REF`: a checkpoint's folder, a GGUF file, a Hub id org/name[@revision][:file.gguf], or demo")
}

func (f *modelFlags) open(ctx context.Context, diagnostics io.Writer) (*lm.Model, error) {
	if f.ref == demo.Name {
		collectEarly()
		return lm.Open(ctx, f.ref, lm.Compute(f.dtype))
	}
	downloads, finish := showDownloads(diagnostics)
	defer finish()
	m, err := lm.Open(ctx, f.ref, lm.Compute(f.dtype), lm.Checkpoint(downloads))
	collectEarly()
	return m, err
}

// collectEarly keeps memory near what is in use: once a model is open, most of
// the heap is buffers that stay, and garbage comes slowly.
func collectEarly() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(5)
	}
}

// showDownloads shows a bar for each file that is downloaded, and passes on what
// the user should know. Call finish when all is there.
func showDownloads(diagnostics io.Writer) (opts checkpoint.Options, finish func()) {
	bar := newBar(diagnostics, "")
	bar.bytes = true
	opts.Progress = func(e checkpoint.Event) {
		if e.Note != "" {
			bar.finish()
			fmt.Fprintf(diagnostics, "note: %s\n", e.Note)
			return
		}
		if e.File != bar.text {
			bar.finish()
			bar.text = e.File
		}
		bar.set(e.Done, e.Total)
	}
	return opts, bar.finish
}
