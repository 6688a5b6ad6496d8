package lm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/internal/random"
)

// Whatever goes on over one cached view, every text, activation and score is the
// one that the same input gives alone on the uncached model, to the bit, and
// nothing is left behind. It runs for ten seconds, or as long as STEER_SOAK says:
//
//	STEER_SOAK=1h go test -run Soak -timeout 2h -v ./lm
//
// STEER_SOAK_SEED=n begins with another world than the first.
func TestSoakOfACachedView(t *testing.T) {
	long := 10 * time.Second
	if testing.Short() {
		long = 2 * time.Second
	}
	if text := os.Getenv("STEER_SOAK"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(1)
	if text := os.Getenv("STEER_SOAK_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	newWorld(t, seed).run(20) // makes the workers and buffers that stay
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	var total counts
	first := seed
	for begun, told := time.Now(), time.Now(); time.Since(begun) < long && !t.Failed(); seed++ {
		w := newWorld(t, seed)
		w.run(60)
		total.add(&w.counts)
		if time.Since(told) > time.Minute {
			told = time.Now()
			t.Logf("%v: world %d, %v, %d KB of heap", time.Since(begun).Round(time.Second), seed, &total, heapInUse()>>10)
		}
	}
	t.Logf("worlds %d to %d: %v", first, seed-1, &total)
	// Goroutines that have done their work may take a moment to end.
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d at the beginning", n, goroutines)
	}
	if n := heapInUse(); n > heap+8<<20 {
		t.Errorf("%d KB of heap, %d at the beginning", n>>10, heap>>10)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what has a cleanup goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// counts is what has happened.
type counts struct{ steps, sequences, compared, cancelled, forwards, scores, computed, left atomic.Int64 }

func (c *counts) all() []*atomic.Int64 {
	return []*atomic.Int64{&c.steps, &c.sequences, &c.compared, &c.cancelled, &c.forwards, &c.scores, &c.computed, &c.left}
}

func (c *counts) add(other *counts) {
	for i, n := range other.all() {
		c.all()[i].Add(n.Load())
	}
}

func (c *counts) String() string {
	return fmt.Sprintf("%d steps (%d cancelled inside), %d sequences, %d of them to their end, %d forward passes, %d scores; %d tokens computed, %d of them still cached at the end",
		c.steps.Load(), c.cancelled.Load(), c.sequences.Load(), c.compared.Load(), c.forwards.Load(), c.scores.Load(), c.computed.Load(), c.left.Load())
}

// world is one random model with one cache, and views of both kinds.
type world struct {
	*testing.T
	seed      uint64
	name      string
	capacity  int
	positions int
	prompts   [][]int
	views     []view
	steerings []*lm.Steering
	counts
}

// view is a view of the model with the cache and its twin without.
type view struct{ cached, plain *lm.Model }

const vocabulary = 512 // of the tokenizer

func newWorld(t *testing.T, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 11))
	w := &world{T: t, seed: seed, positions: 40 + r.IntN(60)}
	w.capacity = []int{0, 16, 100, 400, 3000}[r.IntN(5)]
	options := random.Options{Vocabulary: vocabulary, Positions: w.positions}
	if r.IntN(4) == 0 {
		options.Dynamic = 12 + r.IntN(20)
	}
	dtype := lm.Float32
	if r.IntN(3) == 0 {
		options.Stored, dtype = safetensors.BF16, []lm.DType{lm.Float32, lm.BFloat16}[r.IntN(2)]
	}
	checkpoint, garbles := random.New(seed, options), r.IntN(3) == 0
	w.name = fmt.Sprintf("world %d (capacity %d, %v)", seed, w.capacity, checkpoint.Shape)
	plain, err := lm.Open(t.Context(), gpt2, lm.OnEngine(func(ctx context.Context, _ engine.Source, _ lm.DType) (engine.Engine, error) {
		e, err := cpu.Load(ctx, checkpoint.Decoder, checkpoint, dtype)
		if garbles {
			return garbling{e}, err
		}
		return e, err
	}))
	if err != nil {
		t.Fatal(w.name, err)
	}
	base := view{plain.Cached(w.capacity), plain}
	w.views = []view{base, base}
	for range 2 {
		edit := w.edit(r, plain)
		steered := view{}
		if steered.cached, err = base.cached.With(edit); err == nil {
			steered.plain, err = plain.With(edit)
		}
		if err != nil {
			t.Fatal(w.name, err)
		}
		w.views = append(w.views, steered)
	}
	w.steerings = []*lm.Steering{nil, nil}
	for range 2 {
		s, err := plain.Steering(w.edit(r, plain))
		if err != nil {
			t.Fatal(w.name, err)
		}
		w.steerings = append(w.steerings, s)
	}
	for range 4 {
		prompt := make([]int, 30)
		for i := range prompt {
			prompt[i] = r.IntN(vocabulary)
		}
		w.prompts = append(w.prompts, prompt)
	}
	return w
}

// scaled adds a multiple of the vector; where it turns, of the activation
// reversed too.
type scaled struct {
	by   float32
	turn bool
}

func (s scaled) Name() string { return fmt.Sprintf("scaled(%v,%v)", s.by, s.turn) }
func (s scaled) Prepare(vector []float32, _ int) ([]float32, error) {
	if s.by == 0 {
		return nil, nil
	}
	return vector, nil
}
func (s scaled) Delta(delta, activation, vector []float32) {
	for i, v := range vector {
		delta[i] = s.by * v
		if s.turn {
			delta[i] += s.by * activation[len(activation)-1-i]
		}
	}
}

// selection is the positions from one on, or the answer's, by their remainder.
type selection struct {
	from, of int
	answer   bool
}

func (s selection) Selects(position, prompt int) bool {
	return position >= s.from && position%s.of == 0 && (!s.answer || position >= prompt)
}
func (selection) Check(int) error { return nil }

// edit draws an edit from a few, so that equal ones meet.
func (w *world) edit(r *rand.Rand, m *lm.Model) lm.Edit {
	layer := r.IntN(m.Layers())
	site := []lm.Site{lm.DecoderBlock, lm.SelfAttn, lm.MLP, lm.AttnHeads}[r.IntN(4)]
	vector := make([]float32, m.Width(layer, site))
	for i := range vector {
		vector[i] = float32(i%3-1) / 4
	}
	e := lm.Edit{Site: site, Layers: map[int][]float32{layer: vector}, Operator: scaled{float32(1 + r.IntN(2)), r.IntN(2) == 0}}
	if r.IntN(3) > 0 {
		e.Tokens = selection{r.IntN(8), 1 + r.IntN(2), r.IntN(3) == 0}
	}
	if r.IntN(2) == 0 {
		e.Condition = w.condition(r, m, layer, 2)
	}
	if r.IntN(4) == 0 {
		e.Decay = lm.Decay{HalfLife: 0.1 + 4*r.Float64(), From: r.IntN(3)}
	}
	if r.IntN(4) == 0 {
		e.Between = &lm.Between{Begin: "e", End: []string{"a", "th"}[r.IntN(2)], Outside: r.IntN(2) == 0}
	}
	return e
}

// condition draws a condition that holds about every second time.
func (w *world) condition(r *rand.Rand, m *lm.Model, layer, depth int) *lm.Condition {
	if depth > 0 && r.IntN(2) == 0 {
		a, b := w.condition(r, m, layer, depth-1), w.condition(r, m, layer, depth-1)
		return []*lm.Condition{{Not: a}, {All: []lm.Condition{*a, *b}}, {Any: []lm.Condition{*a, *b}}}[r.IntN(3)]
	}
	e := &lm.Evidence{Layer: r.IntN(m.Layers()), Measure: []lm.Measure{lm.CAST, lm.Cosine, lm.Projection}[r.IntN(3)], Below: r.IntN(2) == 0}
	e.When = []lm.When{lm.PromptMean, lm.PromptLast}[r.IntN(2)]
	if layer > 0 && r.IntN(2) == 0 {
		e.Layer, e.When = r.IntN(layer), lm.EachToken
		if release := -0.05; r.IntN(2) == 0 {
			if e.Below {
				release = 0.05
			}
			e.Release = &release
		}
	}
	e.Vector = make([]float32, m.Width(e.Layer, lm.DecoderBlock))
	for i := range e.Vector {
		e.Vector[i] = float32((i*i+e.Layer)%5 - 2)
	}
	return &lm.Condition{Evidence: e}
}

// input draws a prompt that begins like others do.
func (w *world) input(r *rand.Rand) lm.Input {
	tokens := slices.Clone(w.prompts[r.IntN(len(w.prompts))][:1+r.IntN(30)])
	for range r.IntN(3) {
		tokens = append(tokens, r.IntN(4))
	}
	in := lm.Input{Tokens: tokens, Seed: uint64(r.IntN(2)), Steering: w.steerings[r.IntN(len(w.steerings))]}
	if r.IntN(3) == 0 {
		in.Prompt = 1 + r.IntN(len(tokens))
	}
	return in
}

// run lets some batches, forward passes and scores share the cache, then looks
// at what they leave.
func (w *world) run(steps int) {
	var wait sync.WaitGroup
	for i := range 2 {
		wait.Go(func() { w.batch(rand.New(rand.NewPCG(w.seed, uint64(100+i))), steps) })
		wait.Go(func() {
			r := rand.New(rand.NewPCG(w.seed, uint64(200+i)))
			for range steps / 6 {
				if r.IntN(2) == 0 {
					w.forward(r)
				} else {
					w.score(r)
				}
				w.check()
			}
		})
	}
	wait.Wait()
	w.check()
	cache := w.views[0].cached
	tokens, used := cache.CacheUse()
	w.left.Add(int64(tokens))
	if limit := (w.capacity + 15) / 16 * 16; used > limit {
		w.Errorf("%s: %d slots are in use where nobody holds any, of at most %d", w.name, used, limit)
	}
	// Of each user's tokens, no more than this are held at a time: the open paths,
	// each with what it has set aside, and a run that is packed.
	limit := w.capacity + 2*mostOpen*(w.positions+80) + 2*(4*w.positions+80) + 2*(w.positions+80) + 64
	if slots := cache.CacheSlots(); slots > limit {
		w.Errorf("%s: memory for %d slots, at most %d are needed at a time", w.name, slots, limit)
	}
}

func (w *world) check() {
	if err := w.views[0].cached.CheckCache(); err != nil {
		w.Errorf("%s: %v", w.name, err)
	}
}

// fuse is a context that ends after it was asked some times.
type fuse struct {
	context.Context
	left atomic.Int64
}

func (f *fuse) Err() error {
	if f.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// sometimes returns a context that may end within the call.
func (w *world) sometimes(r *rand.Rand) context.Context {
	if r.IntN(5) > 0 {
		return w.Context()
	}
	f := &fuse{Context: w.Context()}
	f.left.Store(int64(r.IntN(8)))
	return f
}

const mostOpen = 6

// text is a sequence with what it must become.
type text struct {
	*lm.Sequence
	in       lm.Input
	opts     lm.GenerateOptions
	streamed *strings.Builder
	cancel   context.CancelFunc
	given    bool // up: its context has ended or it was removed
}

// batch steps one batch while sequences come and go.
func (w *world) batch(r *rand.Rand, steps int) {
	v := w.views[r.IntN(len(w.views))]
	b, err := v.cached.NewBatch(lm.BatchOptions{RunTokens: 1 + r.IntN(64)>>r.IntN(6)})
	if err != nil {
		w.Error(err)
		return
	}
	var open []*text
	for n := 0; n < steps || b.Open() > 0 && n%3 > 0; n++ {
		for n < steps && b.Open() < mostOpen && r.IntN(3) == 0 {
			s := w.add(r, b)
			if s == nil {
				return
			}
			open = append(open, s)
		}
		if len(open) > 0 {
			switch s := open[r.IntN(len(open))]; r.IntN(40) {
			case 0:
				b.Remove(s.Sequence)
				s.given = true
			case 1:
				s.cancel()
				s.given = true
			}
		}
		ctx := w.sometimes(r)
		if err := b.Step(ctx); err != nil {
			w.cancelled.Add(1)
			if _, fused := ctx.(*fuse); !fused || !errors.Is(err, context.Canceled) {
				w.Errorf("%s: a step failed: %v", w.name, err)
			}
		}
		w.steps.Add(1)
		if r.IntN(8) == 0 {
			w.check()
		}
		open = slices.DeleteFunc(open, func(s *text) bool {
			if s.Done() {
				w.compare(v.plain, s)
			}
			return s.Done()
		})
	}
	b.Close()
	for _, s := range open {
		s.given = true
		w.compare(v.plain, s)
	}
	w.computed.Add(int64(b.Usage().Computed))
}

func (w *world) add(r *rand.Rand, b *lm.Batch) *text {
	s := &text{in: w.input(r), streamed: &strings.Builder{}}
	s.opts = lm.GenerateOptions{MaxTokens: 1 + r.IntN(30), Seed: uint64(r.IntN(3)), IgnoreEnd: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		s.opts.Temperature, s.opts.TopK, s.opts.TopP = 0.3+r.Float64(), r.IntN(20), r.Float64()
	}
	if r.IntN(3) == 0 {
		s.opts.RepetitionPenalty = 1.3
	}
	if r.IntN(3) == 0 {
		s.opts.Logprobs, s.opts.TopLogprobs, s.opts.Echo = true, r.IntN(3), r.IntN(2) == 0
	}
	if r.IntN(4) == 0 {
		s.in.Salt = "salt"
	}
	if r.IntN(4) == 0 {
		s.opts.PresencePenalty, s.opts.FrequencyPenalty = r.Float64(), r.Float64()
	}
	for range r.IntN(4) {
		s.opts.Stop = append(s.opts.Stop, []string{"e", "th", " a", "ing", "\n"}[r.IntN(5)])
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(w.Context())
	opts := s.opts
	opts.Stream = func(_ int, text string) { s.streamed.WriteString(text) }
	var err error
	if s.Sequence, err = b.Add(ctx, s.in, opts); err != nil {
		w.Errorf("%s: %v", w.name, err)
		return nil
	}
	w.sequences.Add(1)
	return s
}

// compare holds a sequence that has ended to what its input gives alone.
func (w *world) compare(plain *lm.Model, s *text) {
	s.cancel()
	alone, err := plain.Generate(w.Context(), []lm.Input{s.in}, s.opts)
	if err != nil {
		w.Errorf("%s: alone: %v", w.name, err)
		return
	}
	got, want := s.Generation(), alone[0]
	switch {
	case got.Text != s.streamed.String():
		w.Errorf("%s: wrote %q and streamed %q", w.name, got.Text, s.streamed)
	case got.Finish == lm.FinishCancelled && s.given:
		if n := len(got.IDs); n > len(want.IDs) || !slices.Equal(got.IDs, want.IDs[:n]) {
			w.Errorf("%s: wrote %v before it was cancelled, alone %v", w.name, got.IDs, want.IDs)
		}
	case !reflect.DeepEqual(got.Logprobs, want.Logprobs) || !reflect.DeepEqual(got.PromptLogprobs, want.PromptLogprobs):
		w.Errorf("%s: %v of %v\nhas the log-probabilities %v, %v,\nalone %v, %v", w.name, s.opts, s.in, got.PromptLogprobs, got.Logprobs, want.PromptLogprobs, want.Logprobs)
	case s.Err() != nil || got.Finish != want.Finish || got.Text != want.Text || !slices.Equal(got.IDs, want.IDs):
		w.Errorf("%s: %v of %v\nwrote %v %q (%s, %v),\nalone %v %q (%s)", w.name, s.opts, s.in, got.IDs, got.Text, got.Finish, s.Err(), want.IDs, want.Text, want.Finish)
	default:
		w.compared.Add(1)
	}
}

// forward holds a forward pass over the cache to one without.
func (w *world) forward(r *rand.Rand) {
	v := w.views[r.IntN(len(w.views))]
	inputs := make([]lm.Input, 1+r.IntN(4))
	opts := lm.ForwardOptions{RunTokens: 1 + r.IntN(40)}
	means := r.IntN(3) == 0
	for i := range inputs {
		in := w.input(r)
		switch from := r.IntN(len(in.Tokens)); {
		case means:
			in.Mean = lm.Span{From: from, To: from + 1 + r.IntN(len(in.Tokens)-from)}
		case r.IntN(2) == 0:
			in.Read = []int{from}
		}
		inputs[i] = in
	}
	for range r.IntN(4) {
		layer := r.IntN(v.plain.Layers())
		for _, site := range []lm.Site{lm.InputLayerNorm, lm.AttnHeads, lm.MLP, lm.DecoderBlock} {
			if r.IntN(2) == 0 && v.plain.CheckSite(layer, site) == nil {
				opts.Taps = append(opts.Taps, lm.Address{Layer: layer, Site: site})
			}
		}
	}
	logits := !means && r.IntN(2) == 0
	read := func(ctx context.Context, m *lm.Model) (map[string][]float32, error) {
		out, opts := map[string][]float32{}, opts
		opts.Activation = func(input, position int, at lm.Address, activation []float32) {
			out[fmt.Sprint(input, position, at)] = slices.Clone(activation)
		}
		if logits {
			opts.Logits = func(input, position int, logits []float32) { out[fmt.Sprint(input, position)] = slices.Clone(logits) }
		}
		usage, err := m.Forward(ctx, inputs, opts)
		if m == v.cached {
			w.computed.Add(int64(usage.Computed))
		}
		return out, err
	}
	w.forwards.Add(1)
	got, err := read(w.sometimes(r), v.cached)
	if errors.Is(err, context.Canceled) {
		got, err = read(w.Context(), v.cached)
	}
	if err != nil {
		w.Errorf("%s: forward: %v", w.name, err)
		return
	}
	want, err := read(w.Context(), v.plain)
	if err != nil {
		w.Errorf("%s: forward: %v", w.name, err)
		return
	}
	if len(got) != len(want) {
		w.Errorf("%s: %d results, uncached %d", w.name, len(got), len(want))
	}
	for key, values := range want {
		if !slices.Equal(got[key], values) {
			w.Errorf("%s: input, position, address %s: %v, uncached %v", w.name, key, got[key], values)
			return
		}
	}
}

// score holds scores over the cache to those without.
func (w *world) score(r *rand.Rand) {
	v := w.views[r.IntN(len(w.views))]
	var all []lm.Continuation
	for range 1 + r.IntN(3) {
		c := lm.Continuation{Prompt: w.input(r)}
		for range 1 + r.IntN(5) {
			c.Tokens = append(c.Tokens, r.IntN(4))
		}
		all = append(all, c)
	}
	w.scores.Add(1)
	got, err := v.cached.Score(w.sometimes(r), all)
	if errors.Is(err, context.Canceled) {
		got, err = v.cached.Score(w.Context(), all)
	}
	if err != nil {
		w.Errorf("%s: score: %v", w.name, err)
		return
	}
	want, err := v.plain.Score(w.Context(), all)
	if err != nil || !slices.EqualFunc(got, want, slices.Equal) {
		w.Errorf("%s: scores %v, uncached %v (%v)", w.name, got, want, err)
	}
}
