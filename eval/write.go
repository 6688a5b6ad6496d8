package eval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// WriteOptions say what a model is to write and who scores it.
type WriteOptions struct {
	Questions   int     // the first so many of the items' prompts; 0: all
	MaxTokens   int     // of each text; 0: 128
	Temperature float64 // 0: greedy
	Seed        uint64
	Scorers     []Scorer
	Together    int                   // texts that a scorer is given at a time; 0: 4
	Progress    func(done, total int) // texts that are scored; nil: nobody is told
}

// Written lets the model write after the items' prompts under all arms, and returns
// a row of [Generation] for each: the texts and the means of what scored them.
func (e *Evaluator) Written(ctx context.Context, arms []Arm, opts WriteOptions) ([]Row, error) {
	measured, err := e.Write(ctx, arms, steer.Shard{}, opts)
	if err != nil {
		return nil, err
	}
	return e.Summary.Rows(measured)
}

// Write lets the model write after the prompts of a shard under all arms; the zero
// shard has all. Every text has the share of its distinct word pairs and its perplexity
// under the unsteered model. What a scorer could not score is left out of its means and
// counted in [Failed]. Items that are questions come first in line; where there are
// none, all items' prompts are taken.
func (e *Evaluator) Write(ctx context.Context, arms []Arm, shard steer.Shard, opts WriteOptions) (*Measured, error) {
	items := slices.DeleteFunc(slices.Clone(e.items), func(i pairs.Item) bool { return i.Kind != pairs.QuestionItem })
	if len(items) == 0 {
		items = slices.DeleteFunc(slices.Clone(e.items), func(i pairs.Item) bool { return i.Options[0].Prompt == "" })
	}
	if opts.Questions > 0 && len(items) > opts.Questions {
		items = items[:opts.Questions]
	}
	if len(items) == 0 {
		return nil, errors.New("there is no prompt to write after")
	}
	m := newMeasured(arms, shard.Alone(e.whole()))
	var units [][][]int
	for _, item := range items {
		tokens, err := promptTokens(ctx, e.model, e.questions.chat, item.Options[0], "")
		if err != nil {
			return nil, fmt.Errorf("item %s: %w", item.ID, err)
		}
		m.written, units = append(m.written, item.ID), append(units, [][]int{tokens})
	}
	seeds, err := members(shard, units)
	if err != nil || len(seeds) == 0 {
		return m, err
	}
	for k, seed := range seeds { // a text's seed is its place among all
		items[k], units[k] = items[seed], units[seed]
	}
	items, units = items[:len(seeds)], units[:len(seeds)]
	var inputs []lm.Input
	for _, arm := range arms {
		for k, item := range items {
			tokens, err := promptTokens(ctx, e.model, e.questions.chat, item.Options[0], arm.Instruction)
			if err != nil {
				return nil, fmt.Errorf("item %s: %w", item.ID, err)
			}
			inputs = append(inputs, lm.Input{Tokens: tokens, Steering: arm.Steering, Seed: uint64(seeds[k])})
		}
	}
	written, err := e.model.Generate(ctx, inputs, lm.GenerateOptions{MaxTokens: opts.MaxTokens, Temperature: opts.Temperature, Seed: opts.Seed})
	if err != nil {
		return nil, err
	}
	perplexities, err := e.unsteeredPerplexities(ctx, units, written)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, len(arms))
	for i, arm := range arms {
		rows[i] = Row{Point: arm.Point, Set: Generation}
		for k, item := range items {
			n := i*len(items) + k
			text := Text{ID: item.ID, Prompt: questionOf(item), Text: written[n].Text, Scores: map[string]float64{Distinct: distinct(written[n].Text)}}
			if p := perplexities[n]; p > 0 {
				text.Scores[UnsteeredPerplexity] = p
			}
			rows[i].Texts = append(rows[i].Texts, text)
		}
	}
	if err := score(ctx, rows, items, opts); err != nil {
		return nil, err
	}
	for _, row := range rows {
		for k, item := range items {
			m.texts[item.ID] = append(m.texts[item.ID], row.Texts[k])
		}
	}
	return m, nil
}

// writtenRows are the rows of what was written.
func (s *Summary) writtenRows(m *Measured) ([]Row, error) {
	rows := make([]Row, len(m.Points))
	for i, point := range m.Points {
		rows[i] = Row{Point: point, Set: Generation}
		for _, id := range m.written {
			texts, there := m.texts[id]
			if !there {
				return nil, fmt.Errorf("what was written after item %s is missing", id)
			}
			rows[i].Texts = append(rows[i].Texts, texts[i])
		}
		rows[i].Metrics = s.writtenMetrics(rows[i].Texts)
	}
	return rows, nil
}

func questionOf(item pairs.Item) string {
	return cmp.Or(item.Options[0].Question, item.Options[0].Prompt)
}

// unsteeredPerplexities are those of texts, [arms × prompts], under the unsteered
// model, after the prompt without an instruction; 0 for an empty text.
func (e *Evaluator) unsteeredPerplexities(ctx context.Context, units [][][]int, written []lm.Generation) ([]float64, error) {
	var asked []lm.Continuation
	var of []int
	for n := range written {
		if len(written[n].IDs) > 0 {
			asked, of = append(asked, lm.Continuation{Prompt: lm.Input{Tokens: units[n%len(units)][0]}, Tokens: written[n].IDs}), append(of, n)
		}
	}
	out := make([]float64, len(written))
	if len(asked) == 0 {
		return out, nil
	}
	scores, err := e.model.Score(ctx, asked, lm.CountTo(&e.usage))
	for i, s := range scores {
		out[of[i]] = perplexity(s)
	}
	return out, err
}

// score asks the scorers about all texts, some at a time.
func score(ctx context.Context, rows []Row, items []pairs.Item, opts WriteOptions) error {
	type task struct {
		row, text int
		scorer    Scorer
	}
	var tasks []task
	for i := range rows {
		for k := range rows[i].Texts {
			for _, s := range opts.Scorers {
				tasks = append(tasks, task{i, k, s})
			}
		}
	}
	queue := make(chan task)
	var workers sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range cmp.Or(opts.Together, 4) {
		workers.Go(func() {
			for t := range queue {
				text := &rows[t.row].Texts[t.text]
				scores, err := t.scorer.Score(ctx, Written{text.Prompt, items[t.text].Concept, text.Text})
				mu.Lock()
				for name, value := range scores {
					text.Scores[name] = value
				}
				if err != nil {
					if text.Failed == nil {
						text.Failed = map[string]string{}
					}
					text.Failed[t.scorer.Name()] = err.Error()
				}
				if done++; opts.Progress != nil {
					opts.Progress(done, len(tasks))
				}
				mu.Unlock()
			}
		})
	}
	for _, t := range tasks {
		if ctx.Err() != nil {
			break
		}
		queue <- t
	}
	close(queue)
	workers.Wait()
	return ctx.Err()
}

// writtenMetrics are the means over texts of all figures that they have.
func (s *Summary) writtenMetrics(texts []Text) map[string]Estimate {
	values := map[string][]float64{}
	failed := make([]float64, len(texts))
	for i, t := range texts {
		for name, v := range t.Scores {
			values[name] = append(values[name], v)
		}
		if len(t.Failed) > 0 {
			failed[i] = 1
		}
	}
	metrics := map[string]Estimate{Failed: s.bootstrap.mean(failed)}
	for name, v := range values {
		metrics[name] = s.bootstrap.mean(v)
	}
	return metrics
}
