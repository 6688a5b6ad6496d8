package eval

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

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
	model     *lm.Model
	questions *questions
	texts     []passage
	halves    map[Half][]int // items
	bootstrap bootstrap
	unsteered []answer // [items]
	usage     lm.Usage
}

// NewEvaluator brings a data set to tokens and asks it without steering. Errors
// name the item that is wrong.
func NewEvaluator(ctx context.Context, model *lm.Model, opts Options) (*Evaluator, error) {
	if len(opts.Items) == 0 && opts.Text == "" {
		return nil, errors.New("there is nothing to evaluate: no items and no neutral text")
	}
	e := &Evaluator{model: model, bootstrap: bootstrap{cmp.Or(opts.Resamples, 1000), opts.Seed}}
	var err error
	if e.questions, err = newQuestions(ctx, model, opts.Items, opts.Chat); err != nil {
		return nil, err
	}
	if opts.Text != "" {
		if e.texts, err = passages(model, opts.Text, cmp.Or(opts.TextTokens, 512)); err != nil {
			return nil, err
		}
	}
	all := make([]int, len(opts.Items))
	for i := range all {
		all[i] = i
	}
	e.halves = map[Half][]int{"": all}
	if opts.Halves {
		e.halves = inHalves(opts.Items, opts.Seed)
		if len(e.halves[Choose]) == 0 || len(e.halves[Report]) == 0 {
			return nil, fmt.Errorf("%d items cannot be parted into two halves", len(opts.Items))
		}
	}
	answers, err := e.ask(ctx, []Arm{{Point: Point{Baseline: NoSteering}}}, nil)
	if err != nil {
		return nil, err
	}
	e.unsteered = answers[0]
	return e, nil
}

// inHalves parts items by a hash of their ids: which half an item is in does not
// depend on the order of the file.
func inHalves(items []pairs.Item, seed uint64) map[Half][]int {
	order := make([]int, len(items))
	keys := make([][sha256.Size]byte, len(items))
	for i, item := range items {
		order[i], keys[i] = i, sha256.Sum256(fmt.Appendf(nil, "%d %s", seed, item.ID))
	}
	slices.SortStableFunc(order, func(i, j int) int { return bytes.Compare(keys[i][:], keys[j][:]) })
	middle := len(order) / 2
	choose, report := slices.Sorted(slices.Values(order[:middle])), slices.Sorted(slices.Values(order[middle:]))
	return map[Half][]int{Choose: choose, Report: report}
}

// ask asks all items under the arms: [arms][items].
func (e *Evaluator) ask(ctx context.Context, arms []Arm, progress func(done, total int)) ([][]answer, error) {
	answers, usage, err := e.questions.ask(ctx, arms, progress)
	e.usage = e.usage.Add(usage)
	return answers, err
}

// Usage counts what was computed so far.
func (e *Evaluator) Usage() lm.Usage { return e.usage }

// Rows measures arms, all of which share what is computed, and returns the rows of
// each in turn: of the choices, of multiple choice, of labelled texts, as far as the
// items are of that kind, for both halves where there are halves, and of the cost.
// Points of the grid that differ in the multiplier alone are followed by a row of
// [Steerability]. Progress is told in parts of a thousand; nil: to nobody.
func (e *Evaluator) Rows(ctx context.Context, arms []Arm, progress func(done, total int)) ([]Row, error) {
	stage := func(k int) func(done, total int) { // what is asked, then what it costs
		return func(done, total int) {
			if progress != nil {
				progress(500*k+500*done/total, 1000)
			}
		}
	}
	answers, err := e.ask(ctx, arms, stage(0))
	if err != nil {
		return nil, err
	}
	var cost [][]passageCost
	if e.texts != nil {
		var usage lm.Usage
		if cost, usage, err = costs(ctx, e.model, e.texts, arms, stage(1)); err != nil {
			return nil, err
		}
		e.usage = e.usage.Add(usage)
	}
	var rows []Row
	for from := 0; from < len(arms); {
		to := from
		var points []Point
		for ; to < len(arms) && arms[to].Point.way() == arms[from].Point.way(); to++ {
			p := arms[to].Point
			points = append(points, p)
			for _, half := range e.halfNames() {
				rows = append(rows, e.answersRows(p, half, e.halves[half], answers[to])...)
			}
			if cost != nil {
				rows = append(rows, e.bootstrap.costRow(p, cost[to]))
			}
		}
		for _, half := range e.halfNames() {
			if row, ok := e.steerabilityRow(points, half, e.halves[half], answers[from:to]); ok {
				rows = append(rows, row)
			}
		}
		from = to
	}
	return rows, nil
}

func (e *Evaluator) halfNames() []Half {
	if _, whole := e.halves[""]; whole {
		return []Half{""}
	}
	return []Half{Choose, Report}
}

// way is what points have in common that differ in their multiplier alone.
func (p Point) way() string {
	p.Multiplier, p.Strength, p.Budget = 0, 0, 0
	return p.key()
}
