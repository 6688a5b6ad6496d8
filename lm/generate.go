package lm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// GenerateOptions say how tokens are chosen. The zero value is greedy, at most
// 128 tokens, ended by the model's end token.
type GenerateOptions struct {
	MaxTokens         int             // 0: 128
	Temperature       float64         // 0: greedy, the likeliest token each time
	TopK              int             // only this many likeliest tokens; 0: all
	TopP              float64         // only the likeliest tokens that together have this probability; 0 or 1: all
	MinP              float64         // only tokens with this share of the likeliest one's probability; 0: all
	RepetitionPenalty float64         // divides the logits of tokens that are there already (Keskar et al. 2019); 0 or 1: none
	PresencePenalty   float64         // taken off the logits of tokens that were written already
	FrequencyPenalty  float64         // taken off the logits of written tokens as often as they were
	LogitBias         map[int]float64 // added to the logits of these tokens
	Seed              uint64          // equal seeds give equal texts; see also Input.Seed
	Stop              []string
	IgnoreEnd         bool                                       // go on past the end token
	Logprobs          bool                                       // Generation.Logprobs are wanted
	TopLogprobs       int                                        // and so many alternatives with each
	Echo              bool                                       // Generation.PromptLogprobs are wanted
	Stream            func(sequence int, text string)            // text as it becomes certain; nil: none
	Token             func(sequence int, token int, text string) // every token as it is chosen; nil: none

	// For [Model.Generate]:
	Progress  func(done, total int) // prompt tokens computed; nil: none
	RunTokens int                   // prompt tokens computed together; changes memory and speed, never results; 0: 1024
}

// Finish says why a generation ended.
type Finish string

const (
	FinishLength    Finish = "length"    // MaxTokens were written, or the model has no further position
	FinishEnd       Finish = "end"       // the model wrote its end token
	FinishStop      Finish = "stop"      // a stop string was written
	FinishCancelled Finish = "cancelled" // its context ended, or it was removed
	FinishError     Finish = "error"     // its numbers stopped being finite
)

// Generation is what was written after one prompt.
type Generation struct {
	Prompt []int  // the prompt's tokens
	IDs    []int  // without the end token
	Text   string // up to a stop string; "" for a model without a tokenizer
	Finish Finish // "" where it was interrupted
	Cached int    // of the prompt's tokens, those that were found and not computed

	// The positions at which each edit of [Input.Steering] acted, ascending, by the order
	// in which the edits were given to [Model.Steering]: those that it selects, where its
	// condition held, and that were computed, which of a text the last token mostly is
	// not. Known of a sequence of a [Batch] that has ended.
	Acted [][]Span // [edits]

	// Where they were asked for: of the written tokens, the end token included, and of
	// the prompt's, [len(Prompt)], the first of which follows from nothing and has none.
	Logprobs, PromptLogprobs []Logprob
}

// atOnce is how many prompts are continued together. More would not be faster,
// since products are bound by arithmetic by then, and each takes memory.
const atOnce = 64

// Generate continues every prompt: it steps a [Batch] until all have ended, of
// which a limited number is open at a time. When ctx ends, what was written so far
// is returned with its error. What is wrong with an input is an [InputError], told
// before anything is computed.
func (m *Model) Generate(ctx context.Context, prompts []Input, opts GenerateOptions) ([]Generation, error) {
	if err := opts.check(m.Decoder().Vocabulary); err != nil {
		return nil, err
	}
	checked, out, total := make([]sequence, len(prompts)), make([]Generation, len(prompts)), 0
	for i, in := range prompts {
		var err error
		if checked[i], err = m.sequence(ctx, in); err != nil {
			return nil, &InputError{i, err}
		}
		out[i].Prompt = checked[i].tokens
		total += len(checked[i].tokens)
	}
	b, err := m.NewBatch(BatchOptions{RunTokens: opts.RunTokens})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var sequences []*Sequence
	for err == nil && (len(sequences) < len(prompts) || b.Open() > 0) {
		for len(sequences) < len(prompts) && b.Open() < min(atOnce, b.atOnce()) {
			i := len(sequences)
			sequences = append(sequences, b.add(context.WithoutCancel(ctx), checked[i], prompts[i].Seed, opts))
		}
		err = b.Step(ctx)
		if opts.Progress != nil {
			opts.Progress(b.promptsDone(sequences), total)
		}
	}
	for i, s := range sequences {
		if failure := s.failure(ctx); failure != nil && err == nil {
			err = &InputError{i, failure}
		}
		if !s.Done() {
			s.writer.close()
		}
		out[i] = s.Generation()
	}
	return out, err
}

// promptsDone returns how many tokens of the prompts are there.
func (b *Batch) promptsDone(sequences []*Sequence) int {
	done := 0
	for _, s := range sequences {
		switch {
		case s.Done() || len(s.tokens) > s.given:
			done += s.given
		case s.branch != nil:
			done += s.branch.Len()
		}
	}
	return done
}

// check refuses numbers that make no sense for a vocabulary and fills in the
// length.
func (o *GenerateOptions) check(vocabulary int) error {
	for _, c := range []struct {
		name  string
		value float64
		high  float64
	}{
		{"temperature", o.Temperature, 1e6}, {"top-p", o.TopP, 1}, {"min-p", o.MinP, 1}, {"repetition penalty", o.RepetitionPenalty, 1e6},
	} {
		if !(0 <= c.value && c.value <= c.high) {
			return fmt.Errorf("%s is %v, not from 0 to %v", c.name, c.value, c.high)
		}
	}
	for _, c := range []struct {
		name  string
		value float64
	}{{"presence penalty", o.PresencePenalty}, {"frequency penalty", o.FrequencyPenalty}} {
		if !(math.Abs(c.value) <= 1e6) {
			return fmt.Errorf("%s is %v, not from -1e6 to 1e6", c.name, c.value)
		}
	}
	for _, token := range slices.Sorted(maps.Keys(o.LogitBias)) {
		if token < 0 || token >= vocabulary {
			return fmt.Errorf("token %d, which has a bias, is outside the vocabulary of %d", token, vocabulary)
		}
		if !(math.Abs(o.LogitBias[token]) <= 1e6) {
			return fmt.Errorf("the bias of token %d is %v, not from -1e6 to 1e6", token, o.LogitBias[token])
		}
	}
	for _, c := range []struct {
		name  string
		value int
	}{{"max tokens", o.MaxTokens}, {"top-k", o.TopK}, {"top log-probabilities", o.TopLogprobs}} {
		if c.value < 0 || c.value > math.MaxInt32 {
			return fmt.Errorf("%s is %d, not from 0 to %d", c.name, c.value, math.MaxInt32)
		}
	}
	for _, s := range o.Stop {
		if s == "" {
			return errors.New("a stop string is empty")
		}
	}
	o.MaxTokens = cmp.Or(o.MaxTokens, 128)
	return nil
}
