package steer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/operators"
)

// derived returns a vector without layers that comes from this one by an
// operation. What was measured of the old one does not hold for it.
func (v *Vector) derived(operation string) *Vector {
	out := &Vector{Site: v.Site, Rank: v.Rank, Operator: v.Operator, Condition: v.Condition, Layers: map[int][]float32{}, Provenance: v.Provenance, ActivationNorms: maps.Clone(v.ActivationNorms)}
	if v.Condition != nil {
		// What it reads stays what it was. Where that is wrong, it is told by an edit.
		if own, err := v.Condition.Embed(v, nil); err == nil {
			out.Condition = own
		}
	}
	if before := out.Provenance.Operations; before != "" {
		operation = before + "; " + operation
	}
	out.Provenance.Operations = operation
	return out
}

// directions refuses a vector whose rows are a map of activations: what is done to
// directions means nothing for it.
func (v *Vector) directions() error {
	operator, err := v.operator()
	if err != nil {
		return err
	}
	if _, maps := operators.Blend(operator, nil, 1, 1); maps {
		return fmt.Errorf("the vector's rows are a map, by which %s acts, not directions", operator.Name())
	}
	return nil
}

// each returns a vector whose layers are a function of this one's, and an error
// where one has no direction.
func (v *Vector) each(operation string, f func(vector []float32) ([]float32, error)) (*Vector, error) {
	if len(v.Layers) == 0 {
		return nil, errors.New("the vector has no layers")
	}
	if err := v.directions(); err != nil {
		return nil, err
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

// Normalise returns the vector with rows of length 1 at every layer.
func (v *Vector) Normalise() (*Vector, error) {
	return v.each("normalised", func(vector []float32) ([]float32, error) {
		out := make([]float32, 0, len(vector))
		for row := range slices.Chunk(vector, max(1, len(vector)/max(1, v.Rank))) {
			if err := checkDirection(row); err != nil {
				return nil, err
			}
			norm := linear.Norm(row)
			for _, x := range row {
				out = append(out, float32(float64(x)/norm))
			}
		}
		return out, nil
	})
}

// Average returns the mean of vectors of one site, layers, widths and ranks.
func Average(vectors ...*Vector) (*Vector, error) {
	if len(vectors) == 0 {
		return nil, errors.New("average: there are no vectors")
	}
	out := vectors[0].derived(fmt.Sprintf("averaged with %s", described(vectors[1:])))
	for layer, first := range vectors[0].Layers {
		sums := make([]float64, len(first))
		for _, v := range vectors {
			if err := vectors[0].matches(v); err != nil {
				return nil, fmt.Errorf("average: %w", err)
			}
			at, _ := v.layer(layer) // matches has found it
			for i, x := range v.Layers[at] {
				sums[i] += float64(x)
			}
		}
		mean := make([]float32, len(first))
		for i, sum := range sums {
			mean[i] = float32(sum / float64(len(vectors)))
		}
		if err := finite.Check(mean); err != nil {
			return nil, fmt.Errorf("the average at layer %d is not finite: %w", layer, err)
		}
		if linear.IsZero(mean) {
			return nil, fmt.Errorf("nothing is left at layer %d: the vectors cancel each other", layer)
		}
		out.Layers[layer] = mean
	}
	return out, nil
}

// described says of vectors what they come from, for the provenance of others.
func described(vectors []*Vector) string {
	var texts []string
	for _, v := range vectors {
		text := fmt.Sprintf("a vector of model %q, pairs %q, %s", v.Provenance.Model, v.Provenance.PairsHash, v.Provenance.Aggregator)
		if v.Provenance.Operations != "" {
			text += " (" + v.Provenance.Operations + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// Add returns the sum of two vectors of one site, layers, widths and ranks.
func (v *Vector) Add(other *Vector) (*Vector, error) { return v.plus(other, 1, "plus") }

// Sub returns the difference of two vectors of one site, layers, widths and ranks.
func (v *Vector) Sub(other *Vector) (*Vector, error) { return v.plus(other, -1, "minus") }

func (v *Vector) plus(other *Vector, sign float32, word string) (*Vector, error) {
	if err := v.matches(other); err != nil {
		return nil, err
	}
	out := v.derived(word + " " + described([]*Vector{other}))
	for layer, vector := range v.Layers {
		second, _ := other.layer(layer) // matches has found it
		sum := make([]float32, len(vector))
		for i, x := range vector {
			sum[i] = x + sign*other.Layers[second][i]
		}
		if err := finite.Check(sum); err != nil {
			return nil, fmt.Errorf("the sum at layer %d is not finite: %w", layer, err)
		}
		if linear.IsZero(sum) {
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

// Cosine returns the cosine of the angle between two vectors at each layer that
// both have; where a vector has several rows, of the smallest angle between the
// spaces that they span, which has no sign.
func (v *Vector) Cosine(other *Vector) (map[int]float64, error) {
	cosines := map[int]float64{}
	for layer, values := range v.Layers {
		if _, err := other.layer(layer); err != nil {
			continue
		}
		at, err := v.meets(other, layer)
		if err != nil {
			return nil, err
		}
		cosines[layer], err = cosine(v.rows(layer), other.rows(at))
		if err != nil {
			return nil, fmt.Errorf("the vectors of layer %d, of %d elements, make no angle: %w", layer, len(values), err)
		}
	}
	if len(cosines) == 0 {
		return nil, fmt.Errorf("the vectors have no layer in common: %v and %v", v.ascending(), other.ascending())
	}
	return cosines, nil
}

// cosine returns that of two rows, or of two spaces.
func cosine(a, b [][]float32) (float64, error) {
	first, err := basis(a)
	if err != nil {
		return 0, err
	}
	second, err := basis(b)
	if err != nil {
		return 0, err
	}
	if len(a) > 1 || len(b) > 1 || len(first) == 0 || len(second) == 0 {
		return between(first, second)
	}
	dot := 0.0
	for i, x := range first[0] {
		dot += x * second[0][i]
	}
	return max(-1, min(1, dot)), nil
}

// alike refuses vectors of other sites or families.
func (v *Vector) alike(other *Vector) error {
	if v.site() != other.site() {
		return fmt.Errorf("the vectors are of different layer types, %s and %s", v.site(), other.site())
	}
	if a, b := v.Provenance.Family, other.Provenance.Family; a != "" && b != "" && a != b {
		return fmt.Errorf("the vectors are of different model families, %s and %s", a, b)
	}
	return nil
}

// meets returns the number under which another vector has a layer of this one, as
// wide.
func (v *Vector) meets(other *Vector, layer int) (int, error) {
	if err := v.alike(other); err != nil {
		return 0, err
	}
	at, err := other.layer(layer)
	if err != nil {
		return 0, err
	}
	if a, b := len(v.Layers[layer])/max(1, v.Rank), len(other.Layers[at])/max(1, other.Rank); a != b {
		return 0, fmt.Errorf("the vectors of layer %d have %d and %d elements", layer, a, b)
	}
	return at, nil
}

// matches refuses vectors that do not live in the same place and act alike.
func (v *Vector) matches(other *Vector) error {
	if err := v.alike(other); err != nil {
		return err
	}
	if err := v.directions(); err != nil {
		return err
	}
	if !reflect.DeepEqual(v.Condition, other.Condition) {
		return errors.New("the vectors act under different conditions")
	}
	if a, b := max(1, v.Rank), max(1, other.Rank); a != b {
		return fmt.Errorf("the vectors have %d and %d rows a layer", a, b)
	}
	if a, b := cmp.Or(v.Operator, Add().Name()), cmp.Or(other.Operator, Add().Name()); a != b {
		return fmt.Errorf("the vectors act by different operators, %s and %s", a, b)
	}
	same := len(v.Layers) > 0 && len(v.Layers) == len(other.Layers)
	for layer := range v.Layers {
		_, err := other.layer(layer)
		same = same && err == nil
	}
	if !same {
		return fmt.Errorf("the vectors have different layers, %v and %v; cut them first", v.ascending(), other.ascending())
	}
	for layer := range v.Layers {
		if _, err := v.meets(other, layer); err != nil {
			return err
		}
	}
	return nil
}
