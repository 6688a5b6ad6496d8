// Command compare times this project and llama.cpp on the same GGUF files in the same
// minutes, and says how exact the logits of each are.
//
//	../../../llamacpp/fetch
//	go run ./compare --shapes 360M
//	STEER_INSTRUCTIONS=avx2 go run ./compare --variant haswell
//
// The files hold Llama models with random weights in bfloat16, which llama.cpp's own
// quantiser rounds to Q8_0, Q4_0 and Q4_K_M. They are made in a temporary folder, or in
// one that --folder names, where they stay. Each engine has as many threads as Go has
// cores; rounds alternate, and figures are medians, ratios being those of one round.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/cpu/kernel"
)

func main() {
	log.SetFlags(0)
	var c comparison
	names := flag.String("shapes", "360M,1B", "sizes, separated by commas")
	types := flag.String("types", strings.Join(kinds, ","), "types of weights, separated by commas")
	flag.IntVar(&c.rounds, "rounds", 5, "times that each figure is taken")
	flag.IntVar(&c.tokens, "tokens", 512, "tokens of a prefill")
	flag.IntVar(&c.steps, "steps", 32, "tokens of a decoding round")
	flag.StringVar(&c.libraries, "libraries", "../../../llamacpp/lib", "folder of llama.cpp's libraries")
	flag.StringVar(&c.variant, "variant", "", "kernels of llama.cpp, such as haswell (AVX2) or zen4; by default it chooses")
	flag.StringVar(&c.folder, "folder", "", "where the files are kept for the next time; by default they go")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := c.run(ctx, strings.Split(*names, ","), strings.Split(*types, ",")); err != nil {
		log.Fatal(err)
	}
}

// comparison is one run of the program.
type comparison struct {
	rounds, tokens, steps      int
	libraries, variant, folder string
}

// engine is one of the two that are compared.
type engine interface {
	// prefill computes the tokens and returns the logits of the last.
	prefill(ctx context.Context, tokens []int) ([]float32, error)
	// decode computes the tokens one after the other, behind those of a prefill of
	// eight, and returns the median seconds of one.
	decode(ctx context.Context, tokens int) (float64, error)
	close()
}

func (c *comparison) run(ctx context.Context, names, types []string) (err error) {
	instructions, err := kernel.Instructions()
	if err != nil {
		return err
	}
	if err := load(c.libraries, c.variant); err != nil {
		return fmt.Errorf("load llama.cpp's libraries from %s (the script fetch brings them): %w", c.libraries, err)
	}
	if c.folder == "" {
		if c.folder, err = os.MkdirTemp("", "steer-compare"); err != nil {
			return err
		}
		defer os.RemoveAll(c.folder)
	} else if err := os.MkdirAll(c.folder, 0o777); err != nil {
		return err
	}
	peak := kernel.MeasurePeak(time.Second)
	fmt.Printf("%d threads; steer with %s, llama.cpp with %s; reading peak %.1f GB/s, float32 peak %.0f GFLOP/s\n",
		runtime.GOMAXPROCS(0), instructions, systemInfo(), peak.Read/1e9, peak.Multiply/1e9)
	for _, name := range names {
		i := slices.IndexFunc(shapes, func(s shape) bool { return s.name == name })
		if i < 0 {
			return fmt.Errorf("%q is no shape", name)
		}
		fmt.Printf("\n%s\n%-8s %10s  %26s  %28s  %22s\n%-8s %10s  %8s %8s %8s  %9s %9s %8s  %10s %10s\n", name,
			"", "", "decode, tokens/s", fmt.Sprintf("prefill %d, tokens/s", c.tokens), "error of the logits",
			"", "bytes", "llama", "steer", "ratio", "llama", "steer", "ratio", "llama", "steer")
		for _, kind := range types {
			if err := c.compare(ctx, shapes[i], kind); err != nil {
				return fmt.Errorf("%s in %s: %w", name, kind, err)
			}
		}
	}
	return nil
}

