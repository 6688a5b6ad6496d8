package eval

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/steervec/steer/pairs"
)

// Summary makes rows of what was measured. It needs no model, so that the parts of an
// evaluation that several machines measured are summed up anywhere.
type Summary struct {
	items     []pairs.Item
	halves    map[Half][]int // items
	bootstrap bootstrap
}

// NewSummary makes the summary of an evaluation with these options. It is an error
// where two items have one id, and where so few items cannot be parted into two halves.
func NewSummary(opts Options) (*Summary, error) {
	s := &Summary{items: opts.Items, bootstrap: bootstrap{cmp.Or(opts.Resamples, 1000), opts.Seed}}
	ids, all := map[string]bool{}, make([]int, len(opts.Items))
	for i, item := range opts.Items {
		if ids[item.ID] {
			return nil, fmt.Errorf("two items have the id %s", item.ID)
		}
		ids[item.ID], all[i] = true, i
	}
	s.halves = map[Half][]int{"": all}
	if opts.Halves {
		s.halves = inHalves(opts.Items, opts.Seed)
		if len(s.halves[Choose]) == 0 || len(s.halves[Report]) == 0 {
			return nil, fmt.Errorf("%d items cannot be parted into two halves", len(opts.Items))
		}
	}
	return s, nil
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

// Rows returns the rows of what was measured, of each arm in turn: of the choices, of
// multiple choice, of labelled texts, as far as the items are of that kind, for both
// halves where there are halves, of the cost, and of what was written. Points of the grid
// that differ in the multiplier alone are followed by a row of [Steerability]. Items or
// passages that are missing, or that are not of the evaluation, are an error that names
// them.
func (s *Summary) Rows(m *Measured) ([]Row, error) {
	if err := m.Shards.Complete(); err != nil {
		return nil, err
	}
	if m.written != nil {
		return s.writtenRows(m)
	}
	if len(m.Points) == 0 {
		return nil, nil
	}
	unsteered, answers, err := s.answersOf(m)
	if err != nil {
		return nil, err
	}
	cost, err := m.costsByArm()
	if err != nil {
		return nil, err
	}
	var rows []Row
	for from := 0; from < len(m.Points); {
		to := from
		for ; to < len(m.Points) && m.Points[to].way() == m.Points[from].way(); to++ {
			for _, half := range s.halfNames() {
				rows = append(rows, s.answersRows(m.Points[to], half, answers[to], unsteered)...)
			}
			if cost != nil {
				rows = append(rows, s.bootstrap.costRow(m.Points[to], cost[to]))
			}
		}
		for _, half := range s.halfNames() {
			if row, ok := s.steerabilityRow(m.Points[from:to], half, answers[from:to], unsteered); ok {
				rows = append(rows, row)
			}
		}
		from = to
	}
	return rows, nil
}

// RowsOf returns the rows of several things that were measured, one after the other; nil
// has none.
func (s *Summary) RowsOf(measured ...*Measured) ([]Row, error) {
	var rows []Row
	for _, m := range measured {
		if m == nil {
			continue
		}
		some, err := s.Rows(m)
		if err != nil {
			return nil, err
		}
		rows = append(rows, some...)
	}
	return rows, nil
}

// answersOf returns what was measured of all items: [items] and [arms][items], nil for
// an item that has no answers.
func (s *Summary) answersOf(m *Measured) (unsteered []answer, arms [][]answer, err error) {
	unsteered = make([]answer, len(s.items))
	for range m.Points {
		arms = append(arms, make([]answer, len(s.items)))
	}
	left := len(m.answers)
	for i, item := range s.items {
		own, there := m.answers[item.ID]
		if item.Kind == pairs.QuestionItem {
			continue
		}
		if !there {
			return nil, nil, fmt.Errorf("item %s is missing", item.ID)
		}
		left--
		for _, a := range append([]answer{own.Unsteered}, own.Arms...) {
			if err := a.check(item); err != nil {
				return nil, nil, fmt.Errorf("item %s: %w", item.ID, err)
			}
		}
		unsteered[i] = own.Unsteered
		for k, a := range own.Arms {
			arms[k][i] = a
		}
	}
	if left > 0 {
		return nil, nil, fmt.Errorf("%d of the items that were measured are not of the evaluation", left)
	}
	return unsteered, arms, nil
}

func (s *Summary) halfNames() []Half {
	if _, whole := s.halves[""]; whole {
		return []Half{""}
	}
	return []Half{Choose, Report}
}

// way is what points have in common that differ in their multiplier alone.
func (p Point) way() string {
	p.Multiplier, p.Strength, p.Budget = 0, 0, 0
	return p.key()
}
