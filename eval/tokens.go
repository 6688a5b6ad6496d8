package eval

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/steervec/steer/lm"
)

// projectedItems is how many items' texts are shown token by token.
const projectedItems = 3

// tokens projects texts that the vectors were not trained on, the first items of
// the half that reports with both of their answers, on the chosen vector: what the
// unsteered model makes of each token, and beside it the model steered at that point.
func (s *sweep) tokens(ctx context.Context, use Use, chosen Point) (Row, error) {
	row := Row{Point: chosen, Set: Projections}
	var prompts [][]int
	for _, i := range s.evaluator.halves[Report] {
		item := s.data.Items[i]
		if len(item.Options) != 2 {
			continue
		}
		for _, option := range item.Options {
			ids, err := s.model.Tokenize(option.Prompt + option.Answer)
			if err != nil {
				return row, fmt.Errorf("item %s: %w", item.ID, err)
			}
			prompts = append(prompts, ids)
		}
		if len(prompts) == 2*projectedItems {
			break
		}
	}
	edit, _, err := use.edit(s.model, chosen.Multiplier)
	if err != nil {
		return row, err
	}
	steered, err := s.model.With(edit)
	if err != nil {
		return row, err
	}
	layer := chosen.Layers[0]
	var projections [2][][]float64 // unsteered, steered
	for i, m := range []*lm.Model{s.model, steered} {
		of, err := use.Vector.Project(ctx, m, prompts, []int{layer})
		if err != nil {
			return row, err
		}
		projections[i] = of[layer]
	}
	t, err := s.model.Tokenizer()
	if err != nil {
		return row, err
	}
	for text, ids := range prompts {
		for k, id := range ids {
			token := t.Decode([]int{id}, false)
			if name, _ := t.Token(id); token == "" || !utf8.ValidString(token) || token == "\ufffd" {
				token = name // a part of a character
			}
			row.Tokens = append(row.Tokens, TokenRow{text, token, projections[0][text][k], projections[1][text][k]})
		}
	}
	return row, nil
}
