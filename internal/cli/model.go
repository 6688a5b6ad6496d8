package cli

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// modelFlags name a model and how it computes.
type modelFlags struct {
	ref      string
	dtype    lm.DType
	quantize gguf.Type // F32: nothing is rounded
}

func (f *modelFlags) add(c *cobra.Command) {
	flagsUnder(c, "Model", func(flags *pflag.FlagSet) {
		addRef(flags, &f.ref)
		choice(flags, &f.dtype, "dtype", []string{"auto", "f32", "bf16"}, func(name string) lm.DType {
			return map[string]lm.DType{"auto": lm.Auto, "f32": lm.Float32, "bf16": lm.BFloat16}[name]
		}, "number format of the matrix products")
		quantizeFlag(flags, &f.quantize, "quantize", gguf.Quantizable(), []string{"none"}, "round the weights when they are read, plainly, to blocks of few bits")
	})
}

// quantizeFlag is a flag for one of some types, or for another name, which means F32.
func quantizeFlag(flags *pflag.FlagSet, target *gguf.Type, name string, of []gguf.Type, none []string, help string) {
	names, types := none, map[string]gguf.Type{}
	for _, t := range of {
		name := strings.ToLower(t.String())
		names, types[name] = append(names, name), t
	}
	choice(flags, target, name, names, func(name string) gguf.Type { return types[name] }, help)
}

// options are those with which the model is opened.
func (f *modelFlags) options(downloads checkpoint.Options) []lm.OpenOption {
	options := []lm.OpenOption{lm.Compute(f.dtype), lm.Checkpoint(downloads)}
	if f.quantize.Blocks() {
		options = append(options, lm.Quantize(f.quantize))
	}
	return options
}

// addRef adds the flag that names a model.
func addRef(flags *pflag.FlagSet, ref *string) {
	flags.StringVar(ref, "model", "", "the model at `REF`: a checkpoint's folder, a GGUF file, a Hub id org/name[@revision][:file.gguf], or demo")
}

func (f *modelFlags) open(c *cobra.Command) (*lm.Model, error) {
	if err := checkRef(f.ref); err != nil {
		return nil, err
	}
	chosen, err := engineOption(c)
	if err != nil {
		return nil, err
	}
	downloads, finish := showDownloads(c.ErrOrStderr())
	defer finish()
	m, err := lm.Open(c.Context(), f.ref, append(f.options(downloads), chosen...)...)
	limitGarbage()
	return m, err
}

// checkRef refuses what means standard input elsewhere.
func checkRef(ref string) error {
	if ref == "-" {
		return usage("a model is not read from standard input")
	}
	return nil
}

// garbage is how much of it may lie about before it is collected, in bytes,
// where much is in use.
const garbage = 64 << 20

// limitGarbage keeps memory near what is in use. Once a large model is open, most
// of the heap is what stays, and as much again would be far more than the garbage
// of some steps. Of a small one a like share would be next to nothing, and the
// collector would run all the time: there Go's own measure holds.
func limitGarbage() {
	if os.Getenv("GOGC") != "" {
		return
	}
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	debug.SetGCPercent(garbagePercent(memory.HeapAlloc))
}

// garbagePercent is how much garbage may come on top of a heap of so many bytes,
// as a share.
func garbagePercent(heap uint64) int {
	const least, usual = 5, 100
	return int(min(max(least, 100*garbage/max(heap, 1)), usual))
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
