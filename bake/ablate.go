package bake

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// ablation plans to take the vector's directions out of everything that writes to
// the residual stream: a weight W [hidden, in] becomes W - Σ d dᵀW over an
// orthonormal basis d of what they span (Arditi et al. 2024, section 4.1).
//
// Where a norm stands between a part and the stream, the stream gets w⊙y/rms(y) of
// what the part gives, and has nothing of a direction v where y has nothing of w⊙v:
// that is taken out in its place.
func (p *planned) ablation(vector *steer.Vector, embeddings bool) error {
	if site := vector.Site; site != "" && site != lm.DecoderBlock && site != lm.ResidualMid {
		return fmt.Errorf("the vector is of %s; what is taken out of the residual stream is a direction of decoder_block or residual_mid", site)
	}
	if operator := cmp.Or(vector.Operator, steer.Add().Name()); operator != steer.Add().Name() && operator != steer.Ablate().Name() {
		return fmt.Errorf("the vector's rows are for the operator %s, and are no directions to ablate all of", operator)
	}
	if len(vector.Layers) != 1 {
		return fmt.Errorf("the vector has directions for %d layers; the weights of all layers are made free of one: choose a layer", len(vector.Layers))
	}
	hidden := p.decoder.Hidden
	var directions [][]float32
	for layer, values := range vector.Layers {
		p.layers = []int{layer}
		if len(values) == 0 || len(values)%hidden != 0 {
			return fmt.Errorf("the vector has %d elements; the residual stream has %d", len(values), hidden)
		}
		directions = slices.Collect(slices.Chunk(values, hidden))
	}
	if embeddings && p.decoder.Embedding.Sinusoidal {
		return errors.New("the embedding: the positions of this family are sines, which no weight holds")
	}
	layersOf := map[lm.Site]map[int][]float32{} // of the edits that do the same
	for _, w := range p.decoder.Writers() {
		if w.Layer < 0 && !embeddings {
			continue
		}
		if err := p.free(w, directions, layersOf); err != nil {
			return err
		}
	}
	if embeddings {
		// The nearest that run time has to a freed embedding: the stream is freed where
		// it is first shown.
		site := lm.ResidualMid
		if !p.decoder.HasSite(0, site) {
			site = lm.DecoderBlock
		}
		p.edits = append(p.edits, lm.Edit{Site: site, Layers: map[int][]float32{0: slices.Concat(directions...)}, Operator: steer.Ablate()})
	}
	return nil
}

// free plans to take directions out of one part, and to do the same at run time.
func (p *planned) free(w arch.Writer, directions [][]float32, layersOf map[lm.Site]map[int][]float32) error {
	fail := func(err error) error {
		if w.Layer < 0 {
			return fmt.Errorf("the embedding: %w", err)
		}
		return fmt.Errorf("layer %d: %w", w.Layer, err)
	}
	if w.Layer >= 0 {
		b := &p.decoder.Blocks[w.Layer]
		switch {
		case b.AfterAttentionAdd != nil || b.AfterMLPAdd != nil || b.ResidualAfterNorm:
			return fail(errors.New("a norm stands in the residual stream itself, and writes to it"))
		case b.MLP.Experts != nil && b.MLP.Experts.Idle > 0:
			return fail(errors.New("experts that give what they read write it to the residual stream"))
		case w.Site == "":
			return fail(fmt.Errorf("no site shows what %q adds to the residual stream, so that steering at run time cannot do the same", w.Weight))
		}
	}
	seen, err := p.before(w.Norm, directions)
	if err != nil {
		return fail(err)
	}
	basis, err := orthonormal(seen)
	if err != nil {
		return fail(err)
	}
	for _, name := range each(w.Weight, w.Experts) {
		if err := p.release(name, ablated{basis, p.decoder.Hidden, !w.Transposed}); err != nil {
			return fail(err)
		}
	}
	for _, name := range each(w.Bias, w.Experts) {
		if err := p.release(name, ablated{basis, p.decoder.Hidden, false}); err != nil {
			return fail(err)
		}
	}
	if w.Layer < 0 {
		return nil
	}
	if layersOf[w.Site] == nil {
		layersOf[w.Site] = map[int][]float32{}
		p.edits = append(p.edits, lm.Edit{Site: w.Site, Layers: layersOf[w.Site], Operator: steer.Ablate()})
	}
	layersOf[w.Site][w.Layer] = slices.Concat(seen...)
	return nil
}

