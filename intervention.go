package steer

import (
	"errors"
	"fmt"

	"github.com/steervec/steer/lm"
)

// Intervention says how one vector acts on a model, as data: what a command line, a
// request or a manifest says of it. Unknown keys are for who decodes it to refuse.
type Intervention struct {
	Vector     string   `json:"vector"`               // its name or its file, for who looks it up
	Multiplier *float64 `json:"multiplier,omitempty"` // nil: 1
	Strength   *float64 `json:"strength,omitempty"`   // in place of the multiplier, in units of the vector's calibration
	Operator   string   `json:"operator,omitempty"`   // as ParseOperator reads it; "": the vector's own
	Layers     *Layers  `json:"layers,omitempty"`     // nil: all of the vector's
	Tokens     string   `json:"tokens,omitempty"`     // as ParseTokens reads them; "": all

	// Of these tokens it acts on those for which all of the following hold.
	When    *When       `json:"when,omitempty"`    // nil: the condition that the vector's file has, if it has one
	Between *lm.Between `json:"between,omitempty"` // nil: everywhere
	Decay   *lm.Decay   `json:"decay,omitempty"`   // nil: it does not fade
}

// Check returns an error where the intervention makes no sense with any vector.
// The error names the key that is wrong: it is an [InterventionError].
func (i Intervention) Check() error {
	_, _, err := i.parse()
	return err
}

// InterventionError says which key of an intervention is wrong.
type InterventionError struct {
	Key string // in JSON
	Err error
}

// Error returns the key and what is wrong with it.
func (e *InterventionError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *InterventionError) Unwrap() error { return e.Err }

func (i Intervention) parse() (operator Operator, tokens lm.Tokens, err error) {
	if i.Operator != "" {
		if operator, err = ParseOperator(i.Operator); err != nil {
			return nil, nil, &InterventionError{"operator", err}
		}
	}
	if i.Tokens != "" {
		if tokens, err = ParseTokens(i.Tokens); err != nil {
			return nil, nil, &InterventionError{"tokens", err}
		}
	}
	if i.Strength != nil && i.Multiplier != nil {
		return nil, nil, &InterventionError{"strength", errors.New("there is a multiplier as well; give one of them")}
	}
	for _, part := range []struct {
		key   string
		given bool
		check func() error
	}{
		{"when", i.When != nil, func() error { return i.When.Check() }},
		{"between", i.Between != nil, func() error { return i.Between.Check() }},
		{"decay", i.Decay != nil, func() error { return i.Decay.Check() }},
	} {
		if part.given {
			if err := part.check(); err != nil {
				return nil, nil, &InterventionError{part.key, err}
			}
		}
	}
	return operator, tokens, nil
}

// Factor returns the multiplier of a vector. It is an error where a strength is
// asked for and the vector has no calibration.
func (i Intervention) Factor(v *Vector) (float64, error) {
	switch {
	case i.Strength != nil && v.Calibration == nil:
		return 0, &InterventionError{"strength", errors.New("the vector has no calibration: nobody has measured what strength 1 means")}
	case i.Strength != nil:
		return *i.Strength * v.Calibration.Multiplier, nil
	case i.Multiplier != nil:
		return *i.Multiplier, nil
	}
	return 1, nil
}

// Edit makes of the intervention and the vector that it names an edit for a model,
// as [Vector.Edit] does. Vectors that the condition names must be embedded in it
// ([When.Embed]). Errors that a key of the intervention causes are
// [InterventionError] values.
func (i Intervention) Edit(model *lm.Model, v *Vector) (lm.Edit, error) {
	operator, tokens, err := i.parse()
	if err != nil {
		return lm.Edit{}, err
	}
	factor, err := i.Factor(v)
	if err != nil {
		return lm.Edit{}, err
	}
	options := []EditOption{OnTokens(tokens)}
	if operator != nil {
		options = append(options, Using(operator))
	}
	layers, err := i.Layers.Of(model)
	if err != nil {
		return lm.Edit{}, &InterventionError{"layers", err}
	}
	if layers != nil {
		options = append(options, AtLayers(layers...))
	}
	edit, err := v.Edit(factor, options...)
	if err != nil {
		return lm.Edit{}, fmt.Errorf("vector %s: %w", i.Vector, err)
	}
	if i.When != nil {
		when, err := i.When.Embed(v, nil)
		if err != nil {
			return lm.Edit{}, &InterventionError{"when", err}
		}
		edit.Condition = when.condition()
	}
	edit.Between = i.Between
	if i.Decay != nil {
		edit.Decay = *i.Decay
	}
	return edit, nil
}
