package referee

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/cpu/kernel"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/internal/random"
)

// bounds say how far results may be from the referee's, beside the root mean
// square of their rows: half of a decoder's rows, nine tenths, and all.
type bounds struct{ half, most, all float64 }

// A float32 operation is off by 2^-24 = 6e-8 of its result, and a row has passed
// some dozen sums of up to 650 terms whose errors partly cancel: about 1e-6. Over
// 400 decoders the median of the rows was at most 1.5e-6 and the ninth decile
// 5.2e-6; the bounds held over 2500. A norm of a row that had almost cancelled, as
// of a ReLU's with one live element, magnifies what came in by up to 1/√ε = 1000:
// 3e-3 was the largest. What is computed otherwise than described is off by 0.01
// and more in most rows that follow.
var exact = bounds{1e-5, 5e-5, 2e-2}

// With products of bfloat16 both round the same numbers, most of them to the same
// side. Where float32 and float64 fall to different sides, a term is off by 2^-8
// of itself, and all that follows by some 2^-8 of its row; there is no bound where
// a norm magnifies that. Over 397 decoders the median was at most 2.0e-3 and the
// ninth decile below 2.2e-2.
var rounded = bounds{1e-2, 4e-2, math.Inf(1)}

// Latent attention has two orders of its products, which round other numbers: here
// a key and a value of each head, there what meets the latent. Of 90 decoders, some
// that had it went past the bounds above, to a median of 1.3e-2 and a ninth decile
// of 2.8e-2, and no other. Over 130 decoders all keep within these.
var roundedLatent = bounds{4e-2, 8e-2, math.Inf(1)}

type trial struct {
	name      string
	seeds     uint64
	nodes     int
	positions int
	stored    []safetensors.DType
	dtype     engine.DType
	bounds    bounds
	tooClose  float64 // two experts' probabilities, so that rounding decides between them
}

var trials = []trial{
	{"short", 120, 40, 64, []safetensors.DType{safetensors.F32, safetensors.F16, safetensors.BF16}, engine.Float32, exact, 1e-5},
	// Attention is computed in stretches of hundreds of positions.
	{"long", 6, 1300, 1250, []safetensors.DType{safetensors.F32}, engine.Float32, exact, 1e-5},
	{"rounded", 50, 40, 64, []safetensors.DType{safetensors.F32, safetensors.F16, safetensors.BF16}, engine.BFloat16, rounded, 0.02},
}

// STEER_DECODERS=10 tries ten times as many decoders, on every instruction set.
func TestTheCPUEngineAgreesWithTheReferee(t *testing.T) {
	times := uint64(1)
	if text := os.Getenv("STEER_DECODERS"); text != "" {
		if _, err := fmt.Sscan(text, &times); err != nil {
			t.Fatal(err)
		}
	}
	for _, trial := range trials {
		switch {
		case testing.Short():
			trial.seeds = 1 + trial.seeds/20
		case os.Getenv("STEER_INSTRUCTIONS") != "":
			trial.seeds = 1 + trial.seeds/4
		}
		trial.seeds *= times
		t.Run(trial.name, trial.run)
	}
}

// The same with the instruction sets that are not in use.
func TestEveryInstructionSetAgreesWithTheReferee(t *testing.T) {
	if os.Getenv("STEER_INSTRUCTIONS") != "" {
		t.Skip("an instruction set is forced")
	}
	inUse, _ := kernel.Instructions()
	for _, set := range kernel.Available() {
		if set == inUse {
			continue
		}
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			c := exec.Command(os.Args[0], "-test.run=^TestTheCPUEngineAgreesWithTheReferee$", "-test.v", "-test.short="+fmt.Sprint(testing.Short()))
			c.Env = append(os.Environ(), "STEER_INSTRUCTIONS="+set)
			out, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "decoders of") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}

// tally is what a trial has tried.
type tally struct {
	sync.Mutex
	decoders, close, higher, rows int
	shapes                        map[string]int
	worst                         float64
}