// release plans the change of one tensor; "" names none.
func (p *planned) release(name string, change ablated) error {
	if name == "" {
		return nil
	}
	t, err := p.weights.floats(name)
	if err != nil {
		return err
	}
	height := 1 // rows that belong together
	if last := t.Shape[len(t.Shape)-1]; change.columns && len(t.Shape) > 1 {
		height *= change.hidden
	} else if last != change.hidden {
		return fmt.Errorf("tensor %q has shape %v; its rows are to have %d elements", t.Name, t.Shape, change.hidden)
	}
	if n := t.Len() / t.Shape[len(t.Shape)-1]; n%height != 0 {
		return fmt.Errorf("tensor %q has shape %v; %d rows are to give the residual stream", t.Name, t.Shape, height)
	}
	p.changes[t.Name] = change
	return nil
}

// before returns what must be taken out in front of a norm, so that nothing of the
// directions comes behind it.
func (p *planned) before(n *arch.Norm, directions [][]float32) ([][]float32, error) {
	if n == nil {
		return directions, nil
	}
	if n.Bias != "" {
		return nil, fmt.Errorf("the norm before the residual stream adds %q to it", n.Bias)
	}
	if n.Kind != arch.RMS || n.Weight == "" {
		return nil, errors.New("the norm before the residual stream is none that only scales its elements")
	}
	t, err := p.weights.floats(n.Weight)
	if err != nil {
		return nil, err
	}
	weight, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	if len(weight) != p.decoder.Hidden {
		return nil, fmt.Errorf("tensor %q has shape %v; the residual stream has %d elements", t.Name, t.Shape, p.decoder.Hidden)
	}
	var seen [][]float32
	for _, direction := range directions {
		scaled := slices.Clone(direction)
		for i := range scaled {
			scaled[i] *= weight[i] + n.Offset
		}
		seen = append(seen, scaled)
	}
	return seen, nil
}

// orthonormal returns a basis of what the directions span.
func orthonormal(directions [][]float32) (linear.Basis, error) {
	var basis linear.Basis
	for i, direction := range directions {
		if !basis.Extend(linear.Wide(direction), 1e-9) {
			return nil, fmt.Errorf("direction %d is zero, not finite, or a mixture of those before it", i)
		}
	}
	return basis, nil
}

// ablated takes the span of an orthonormal basis [k][hidden] out of rows of hidden
// elements, or out of the columns of matrices [hidden, in].
type ablated struct {
	basis   linear.Basis
	hidden  int
	columns bool
}

func (a ablated) apply(t safetensors.Tensor, put func(values []float32) error) error {
	if !a.columns {
		return rows(t, a.hidden, func(values []float32) error {
			for row := range slices.Chunk(values, a.hidden) {
				a.row(row)
			}
			return put(values)
		})
	}
	size := a.hidden * t.Shape[len(t.Shape)-1] * t.DType.Size()
	for data := range slices.Chunk(t.Data, size) {
		one := t
		one.Data = data
		if err := a.matrix(one, put); err != nil {
			return err
		}
	}
	return nil
}

// row takes the basis out of one row [hidden].
func (a ablated) row(row []float32) {
	for _, d := range a.basis {
		along := 0.0
		for i, v := range row {
			along += d[i] * float64(v)
		}
		for i, v := range row {
			row[i] = float32(float64(v) - d[i]*along)
		}
	}
}

// matrix takes the basis out of the columns of a matrix [hidden, in], whose rows it
// goes through twice: for how much each column has of it, and for what is left.
func (a ablated) matrix(t safetensors.Tensor, put func(values []float32) error) error {
	in := t.Shape[len(t.Shape)-1]
	along := make([][]float64, len(a.basis)) // [k][in]
	for k := range along {
		along[k] = make([]float64, in)
	}
	out := 0
	err := rows(t, in, func(values []float32) error {
		for row := range slices.Chunk(values, in) {
			for k, d := range a.basis {
				sums := along[k]
				for i, v := range row {
					sums[i] += d[out] * float64(v)
				}
			}
			out++
		}
		return nil
	})
	if err != nil {
		return err
	}
	out = 0
	return rows(t, in, func(values []float32) error {
		for row := range slices.Chunk(values, in) {
			for i, v := range row {
				rest := float64(v)
				for k, d := range a.basis {
					rest -= d[out] * along[k][i]
				}
				row[i] = float32(rest)
			}
			out++
		}
		return put(values)
	})
}
