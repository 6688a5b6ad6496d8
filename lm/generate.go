package lm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/tokenizer"
)

// GenerateOptions say how tokens are chosen. The zero value is greedy, at most
// 128 tokens, ended by the model's end token.
type GenerateOptions struct {
	MaxTokens         int     // 0: 128
	Temperature       float64 // 0: greedy, the likeliest token each time
	TopK              int     // only this many likeliest tokens; 0: all
	TopP              float64 // only the likeliest tokens that together have this probability; 0 or 1: all
	MinP              float64 // only tokens with this share of the likeliest one's probability; 0: all
	RepetitionPenalty float64 // divides the logits of tokens that are there already (Keskar et al. 2019); 0 or 1: none
	Seed              uint64  // equal seeds give equal texts
	Stop              []string
	IgnoreEnd         bool                                       // go on past the end token
	Stream            func(sequence int, text string)            // text as it becomes certain; nil: none
	Token             func(sequence int, token int, text string) // every token as it is chosen; nil: none
	Progress          func(done, total int)                      // prompt nodes computed; nil: none
}

// Finish says why a generation ended.
type Finish string

const (
	FinishLength Finish = "length" // MaxTokens were written, or the model has no further position
	FinishEnd    Finish = "end"    // the model wrote its end token
	FinishStop   Finish = "stop"   // a stop string was written
)

// Generation is what was written after one prompt.
type Generation struct {
	IDs    []int  // without the end token
	Text   string // up to a stop string; "" for a model without a tokenizer
	Finish Finish
}

// Generate continues every prompt. Prompts are computed as one forest, then all
// sequences decode together, one token each per step, whatever edits each has.
// When ctx ends, what was written so far is returned with its error.
func (m *Model) Generate(ctx context.Context, prompts []Input, opts GenerateOptions) ([]Generation, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if opts.MaxTokens == 0 {
		opts.MaxTokens = 128
	}
	g := &generator{model: m, opts: opts, cache: m.executor.NewCache()}
	if err := g.prefill(ctx, prompts); err != nil {
		return nil, err
	}
	var err error
	for err == nil && g.open() {
		err = g.step(ctx)
	}
	out := make([]Generation, len(g.sequences))
	for i, s := range g.sequences {
		s.close()
		out[i] = Generation{IDs: s.tokens[s.prompt:], Text: s.text.String(), Finish: s.finish}
	}
	return out, err
}

func (o *GenerateOptions) check() error {
	for _, c := range []struct {
		name  string
		value float64
		high  float64
	}{
		{"max tokens", float64(o.MaxTokens), 1 << 31}, {"temperature", o.Temperature, 1e6}, {"top-k", float64(o.TopK), 1 << 31},
		{"top-p", o.TopP, 1}, {"min-p", o.MinP, 1}, {"repetition penalty", o.RepetitionPenalty, 1e6},
	} {
		if !(0 <= c.value && c.value <= c.high) {
			return fmt.Errorf("generate: %s is %v, not from 0 to %v", c.name, c.value, c.high)
		}
	}
	for _, s := range o.Stop {
		if s == "" {
			return fmt.Errorf("generate: a stop string is empty")
		}
	}
	return nil
}

// generator is a call of Generate under way.
type generator struct {
	model     *Model
	opts      GenerateOptions
	cache     *cpu.Cache
	schedule  *schedule
	sequences []*decoding
}

// decoding is one sequence that is being written.
type decoding struct {
	index    int
	tokens   []int // prompt and what was written
	prompt   int
	computed int // tokens whose keys and values are in the cache
	path     cpu.Path
	slot     int // the next of room reserved slots
	room     int
	group    int // of edits
	regime   int // of positions
	finish   Finish

	sampler sampler
	stream  *tokenizer.Stream
	text    strings.Builder
	pending string // text that may turn out to begin a stop string
	opts    *GenerateOptions
}

// reserve is how many slots a sequence reserves at a time, so that its keys
// stay neighbours although several sequences grow.
const reserve = 64

// prefill computes the prompts and chooses each sequence's first token.
func (g *generator) prefill(ctx context.Context, prompts []Input) error {
	m := g.model
	inputs := make([]Input, len(prompts))
	for i, p := range prompts {
		inputs[i] = Input{Tokens: p.Tokens, Edits: p.Edits, Read: []int{len(p.Tokens) - 1}}
		s := &decoding{
			index: i, tokens: append([]int(nil), p.Tokens...), prompt: len(p.Tokens), computed: len(p.Tokens),
			regime: m.Decoder().Regime(len(p.Tokens)), opts: &g.opts,
			sampler: sampler{&g.opts, rand.New(rand.NewPCG(g.opts.Seed, uint64(i)))},
		}
		if m.tokens != nil {
			s.stream = m.tokens.NewStream(!g.opts.IgnoreEnd)
		}
		g.sequences = append(g.sequences, s)
	}
	first := make([]int, len(prompts))
	schedule, err := m.schedule(inputs, ForwardOptions{
		Progress: g.opts.Progress,
		Logits: func(input, _ int, logits []float32) {
			s := g.sequences[input]
			first[input] = s.sampler.choose(logits, s.tokens)
		},
	})
	if err != nil {
		return err
	}
	g.schedule = schedule
	err = schedule.compute(ctx, g.cache, func(input int, path cpu.Path) { g.sequences[input].path = path })
	if err != nil {
		return err
	}
	for i, s := range g.sequences {
		if len(m.edits)+len(prompts[i].Edits) > 0 || s.regime != 0 {
			if s.group, err = schedule.steering.group(prompts[i].Edits); err != nil {
				return err
			}
		} else {
			s.group = -1
		}
		g.accept(s, first[i])
	}
	return nil
}

