package report

import (
	"fmt"
	"slices"

	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/pairs"
)

// view is data in the order in which figures ask for it.
type view struct {
	*Data
	index map[string]*eval.Row   // by key
	items map[string]*pairs.Item // by id
}

func newView(d *Data) *view {
	v := &view{Data: d, index: map[string]*eval.Row{}, items: map[string]*pairs.Item{}}
	for i := range d.Rows {
		v.index[d.Rows[i].Key()] = &d.Rows[i]
	}
	for i := range d.Items {
		v.items[d.Items[i].ID] = &d.Items[i]
	}
	return v
}

// method is a way to steer but for layer and strength.
type method struct{ aggregator, operator, scope string }

func methodOf(p eval.Point) method { return method{p.Aggregator, p.Operator, p.Scope} }

func (m method) String() string {
	scope := m.scope
	if scope == "" || scope == "all" {
		scope = "all tokens"
	} else {
		scope = "tokens " + scope
	}
	return fmt.Sprintf("%s, %s, %s", m.aggregator, m.operator, scope)
}

// strength is what a point's strength is called by: the budget where it was found
// for one.
func strength(p eval.Point) float64 {
	if p.Budget != 0 {
		return p.Budget
	}
	return p.Multiplier
}

// byBudget reports whether the strengths are budgets.
func (v *view) byBudget() bool { return len(v.Manifest.Grid.Budgets) > 0 }

func (v *view) strengthName() string {
	if v.byBudget() {
		return "budget (nats, 95th percentile of a token's KL)"
	}
	return "multiplier"
}

// layerOf returns the layer of a point that has one.
func layerOf(p eval.Point) (int, bool) {
	if len(p.Layers) != 1 {
		return 0, false
	}
	return p.Layers[0], true
}

// rows returns the rows of a set and a half, of the grid for the baseline "".
func (v *view) rows(set eval.Set, half eval.Half, baseline eval.Baseline) []eval.Row {
	var out []eval.Row
	for _, row := range v.Rows {
		if row.Set == set && (row.Half == half || row.Half == "") && row.Baseline == baseline {
			out = append(out, row)
		}
	}
	return out
}

// at returns the row of a point, or nil. A row that is of no half is of both.
func (v *view) at(p eval.Point, set eval.Set, half eval.Half) *eval.Row {
	for _, half := range []eval.Half{half, ""} {
		wanted := eval.Row{Point: p, Set: set, Half: half}
		if row := v.index[wanted.Key()]; row != nil {
			return row
		}
	}
	return nil
}

// unsteered returns a metric without steering.
func (v *view) unsteered(set eval.Set, half eval.Half, metric string) (eval.Estimate, bool) {
	for _, row := range v.rows(set, half, eval.NoSteering) {
		if e, ok := row.Metrics[metric]; ok {
			return e, true
		}
	}
	return eval.Estimate{}, false
}

// methods returns the methods of the grid, the chosen one first.
func (v *view) methods() []method {
	var methods []method
	if r := v.Manifest.Result; r != nil {
		methods = append(methods, methodOf(r.Chosen))
	}
	for _, row := range v.Rows {
		if row.Set == eval.Choices && row.Baseline == "" && !slices.Contains(methods, methodOf(row.Point)) {
			methods = append(methods, methodOf(row.Point))
		}
	}
	return methods
}
