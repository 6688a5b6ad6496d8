package steer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/steervec/steer/lm"
)

// Differs says in what an edit differs from the use of the vector that was
// calibrated, so that a strength of 1 need not cost the budget; "" where it does not.
func (c *Calibration) Differs(model *lm.Model, edit lm.Edit) string {
	tokens := ""
	if edit.Tokens != nil {
		tokens = fmt.Sprint(edit.Tokens)
	}
	var layers []int
	for n := range maps.Keys(edit.Layers) {
		if layer, err := model.Layer(n); err == nil {
			layers = append(layers, layer)
		}
	}
	slices.Sort(layers)
	for _, part := range []struct{ name, calibrated, is string }{
		{"operator", c.Operator, edit.Operator.Name()},
		{"layers", fmt.Sprint(c.Layers), fmt.Sprint(layers)},
		{"tokens", cmp.Or(c.Tokens, "all"), cmp.Or(tokens, "all")},
	} {
		if part.calibrated != part.is {
			return fmt.Sprintf("it was calibrated with %s %s, and acts with %s", part.name, part.calibrated, part.is)
		}
	}
	return ""
}
