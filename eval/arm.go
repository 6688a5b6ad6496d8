package eval

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// Use is a vector and how it is to act.
type Use struct {
	Vector *steer.Vector
	steer.Intervention
}

// edit makes the edit of a use whose multiplier is multiplied by a factor.
func (u Use) edit(m *lm.Model, factor float64) (lm.Edit, float64, error) {
	multiplier, err := u.Factor(u.Vector)
	if err != nil {
		return lm.Edit{}, 0, err
	}
	multiplier *= factor
	u.Multiplier, u.Strength = &multiplier, nil
	edit, err := u.Edit(m, u.Vector)
	return edit, multiplier, err
}

// NewArm makes the arm that steers with vectors, all multipliers multiplied by a
// factor. Its point has the layers, operators and tokens of all vectors, and the
// multiplier of a single one, or the factor of several.
func NewArm(m *lm.Model, uses []Use, factor float64) (Arm, error) {
	if len(uses) == 0 {
		return Arm{}, errors.New("there is no vector to steer with")
	}
	arm := Arm{Point: Point{Multiplier: factor}}
	var edits []lm.Edit
	layers := map[int]bool{}
	var operators, scopes, aggregators []string
	for _, u := range uses {
		edit, multiplier, err := u.edit(m, factor)
		if err != nil {
			return Arm{}, err
		}
		edits = append(edits, edit)
		for given := range edit.Layers {
			layer, err := m.Layer(given)
			if err != nil {
				return Arm{}, err
			}
			layers[layer] = true
		}
		operators = append(operators, edit.Operator.Name())
		scopes = append(scopes, cmp.Or(u.Tokens, "all"))
		aggregators = append(aggregators, u.Vector.Provenance.Aggregator)
		if len(uses) == 1 {
			arm.Point.Multiplier = multiplier
			if c := u.Vector.Calibration; c != nil && c.Multiplier != 0 {
				arm.Point.Strength = multiplier / c.Multiplier
			}
		}
	}
	var err error
	if arm.Steering, err = m.Steering(edits...); err != nil {
		return Arm{}, err
	}
	together := func(names []string) string { return strings.Join(slices.Compact(names), " + ") }
	arm.Point.Layers = slices.Sorted(maps.Keys(layers))
	arm.Point.Operator, arm.Point.Scope, arm.Point.Aggregator = together(operators), together(scopes), together(aggregators)
	return arm, nil
}

// Arms returns the arms of vectors at some factors, leaving out 0 where their
// operators have none.
func Arms(m *lm.Model, uses []Use, factors []float64) ([]Arm, error) {
	var arms []Arm
	for _, factor := range factors {
		if factor == 0 && !HasZero(uses) {
			continue
		}
		arm, err := NewArm(m, uses, factor)
		if err != nil {
			return nil, err
		}
		arms = append(arms, arm)
	}
	return arms, nil
}

// Baselines are what vectors are compared with at some factors: no steering, the
// vectors at 0, random vectors of the same length, and instructions in their place.
type Baselines struct {
	Random      int                // how many random vectors
	Seed        uint64             // of the first
	Instruction *pairs.Instruction // nil: none
}

// Arms returns the arms of the baselines. Vectors whose operator needs a direction,
// as an ablation does, have no 0 to be compared with.
func (b Baselines) Arms(m *lm.Model, uses []Use, factors []float64) ([]Arm, error) {
	arms := []Arm{{Point: Point{Baseline: NoSteering}}}
	if HasZero(uses) {
		arm, err := NewArm(m, uses, 0)
		if err != nil {
			return nil, err
		}
		arm.Point.Baseline, arm.Point.Strength = ZeroStrength, 0
		arms = append(arms, arm)
	}
	for k := range b.Random {
		random := slices.Clone(uses)
		seed := b.Seed + uint64(k)
		for i := range random {
			random[i].Vector = RandomLike(uses[i].Vector, seed+uint64(i)<<32)
		}
		for _, factor := range factors {
			if factor == 0 {
				continue
			}
			arm, err := NewArm(m, random, factor)
			if err != nil {
				return nil, fmt.Errorf("random vector %d: %w", k+1, err)
			}
			arm.Point.Baseline, arm.Point.Seed = RandomVector, seed
			arms = append(arms, arm)
		}
	}
	if i := b.Instruction; i != nil {
		arms = append(arms,
			Arm{Point: Point{Baseline: PositivePrompt}, Instruction: i.Positive},
			Arm{Point: Point{Baseline: NegativePrompt}, Instruction: i.Negative})
	}
	return arms, nil
}

// HasZero reports whether vectors can be multiplied by 0, and then change nothing.
func HasZero(uses []Use) bool {
	for _, u := range uses {
		var options []steer.EditOption
		if u.Operator != "" {
			operator, err := steer.ParseOperator(u.Operator)
			if err != nil {
				return false
			}
			options = append(options, steer.Using(operator))
		}
		if _, err := u.Vector.Edit(0, options...); err != nil { // as an ablation, which needs a direction
			return false
		}
	}
	return true
}

// RandomLike returns a vector of random directions, whose rows at each layer are as
// long as those of the vector. Equal seeds give equal vectors.
func RandomLike(v *steer.Vector, seed uint64) *steer.Vector {
	out := *v
	out.Layers = map[int][]float32{}
	rank := max(1, v.Rank)
	for layer, vector := range v.Layers {
		random := rand.New(rand.NewPCG(seed, uint64(layer)))
		drawn := make([]float64, len(vector))
		out.Layers[layer] = make([]float32, len(vector))
		width := len(vector) / rank
		for row := 0; row < len(vector); row += width {
			var own, wanted float64
			for i := row; i < row+width; i++ {
				drawn[i] = random.NormFloat64()
				own += drawn[i] * drawn[i]
				wanted += float64(vector[i]) * float64(vector[i])
			}
			scale := math.Sqrt(wanted / own)
			for i := row; i < row+width; i++ {
				out.Layers[layer][i] = float32(drawn[i] * scale)
			}
		}
	}
	return &out
}
