package eval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// Arm is a way to steer, or to do without, as a model takes it.
type Arm struct {
	Point    Point        // as rows name it
	Steering *lm.Steering // nil: none

	// Instruction is put before every prompt: as a system prompt where prompts go
	// through the chat template, else as the beginning of the text. "": none.
	Instruction string
}

// answer is what a model thinks of an item: of each order of its options, of each
// option.
type answer [][]optionScore

// optionScore is the log-probability of an option's answer.
type optionScore struct {
	Sum    float64 `json:"sum"` // nats
	Tokens int     `json:"tokens"`
}

// check refuses an answer that is none to an item, as a file may hold it.
func (a answer) check(item pairs.Item) error {
	orders := [][]pairs.Option{item.Options, item.Swapped}
	if item.Swapped == nil {
		orders = orders[:1]
	}
	if len(a) != len(orders) {
		return fmt.Errorf("%d orders of its options are answered, it has %d", len(a), len(orders))
	}
	for i, order := range orders {
		if len(a[i]) != len(order) {
			return fmt.Errorf("%d options are answered, it has %d", len(a[i]), len(order))
		}
		for _, o := range a[i] {
			if o.Tokens < 1 {
				return errors.New("an answer has no tokens")
			}
		}
	}
	return nil
}

// questions are items as tokens.
type questions struct {
	model *lm.Model
	chat  bool
	items []pairs.Item
	plain []question // [items], without an instruction
}

// question is an item as tokens: [orders][options].
type question [][]tokenized

type tokenized struct{ prompt, answer []int }

// prompts are the question with each of its answers.
func (q question) prompts() (all [][]int) {
	for _, order := range q {
		for _, option := range order {
			all = append(all, slices.Concat(option.prompt, option.answer))
		}
	}
	return all
}

// atOnce is how many continuations are scored in one call.
const atOnce = 1 << 14

func newQuestions(ctx context.Context, model *lm.Model, items []pairs.Item, chat bool) (*questions, error) {
	q := &questions{model: model, chat: chat, items: items}
	var err error
	q.plain, err = q.tokenize(ctx, "")
	return q, err
}

// tokenize brings all items that are scored to tokens, after an instruction.
func (q *questions) tokenize(ctx context.Context, instruction string) ([]question, error) {
	out := make([]question, len(q.items))
	for i, item := range q.items {
		if item.Kind == pairs.QuestionItem {
			continue
		}
		for _, options := range [][]pairs.Option{item.Options, item.Swapped} {
			if options == nil {
				continue
			}
			var order []tokenized
			for _, o := range options {
				t, err := q.option(ctx, o, instruction)
				if err != nil {
					return nil, fmt.Errorf("item %s: %w", item.ID, err)
				}
				order = append(order, t)
			}
			out[i] = append(out[i], order)
		}
	}
	return out, nil
}

// option brings an option to tokens. Of one that has no prompt the first token is
// the prompt: something must be there that the rest follows.
func (q *questions) option(ctx context.Context, o pairs.Option, instruction string) (t tokenized, err error) {
	text := o.Answer
	if q.chat {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
	}
	if t.prompt, err = promptTokens(ctx, q.model, q.chat, o, instruction); err != nil {
		return t, err
	}
	if len(t.prompt) > 0 {
		t.answer, err = q.model.TokenizeContinuation(text)
	} else if t.answer, err = q.model.Tokenize(text); err == nil && len(t.answer) > 0 {
		t.prompt, t.answer = t.answer[:1:1], t.answer[1:]
	}
	if err == nil && len(t.answer) == 0 {
		err = fmt.Errorf("the answer %q has no tokens", text)
	}
	return t, err
}

// promptTokens returns the tokens of an option's prompt.
func promptTokens(ctx context.Context, m *lm.Model, chat bool, o pairs.Option, instruction string) ([]int, error) {
	if chat {
		var messages []lm.Message
		if instruction != "" {
			messages = append(messages, lm.Message{Role: "system", Content: instruction})
		}
		question := o.Question
		if question == "" {
			question = o.Prompt
		}
		messages = append(messages, lm.Message{Role: "user", Content: question})
		return m.Chat(ctx, messages, lm.ChatOptions{AddGenerationPrompt: true})
	}
	text := o.Prompt
	if instruction != "" {
		text = strings.TrimRightFunc(instruction, unicode.IsSpace) + " " + text
	}
	if text == "" {
		return nil, nil
	}
	return m.Tokenize(text)
}

// ask scores some items, given by their numbers, under all arms: [arms][items]. Arms
// of one call share what is computed.
func (q *questions) ask(ctx context.Context, arms []Arm, items []int, progress func(done, total int)) (answers [][]answer, usage lm.Usage, err error) {
	asked := make([][]question, len(arms)) // [arms][items]
	after := map[string][]question{"": q.plain}
	for i, arm := range arms {
		if after[arm.Instruction] == nil {
			if after[arm.Instruction], err = q.tokenize(ctx, arm.Instruction); err != nil {
				return nil, usage, err
			}
		}
		asked[i] = after[arm.Instruction]
		answers = append(answers, make([]answer, len(items)))
	}
	for from := 0; from < len(items); {
		to, some := from, 0
		for to < len(items) && (some == 0 || some < atOnce) {
			for _, order := range q.plain[items[to]] {
				some += len(order) * len(arms)
			}
			to++
		}
		done := func(n, all int) {
			if progress != nil && all > 0 {
				progress(from*all+(to-from)*n, len(items)*all)
			}
		}
		if err := q.askSome(ctx, arms, asked, items, from, to, answers, &usage, done); err != nil {
			return nil, usage, err
		}
		from = to
	}
	return answers, usage, nil
}

// askSome scores the items with the numbers items[from:to].
func (q *questions) askSome(ctx context.Context, arms []Arm, asked [][]question, items []int, from, to int, answers [][]answer, usage *lm.Usage, progress func(done, total int)) error {
	var all []lm.Continuation
	var of []int // item of each
	for i, arm := range arms {
		for _, item := range items[from:to] {
			for _, order := range asked[i][item] {
				for _, option := range order {
					all = append(all, lm.Continuation{Prompt: lm.Input{Tokens: option.prompt, Steering: arm.Steering}, Tokens: option.answer})
					of = append(of, item)
				}
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	scores, err := q.model.Score(ctx, all, lm.CountTo(usage), lm.TellProgress(progress))
	if wrong := (*lm.InputError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("item %s: %w", q.items[of[wrong.Input]].ID, wrong.Err)
	}
	if err != nil {
		return err
	}
	for i := range arms {
		for k := from; k < to; k++ {
			for _, order := range asked[i][items[k]] {
				var options []optionScore
				for range order {
					s := optionScore{Tokens: len(scores[0])}
					for _, l := range scores[0] {
						s.Sum += l
					}
					options, scores = append(options, s), scores[1:]
				}
				answers[i][k] = append(answers[i][k], options)
			}
		}
	}
	return nil
}