// compare measures one file with both engines and prints a line.
func (c *comparison) compare(ctx context.Context, s shape, kind string) error {
	path, err := c.file(ctx, s, kind)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	theirError, ourError, err := accuracy(ctx, s, path)
	if err != nil {
		return err
	}
	theirs, err := openTheirs(path, s.vocabulary, c.tokens+64, fast)
	if err != nil {
		return err
	}
	defer theirs.close()
	ours, err := openOurs(ctx, path, lm.Auto)
	if err != nil {
		return err
	}
	engines := []engine{theirs, ours}
	prompt := s.someTokens(c.tokens)
	var decoded, filled [2][]float64
	var decodeRatios, fillRatios []float64
	for round := range c.rounds + 1 {
		var steps, fills [2]float64
		for i, e := range engines {
			if steps[i], err = e.decode(ctx, c.steps); err != nil {
				return err
			}
		}
		for i, e := range engines {
			begin := time.Now()
			if _, err := e.prefill(ctx, prompt); err != nil {
				return err
			}
			fills[i] = time.Since(begin).Seconds()
		}
		if round == 0 {
			continue // memory is taken for the first time
		}
		for i := range engines {
			decoded[i], filled[i] = append(decoded[i], 1/steps[i]), append(filled[i], float64(c.tokens)/fills[i])
		}
		decodeRatios, fillRatios = append(decodeRatios, steps[0]/steps[1]), append(fillRatios, fills[0]/fills[1])
	}
	fmt.Printf("%-8s %10d  %8.1f %8.1f %8.2f  %9.0f %9.0f %8.2f  %10.2g %10.2g\n", kind, info.Size(),
		median(decoded[0]), median(decoded[1]), median(decodeRatios), median(filled[0]), median(filled[1]), median(fillRatios), theirError, ourError)
	return nil
}

// accuracy returns how far the logits of 32 tokens' last are from those with the same
// weights and float32 activations: the root mean square of the differences over that of
// the logits.
func accuracy(ctx context.Context, s shape, path string) (theirs, ours float64, err error) {
	prompt := s.someTokens(32)
	last := func(e engine, err error) ([]float32, error) {
		if err != nil {
			return nil, err
		}
		defer e.close()
		return e.prefill(ctx, prompt)
	}
	exact, err := last(openOurs(ctx, path, lm.Float32))
	if err != nil {
		return 0, 0, err
	}
	our, err := last(openOurs(ctx, path, lm.Auto))
	if err != nil {
		return 0, 0, err
	}
	their, err := last(openTheirs(path, s.vocabulary, 64, exactCache))
	if err != nil {
		return 0, 0, err
	}
	return distance(their, exact), distance(our, exact), nil
}

func distance(got, want []float32) float64 {
	var off, size float64
	for i, w := range want {
		off += math.Pow(float64(got[i])-float64(w), 2)
		size += float64(w) * float64(w)
	}
	return math.Sqrt(off / size)
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// ours is this project's engine.
type ours struct{ model *lm.Model }

func openOurs(ctx context.Context, path string, dtype lm.DType) (engine, error) {
	m, err := lm.Open(ctx, path, lm.Compute(dtype))
	if err != nil {
		return nil, err
	}
	return &ours{m}, nil
}

func (o *ours) prefill(ctx context.Context, tokens []int) (logits []float32, err error) {
	_, err = o.model.Forward(ctx, []lm.Input{{Tokens: tokens, Read: []int{len(tokens) - 1}}}, lm.ForwardOptions{
		RunTokens: len(tokens), Logits: func(_, _ int, row []float32) { logits = slices.Clone(row) },
	})
	return logits, err
}

func (o *ours) decode(ctx context.Context, tokens int) (float64, error) {
	var took []float64
	var last time.Time
	_, err := o.model.Generate(ctx, []lm.Input{{Tokens: []int{1, 2, 3, 4, 5, 6, 7, 8}}}, lm.GenerateOptions{
		MaxTokens: tokens + 1, IgnoreEnd: true, Token: func(int, int, string) {
			now := time.Now()
			if !last.IsZero() {
				took = append(took, now.Sub(last).Seconds())
			}
			last = now
		},
	})
	if err != nil {
		return 0, err
	}
	return median(took), nil
}

// close gives the memory back, which the collector does not know of.
func (o *ours) close() {
	o.model = nil
	runtime.GC()
}

// file returns the path of a model in a type, which it makes unless it is there.
func (c *comparison) file(ctx context.Context, s shape, kind string) (string, error) {
	path := func(kind string) string { return filepath.Join(c.folder, s.name+"-"+kind+".gguf") }
	if _, err := os.Stat(path(kind)); err == nil {
		return path(kind), nil
	}
	if kind == "bf16" {
		return path(kind), s.write(ctx, path(kind))
	}
	source, err := c.file(ctx, s, "bf16")
	if err != nil {
		return "", err
	}
	return path(kind), quantize(source, path(kind), kind)
}
