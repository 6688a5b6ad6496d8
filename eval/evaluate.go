package eval

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// Options say what is asked of a model and how it is summed up.
type Options struct {
	Items []pairs.Item // what is asked; questions that are to be written are left out
	Chat  bool         // prompts go through the model's chat template
	Text  string       // neutral text, on which the cost is measured; "": it is not

	// TextTokens is how many tokens of the neutral text are taken; 0: 512.
	TextTokens int

	Halves    bool   // the items are parted into two halves, and rows are of one each
	Seed      uint64 // of the halves and of the bootstrap
	Resamples int    // of the bootstrap; 0: 1000
}

// Evaluator asks a model what a data set holds, under any number of arms. What is
// asked without steering is kept, to compare with. It belongs to one goroutine.
type Evaluator struct {
	*Summary
	model     *lm.Model
	questions *questions
	texts     []passage
	unsteered map[int]answer // of the items that were asked so far
	usage     lm.Usage
}

// NewEvaluator brings a data set to tokens. Errors name the item that is wrong.
func NewEvaluator(ctx context.Context, model *lm.Model, opts Options) (*Evaluator, error) {
	if len(opts.Items) == 0 && opts.Text == "" {
		return nil, errors.New("there is nothing to evaluate: no items and no neutral text")
	}
	summary, err := NewSummary(opts)
	if err != nil {
		return nil, err
	}
	e := &Evaluator{Summary: summary, model: model, unsteered: map[int]answer{}}
	if e.questions, err = newQuestions(ctx, model, opts.Items, opts.Chat); err != nil {
		return nil, err
	}
	if opts.Text != "" {
		if e.texts, err = passages(model, opts.Text, cmp.Or(opts.TextTokens, 512)); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Usage counts what was computed so far.
func (e *Evaluator) Usage() lm.Usage { return e.usage }

// Rows measures arms, all of which share what is computed, and returns their rows as
// [Summary.Rows] does. Progress is told in parts of a thousand; nil: to nobody.
func (e *Evaluator) Rows(ctx context.Context, arms []Arm, progress func(done, total int)) ([]Row, error) {
	measured, err := e.Measure(ctx, arms, steer.Shard{}, progress)
	if err != nil {
		return nil, err
	}
	return e.Summary.Rows(measured)
}

// Measure measures arms, all of which share what is computed, on the items and
// passages of a shard; the zero shard has all. Items are parted so that those with a
// common beginning stay together, with all of their answers under all arms. Progress is
// told in parts of a thousand; nil: to nobody.
func (e *Evaluator) Measure(ctx context.Context, arms []Arm, shard steer.Shard, progress func(done, total int)) (*Measured, error) {
	if len(arms) == 0 {
		return nil, errors.New("there is nothing to evaluate")
	}
	stage := func(k int) func(done, total int) { // what is asked, then what it costs
		return func(done, total int) {
			if progress != nil {
				progress(500*k+500*done/total, 1000)
			}
		}
	}
	items, passages, err := e.share(shard)
	if err != nil {
		return nil, err
	}
	m := newMeasured(arms, shard.Alone(e.whole()))
	m.passages = len(e.texts)
	if err := e.askUnsteered(ctx, items); err != nil {
		return nil, err
	}
	answers, usage, err := e.questions.ask(ctx, arms, items, stage(0))
	if err != nil {
		return nil, err
	}
	e.usage = e.usage.Add(usage)
	for k, item := range items {
		own := asked{Unsteered: e.unsteered[item]}
		for i := range arms {
			own.Arms = append(own.Arms, answers[i][k])
		}
		m.answers[e.items[item].ID] = own
	}
	if len(passages) > 0 {
		some := make([]passage, len(passages))
		for k, number := range passages {
			some[k] = e.texts[number]
		}
		measured, usage, err := costs(ctx, e.model, some, arms, stage(1))
		if err != nil {
			return nil, err
		}
		e.usage = e.usage.Add(usage)
		for k, number := range passages {
			for i := range arms {
				m.costs[number] = append(m.costs[number], measured[i][k])
			}
		}
	}
	return m, nil
}

// askUnsteered asks those of some items without steering that were not asked yet.
func (e *Evaluator) askUnsteered(ctx context.Context, items []int) error {
	var fresh []int
	for _, i := range items {
		if _, there := e.unsteered[i]; !there {
			fresh = append(fresh, i)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	answers, usage, err := e.questions.ask(ctx, []Arm{{Point: Point{Baseline: NoSteering}}}, fresh, nil)
	if err != nil {
		return err
	}
	e.usage = e.usage.Add(usage)
	for k, i := range fresh {
		e.unsteered[i] = answers[0][k]
	}
	return nil
}

// share returns which items that have answers and which passages are in a shard.
func (e *Evaluator) share(shard steer.Shard) (items, passages []int, err error) {
	var units, texts [][][]int
	var numbers []int
	for i, q := range e.questions.plain {
		if len(q) > 0 {
			units, numbers = append(units, q.prompts()), append(numbers, i)
		}
	}
	for _, p := range e.texts {
		texts = append(texts, [][]int{p.tokens})
	}
	if items, err = members(shard, units); err != nil {
		return nil, nil, err
	}
	for k, unit := range items {
		items[k] = numbers[unit]
	}
	passages, err = members(shard, texts)
	return items, passages, err
}

// members returns which units are in a shard. Where there are fewer units than shards,
// the first shards have one each.
func members(shard steer.Shard, units [][][]int) ([]int, error) {
	switch {
	case len(units) >= max(shard.Of, 1):
		return shard.Members(units)
	case shard.Of > 0 && shard.Number > len(units) || len(units) == 0:
		return nil, nil
	}
	return []int{shard.Number - 1}, nil
}

// whole is the digest of all that is asked, by which shards know whether they belong
// together.
func (e *Evaluator) whole() string {
	hash := sha256.New()
	for i, q := range e.questions.plain {
		fmt.Fprintf(hash, "%q %d\n", e.items[i].ID, q)
	}
	for _, p := range e.texts {
		fmt.Fprintf(hash, "%d %d\n", p.special, p.tokens)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}