func (c trial) run(t *testing.T) {
	total := &tally{shapes: map[string]int{}}
	t.Run("seeds", func(t *testing.T) {
		for seed := uint64(1); seed <= c.seeds; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				c.try(t, seed, total)
			})
		}
	})
	t.Logf("%d decoders of %d shapes, %d runs that begin higher, %d rows: differences up to %.1e; %d decoders are left out whose experts are too close",
		total.decoders, len(total.shapes), total.higher, total.rows, total.worst, total.close)
}

// try plays one script on one decoder in both engines.
func (c trial) try(t *testing.T, seed uint64, total *tally) {
	checkpoint := random.New(seed, random.Options{Positions: c.positions, Stored: c.stored[seed%uint64(len(c.stored))]})
	d := checkpoint.Decoder
	fast, err := cpu.Load(t.Context(), d, checkpoint, c.dtype)
	if err != nil {
		t.Fatal(err)
	}
	slow, err := Load(t.Context(), d, checkpoint, c.dtype)
	if err != nil {
		t.Fatal(err)
	}
	s := newScript(seed, d, c.nodes, c.positions)
	session := slow.NewSession().(*Session)
	want, err := play(t.Context(), session, d, s.runs)
	if err != nil {
		t.Fatalf("referee: %v", err)
	}
	got, err := play(t.Context(), fast.NewSession(), d, s.runs)
	if err != nil {
		t.Fatalf("cpu: %v", err)
	}
	if s.whole != nil {
		whole, err := play(t.Context(), slow.NewSession(), d, []*planned{s.whole})
		if err != nil {
			t.Fatalf("referee, from the first block on: %v", err)
		}
		c.bounds.hold(t, want, whole) // a float32 residual stream enters the run
	}
	total.Lock()
	defer total.Unlock()
	if session.closest < c.tooClose {
		total.close++
		return
	}
	total.decoders++
	if s.whole != nil {
		total.higher++
	}
	for _, shape := range checkpoint.Shape {
		total.shapes[shape]++
	}
	if len(got.keys) != len(want.keys) {
		t.Errorf("%d results, the referee has %d", len(got.keys), len(want.keys))
	}
	total.rows += len(want.keys)
	if worst := c.boundsOf(d).hold(t, got, want); worst > total.worst {
		total.worst = worst
	}
	if t.Failed() {
		t.Logf("shape %v", checkpoint.Shape)
	}
}

func (c trial) boundsOf(d *arch.Decoder) bounds {
	latent := func(b arch.Block) bool { return b.Attention.Latent != nil }
	if c.dtype == engine.BFloat16 && slices.ContainsFunc(d.Blocks, latent) {
		return roundedLatent
	}
	return c.bounds
}

// hold holds results to others and returns the largest difference.
func (b bounds) hold(t *testing.T, got, want *results) float64 {
	t.Helper()
	var all []float64
	worst, at := 0.0, ""
	for _, key := range want.keys {
		d := difference(got.values[key], want.values[key])
		if all = append(all, d); d > worst {
			worst, at = d, key
		}
		if d > b.all {
			t.Errorf("%s differs by %v: %v, want %v", key, d, got.values[key], want.values[key])
			break
		}
	}
	slices.Sort(all)
	if n := len(all); n > 0 && (all[n/2] > b.half || all[n*9/10] > b.most) {
		t.Errorf("half of %d rows differ by up to %v, nine tenths by up to %v, most %v by %v", n, all[n/2], all[n*9/10], at, worst)
	}
	return worst
}

// difference is the largest difference beside the root mean square of the row.
func difference(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	most, squares := 0.0, 0.0
	for i, v := range want {
		most = max(most, math.Abs(float64(got[i])-float64(v)))
		squares += float64(v) * float64(v)
	}
	if most != most {
		return math.Inf(1)
	}
	return most / (math.Sqrt(squares/float64(len(want))) + 1e-3)
}
