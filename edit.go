package steer

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/operators"
)

// EditOption says how a vector acts, where that is not as usual.
type EditOption func(*editOptions)

type editOptions struct {
	operator Operator
	tokens   lm.Tokens
	layers   []int
}

// Using chooses the operator; the vector's own unless told.
func Using(operator Operator) EditOption { return func(o *editOptions) { o.operator = operator } }

// OnTokens chooses the tokens that are steered; all unless told.
func OnTokens(tokens lm.Tokens) EditOption { return func(o *editOptions) { o.tokens = tokens } }

// AtLayers chooses which of the vector's layers act; all unless told. Negative
// ones count from the model's last.
func AtLayers(layers ...int) EditOption {
	return func(o *editOptions) { o.layers = append([]int{}, layers...) }
}

// Edit makes of the vector, multiplied, an edit that a model accepts. It acts by
// its own operator, and under its own condition, on every token at all of its layers
// unless options say otherwise. With a multiplier of 0 an addition is idle. What would silently do nothing or make no
// sense is an error: no layers, a layer that the vector lacks, a zero vector, a
// multiplier of 0 with an ablation, a product that is not finite or that vanishes.
func (v *Vector) Edit(multiplier float64, options ...EditOption) (lm.Edit, error) {
	o := editOptions{layers: v.ascending()}
	for _, option := range options {
		option(&o)
	}
	if o.operator == nil {
		var err error
		if o.operator, err = v.operator(); err != nil {
			return lm.Edit{}, err
		}
	}
	if !finite.Is(multiplier) {
		return lm.Edit{}, fmt.Errorf("the multiplier is %v", multiplier)
	}
	if len(o.layers) == 0 {
		return lm.Edit{}, errors.New("the vector has no layers")
	}
	edit := lm.Edit{Site: v.site(), Layers: map[int][]float32{}, Operator: o.operator, Tokens: o.tokens}
	if v.Condition != nil {
		own, err := v.Condition.Embed(v, nil)
		if err != nil {
			return lm.Edit{}, fmt.Errorf("the vector's own condition: %w", err)
		}
		edit.Condition = own.condition()
	}
	for _, n := range o.layers {
		layer, err := v.layer(n)
		if err != nil {
			return lm.Edit{}, err
		}
		rows := v.Layers[layer]
		width := len(rows) / max(v.Rank, 1)
		blended, maps := operators.Blend(o.operator, rows, width, multiplier)
		if maps {
			err = finite.Check(blended)
		} else {
			blended, err = scale(rows, multiplier)
		}
		if err == nil {
			_, err = o.operator.Prepare(blended, width)
		}
		edit.Layers[layer] = blended
		if err != nil && multiplier == 0 {
			err = fmt.Errorf("%w; the multiplier is 0, but %s needs the vector's direction: leave the multiplier at 1", err, o.operator.Name())
		}
		if err != nil {
			return lm.Edit{}, fmt.Errorf("the vector of layer %d: %w", layer, err)
		}
	}
	return edit, nil
}

// operator returns how the vector acts unless told.
func (v *Vector) operator() (Operator, error) {
	operator, err := ParseOperator(cmp.Or(v.Operator, Add().Name()))
	if err != nil {
		return nil, fmt.Errorf("the vector's own operator: %w", err)
	}
	return operator, nil
}

func (v *Vector) site() lm.Site { return cmp.Or(v.Site, lm.DecoderBlock) }

// scale multiplies a vector that must be finite and not zero, and the product too
// unless the factor is 0.
func scale(vector []float32, factor float64) ([]float32, error) {
	if err := finite.Check(vector); err != nil {
		return nil, fmt.Errorf("it is not finite: %w", err)
	}
	if linear.IsZero(vector) {
		return nil, errors.New("it is zero: it steers nothing")
	}
	scaled := make([]float32, len(vector))
	for i, x := range vector {
		scaled[i] = float32(factor) * x
	}
	if err := finite.Check(scaled); err != nil {
		return nil, fmt.Errorf("multiplied by %v it is not finite: %w", factor, err)
	}
	if factor != 0 && linear.IsZero(scaled) {
		return nil, fmt.Errorf("multiplied by %v nothing is left of it", factor)
	}
	return scaled, nil
}

// Check says whether an edit that was made of the vector fits a model. Another
// model family, layers that the model lacks and other widths are errors; what may
// surprise is a note: other weights than those that the vector was trained on, all
// layers at once, an edit that moves activations by more than their own length.
func (v *Vector) Check(model *lm.Model, edit lm.Edit) (notes []string, err error) {
	p, family := v.Provenance, model.Decoder().Family
	if p.Family != "" && p.Family != family {
		return nil, fmt.Errorf("the vector was trained on %s, of family %s; model %s is of family %s", p.Model, p.Family, model.ID(), family)
	}
	if _, err := model.Steering(edit); err != nil {
		return nil, err
	}
	if p.WeightsHash != "" && p.WeightsHash != model.Fingerprint() {
		notes = append(notes, fmt.Sprintf("the vector was trained on other weights, those of %s, than model %s has", p.Model, model.ID()))
	}
	if !operators.Adds(edit.Operator) { // what is no addition does not pile up
		return notes, nil
	}
	if all := model.LayersOf(edit.Site); len(all) > 1 && len(edit.Layers) == len(all) {
		notes = append(notes, fmt.Sprintf("the vector acts at all %d layers at once, and what each adds comes on top of the others: "+
			"if the text falls apart, try one layer in the middle, such as %d, or a smaller multiplier", len(all), all[len(all)/2]))
	}
	worst, at := 1.0, 0
	for n, vector := range edit.Layers {
		if typical := v.ActivationNorms[n]; typical > 0 {
			if ratio := linear.Norm(vector) / typical; ratio > worst || ratio == worst && n < at {
				worst, at = ratio, n
			}
		}
	}
	if worst > 1 {
		notes = append(notes, fmt.Sprintf("at layer %d the vector moves activations by %.2g times their own length: "+
			"if the text falls apart, try a multiplier that is %.2g times smaller", at, worst, 2*worst))
	}
	return notes, nil
}
