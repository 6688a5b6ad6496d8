package bake

import (
	"fmt"
	"maps"
	"slices"

	"gonum.org/v1/gonum/floats"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// addition plans to add the multiplied vector to biases. Where the checkpoint has
// none, a field of its config may turn them on: then all that it turns on are
// written, with zeros where the vector has nothing.
func (p *planned) addition(vector *steer.Vector, multiplier float64) error {
	if multiplier == 0 {
		multiplier = 1
	}
	edit, err := vector.Edit(multiplier)
	if err != nil {
		return err
	}
	if name := edit.Operator.Name(); name != steer.Add().Name() {
		return fmt.Errorf("the vector acts by %s; a bias can only add", name)
	}
	layers, blocks := map[int][]float32{}, len(p.decoder.Blocks)
	for given, values := range edit.Layers {
		layer := given
		if layer < 0 {
			layer += blocks
		}
		if layer < 0 || layer >= blocks {
			return fmt.Errorf("layer %d is not one of the model's layers 0 to %d", given, blocks-1)
		}
		if !p.decoder.HasSite(layer, edit.Site) {
			return fmt.Errorf("layer %d of a %s has no site %s", layer, p.decoder.Family, edit.Site)
		}
		if width := p.decoder.Width(layer, edit.Site); len(values) != width {
			return fmt.Errorf("the vector of layer %d has %d elements; site %s has %d", layer, len(values), edit.Site, width)
		}
		layers[layer] = values
	}
	edit.Layers = layers
	p.edits, p.layers = []lm.Edit{edit}, slices.Sorted(maps.Keys(edit.Layers))
	serves := func(d *arch.Decoder) bool {
		return !slices.ContainsFunc(p.layers, func(layer int) bool { return carrierOf(d, layer, edit.Site).bias == "" })
	}
	if p.config, p.field, err = arch.Biased(p.config, serves); err != nil {
		return fmt.Errorf("no bias of this model adds to %s: %w; steer at run time", edit.Site, err)
	}
	carrying, err := arch.Parse(p.config)
	if err != nil {
		return err
	}
	if err := p.turnOn(carrying); err != nil {
		return err
	}
	for _, layer := range p.layers {
		if err := p.add(carrierOf(carrying, layer, edit.Site), edit.Layers[layer]); err != nil {
			return fmt.Errorf("layer %d: %w", layer, err)
		}
	}
	return nil
}

// carrier is a bias that adds to a site.
type carrier struct {
	bias  string       // "": there is none
	scale float32      // multiplies the bias on its way; 0: 1
	heads *arch.Linear // stands between the site and the bias; nil: none
}

// carrierOf returns the bias behind which nothing stands before the site.
func carrierOf(d *arch.Decoder, layer int, site lm.Site) carrier {
	b := &d.Blocks[layer]
	output := &b.Attention.Output
	if b.Attention.Heads == 0 {
		output = &b.Recurrence.Output
	}
	attention := carrier{bias: lastBias(*output, b.Attention.Experts)}
	mlp := carrier{bias: lastBias(b.MLP.Down, b.MLP.Experts), scale: b.MLP.Scale}
	switch site {
	case lm.SelfAttn:
		return attention
	case lm.MLP:
		if b.First != nil && b.First.Shortcut != nil {
			mlp = carrier{bias: lastBias(b.First.Shortcut.Down, b.First.Shortcut.Experts), scale: b.First.Shortcut.Scale}
		}
		return mlp
	case lm.AttnHeads:
		if b.Attention.Experts != nil {
			return carrier{}
		}
		attention.heads = output
		return attention
	case lm.ResidualMid:
		return attention.throughNorms(b.AttentionScale, b.AfterAttention, b.AfterAttentionAdd)
	case lm.DecoderBlock:
		c := mlp.throughNorms(b.MLPScale, b.AfterMLP, b.AfterMLPAdd)
		if c.bias == "" && b.Parallel && b.MLPKeeps == 0 { // attention adds to the same stream
			c = attention.throughNorms(b.AttentionScale, b.AfterAttention, b.AfterAttentionAdd)
		}
		return c
	}
	for _, b := range []*arch.Block{b, b.First} {
		if b == nil || slices.Contains(b.Hidden, site) {
			continue
		}
		for _, n := range []*arch.Norm{b.BeforeAttention, b.AfterAttention, b.AfterAttentionAdd, b.BeforeMLP, b.AfterMLP, b.AfterMLPAdd} {
			if n != nil && n.Site == site {
				return carrier{bias: n.Bias}
			}
		}
	}
	return carrier{}
}

// lastBias returns the bias of a part, or what experts add together.
func lastBias(part arch.Linear, e *arch.Experts) string {
	if e != nil {
		return e.Bias
	}
	return part.Bias
}

// throughNorms returns what carries to the stream where a part's own bias carries to
// its output: behind a norm it is the norm's bias.
func (c carrier) throughNorms(scale float32, after, afterAdd *arch.Norm) carrier {
	if after != nil {
		c = carrier{bias: after.Bias}
	}
	switch {
	case c.scale == 0:
		c.scale = scale
	case scale != 0:
		c.scale *= scale
	}
	if afterAdd != nil {
		c = carrier{bias: afterAdd.Bias}
	}
	return c
}

// add plans to add a vector to a bias.
func (p *planned) add(to carrier, vector []float32) error {
	values := slices.Clone(vector)
	if to.heads != nil {
		var err error
		if values, err = p.through(*to.heads, vector); err != nil {
			return err
		}
	}
	if to.scale != 0 {
		for i := range values {
			values[i] /= to.scale
		}
	}
	if t, ok := p.weights.find(to.bias); ok {
		if t, err := p.weights.floats(to.bias); err != nil {
			return err
		} else if t.Len() != len(values) {
			return fmt.Errorf("tensor %q has shape %v; the vector has %d elements", t.Name, t.Shape, len(values))
		}
		p.changes[t.Name] = plus(values)
		return nil
	}
	for i := range p.added {
		if a := &p.added[i]; slices.Contains(p.decoder.Names(to.bias), a.name) && len(a.values) == len(values) {
			a.values = values
			return nil
		}
	}
	return fmt.Errorf("tensor %q is missing from the checkpoint", to.bias)
}

// through returns W·v of a part [hidden, in] and a vector [in].
func (p *planned) through(part arch.Linear, vector []float32) ([]float32, error) {
	t, err := p.weights.floats(part.Weight)
	if err != nil {
		return nil, err
	}
	in := len(vector)
	if len(t.Shape) != 2 || t.Len() != in*p.decoder.Hidden {
		return nil, fmt.Errorf("tensor %q has shape %v; %d by %d is asked for", t.Name, t.Shape, p.decoder.Hidden, in)
	}
	wide := widen(vector)
	out := make([]float64, p.decoder.Hidden)
	row := 0
	err = rows(t, t.Shape[1], func(values []float32) error {
		for stored := range slices.Chunk(values, t.Shape[1]) {
			if part.Transposed {
				floats.AddScaled(out, wide[row], widen(stored))
			} else {
				out[row] = floats.Dot(widen(stored), wide)
			}
			row++
		}
		return nil
	})
	narrow := make([]float32, len(out))
	for i, v := range out {
		narrow[i] = float32(v)
	}
	return narrow, err
}

func widen(values []float32) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

// turnOn plans zeros for every bias that a description has beyond that of the
// checkpoint.
func (p *planned) turnOn(carrying *arch.Decoder) error {
	before := map[string]bool{}
	for part := range p.decoder.Linears() {
		before[part.Bias] = true
	}
	for part := range carrying.Linears() {
		if before[part.Bias] {
			continue
		}
		before[part.Bias] = true
		shaped := part.Weight // of a tied head the embedding
		if part == &carrying.Head.Linear && carrying.Head.Tied {
			shaped = carrying.Embedding.Tokens
		}
		biases := each(part.Bias, p.experts())
		for i, weight := range each(shaped, len(biases)) {
			t, bias, err := p.weights.beside(arch.Linear{Weight: weight, Bias: biases[i]})
			if err != nil {
				return err
			}
			if len(t.Shape) != 2 {
				return fmt.Errorf("tensor %q has shape %v; a bias belongs to two dimensions", t.Name, t.Shape)
			}
			out := t.Shape[0]
			if part.Transposed {
				out = t.Shape[1]
			}
			p.added = append(p.added, added{p.weights.fileOf[t.Name], bias, t.DType, make([]float32, out)})
		}
	}
	return nil
}

// experts returns how many experts the blocks have that have some.
func (p *planned) experts() int {
	for i := range p.decoder.Blocks {
		if e := p.decoder.Blocks[i].MLP.Experts; e != nil {
			return e.Count
		}
	}
	return 0
}

// plus is what is added to a tensor of as many elements.
type plus []float32

func (v plus) apply(t safetensors.Tensor, put func(values []float32) error) error {
	values, err := t.Float32s()
	if err != nil {
		return err
	}
	for i, x := range v {
		values[i] += x
	}
	return put(values)
}