// open reports whether any sequence goes on.
func (g *generator) open() bool {
	for _, s := range g.sequences {
		if s.finish == "" {
			return true
		}
	}
	return false
}

// step computes the last token of every open sequence in one run and chooses
// the next ones.
func (g *generator) step(ctx context.Context) error {
	run := &cpu.Run{}
	marks := map[uint32][]int{}
	var at []*decoding // of each row that is read
	for _, s := range g.sequences {
		if s.finish != "" {
			continue
		}
		if regime := g.model.Decoder().Regime(len(s.tokens)); regime != s.regime {
			// The sequence has outgrown the positions that its keys were computed
			// with: compute it anew.
			s.regime, s.computed, s.path, s.room = regime, 0, nil, 0
			if s.group < 0 {
				var err error
				if s.group, err = g.schedule.steering.group(nil); err != nil {
					return err
				}
			}
		}
		from := s.computed
		for p := from; p < len(s.tokens); p++ {
			if s.room == 0 {
				s.slot, s.room = g.cache.Reserve(reserve), reserve
			}
			s.path = s.path.With(s.slot, 1)
			s.slot++
			s.room--
			if s.group >= 0 {
				if id := g.schedule.steering.mark(s.group, p, s.prompt, s.regime); id != 0 {
					marks[id] = append(marks[id], len(run.Tokens))
				}
			}
			run.Tokens = append(run.Tokens, s.tokens[p])
		}
		run.Segments = append(run.Segments, cpu.Segment{Nodes: len(s.tokens) - from, Position: from, Path: s.path, Length: len(s.tokens)})
		s.computed = len(s.tokens)
		run.LogitRows = append(run.LogitRows, len(run.Tokens)-1)
		at = append(at, s)
	}
	next := make([]int, 0, len(at))
	run.Logits = func(_ int, logits []float32) {
		s := at[len(next)]
		next = append(next, s.sampler.choose(logits, s.tokens))
	}
	run.Edits = g.schedule.steering.edits(marks)
	if err := g.model.executor.Run(ctx, g.cache, run); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	for i, s := range at {
		g.accept(s, next[i])
	}
	return nil
}

// accept puts a chosen token at the end of its sequence and decides whether the
// sequence goes on.
func (g *generator) accept(s *decoding, token int) {
	if !g.opts.IgnoreEnd {
		for _, end := range g.model.ends {
			if token == end {
				s.finish = FinishEnd
				s.close()
				return
			}
		}
	}
	s.tokens = append(s.tokens, token)
	text := ""
	if s.stream != nil {
		text = s.stream.Push(token)
	}
	if g.opts.Token != nil {
		g.opts.Token(s.index, token, text)
	}
	s.write(text)
	if s.finish == "" && (len(s.tokens)-s.prompt >= g.opts.MaxTokens || g.model.checkLength(len(s.tokens)+1) != nil) {
		s.finish = FinishLength
		s.close()
	}
}

// write takes text that is certain and gives it out up to what may begin a stop
// string.
func (s *decoding) write(text string) {
	s.pending += text
	cut := len(s.pending)
	for _, stop := range s.opts.Stop {
		if i := strings.Index(s.pending, stop); i >= 0 && i < cut {
			cut, s.finish = i, FinishStop
		}
	}
	if s.finish == FinishStop {
		s.emit(s.pending[:cut])
		s.pending, s.stream = "", nil
		return
	}
	hold := 0
	for _, stop := range s.opts.Stop {
		for n := min(len(stop)-1, len(s.pending)); n > hold; n-- {
			if strings.HasSuffix(s.pending, stop[:n]) {
				hold = n
			}
		}
	}
	cut = len(s.pending) - hold
	s.emit(s.pending[:cut])
	s.pending = s.pending[cut:]
}

func (s *decoding) emit(text string) {
	if text == "" {
		return
	}
	s.text.WriteString(text)
	if s.opts.Stream != nil {
		s.opts.Stream(s.index, text)
	}
}

// close gives out what was held back.
func (s *decoding) close() {
	if s.stream == nil {
		return
	}
	s.emit(s.pending + s.stream.Flush())
	s.pending, s.stream = "", nil
}
