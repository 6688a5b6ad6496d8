package steer

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/steervec/steer/internal/finite"
)

// derived returns a vector without layers that comes from this one by an
// operation. What was measured of the old one does not hold for it.
func (v *Vector) derived(operation string) *Vector {
	out := &Vector{Site: v.Site, Rank: v.Rank, Operator: v.Operator, Layers: map[int][]float32{}, Provenance: v.Provenance, ActivationNorms: maps.Clone(v.ActivationNorms)}
	if before := out.Provenance.Operations; before != "" {
		operation = before + "; " + operation
	}
	out.Provenance.Operations = operation
	return out
}

// each returns a vector whose layers are a function of this one's, and an error
// where one has no direction.
func (v *Vector) each(operation string, f func(vector []float32) ([]float32, error)) (*Vector, error) {
	if len(v.Layers) == 0 {
		return nil, errors.New("the vector has no layers")
	}
	out := v.derived(operation)
	for layer, vector := range v.Layers {
		var err error
		if out.Layers[layer], err = f(vector); err != nil {
			return nil, fmt.Errorf("the vector of layer %d: %w", layer, err)
		}
	}
	return out, nil
}

// Scale returns the vector multiplied at every layer. A factor that leaves
// nothing, or numbers that are not finite, is an error.
func (v *Vector) Scale(factor float64) (*Vector, error) {
	if factor == 0 || !finite.Is(factor) {
		return nil, fmt.Errorf("scale: the factor is %v", factor)
	}
	return v.each(fmt.Sprintf("scaled by %v", factor), func(vector []float32) ([]float32, error) { return scale(vector, factor) })
}

// Negate returns the vector that points the other way.
func (v *Vector) Negate() (*Vector, error) {
	return v.each("negated", func(vector []float32) ([]float32, error) { return scale(vector, -1) })
}

// Normalise returns the vector with length 1 at every layer.
func (v *Vector) Normalise() (*Vector, error) {
	return v.each("normalised", func(vector []float32) ([]float32, error) {
		if err := checkDirection(vector); err != nil {
			return nil, err
		}
		norm, out := length(vector), make([]float32, len(vector))
		for i, x := range vector {
			out[i] = float32(float64(x) / norm)
		}
		return out, nil
	})
}

// Add returns the sum of two vectors of one site, layers and widths.
func (v *Vector) Add(other *Vector) (*Vector, error) { return v.plus(other, 1, "plus") }

// Sub returns the difference of two vectors of one site, layers and widths.
func (v *Vector) Sub(other *Vector) (*Vector, error) { return v.plus(other, -1, "minus") }

func (v *Vector) plus(other *Vector, sign float32, word string) (*Vector, error) {
	if err := v.matches(other); err != nil {
		return nil, err
	}
	p := other.Provenance
	operation := fmt.Sprintf("%s a vector of model %q, pairs %q, %s", word, p.Model, p.PairsHash, p.Aggregator)
	if p.Operations != "" {
		operation += " (" + p.Operations + ")"
	}
	out := v.derived(operation)
	for layer, vector := range v.Layers {
		second, _ := other.layer(layer) // matches has found it
		sum := make([]float32, len(vector))
		for i, x := range vector {
			sum[i] = x + sign*other.Layers[second][i]
		}
		if err := finite.Check(sum); err != nil {
			return nil, fmt.Errorf("the sum at layer %d is not finite: %w", layer, err)
		}
		if zero(sum) {
			return nil, fmt.Errorf("nothing is left at layer %d: the vectors cancel each other", layer)
		}
		out.Layers[layer] = sum
	}
	return out, nil
}

// Cut returns the vector with some of its layers only. Negative ones count from
// the model's last.
func (v *Vector) Cut(layers ...int) (*Vector, error) {
	if len(layers) == 0 {
		return nil, errors.New("cut: no layers are left")
	}
	out := v.derived(fmt.Sprintf("cut to layers %v", layers))
	for _, n := range layers {
		layer, err := v.layer(n)
		if err != nil {
			return nil, fmt.Errorf("cut: %w", err)
		}
		out.Layers[layer] = slices.Clone(v.Layers[layer])
	}
	return out, nil
}

// Cosine returns the cosine of the angle between two vectors at each layer.
func (v *Vector) Cosine(other *Vector) (map[int]float64, error) {
	if err := v.matches(other); err != nil {
		return nil, err
	}
	cosines := map[int]float64{}
	for layer, a := range v.Layers {
		second, _ := other.layer(layer) // matches has found it
		b, dot := other.Layers[second], 0.0
		for i, x := range a {
			dot += float64(x) * float64(b[i])
		}
		norms := length(a) * length(b)
		if norms == 0 || !finite.Is(norms) || !finite.Is(dot) {
			return nil, fmt.Errorf("the vectors of layer %d make no angle: one is zero or not finite", layer)
		}
		cosines[layer] = max(-1, min(1, dot/norms))
	}
	return cosines, nil
}

// matches refuses vectors that do not live in the same place.
func (v *Vector) matches(other *Vector) error {
	if v.site() != other.site() {
		return fmt.Errorf("the vectors are of different layer types, %s and %s", v.site(), other.site())
	}
	if a, b := v.Provenance.Family, other.Provenance.Family; a != "" && b != "" && a != b {
		return fmt.Errorf("the vectors are of different model families, %s and %s", a, b)
	}
	if len(v.Layers) == 0 || len(v.Layers) != len(other.Layers) {
		return fmt.Errorf("the vectors have different layers, %v and %v; cut them first", v.ascending(), other.ascending())
	}
	for layer, vector := range v.Layers {
		second, err := other.layer(layer)
		if err != nil {
			return fmt.Errorf("the vectors have different layers, %v and %v; cut them first", v.ascending(), other.ascending())
		}
		if a, b := len(vector), len(other.Layers[second]); a != b {
			return fmt.Errorf("the vectors of layer %d have %d and %d elements", layer, a, b)
		}
	}
	return nil
}
