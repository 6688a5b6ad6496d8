package steer

import (
	"context"
	"fmt"

	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm"
)

// Project returns how far the activation h of each token reaches along the
// vector's direction v at some of its layers (negative ones count from the last;
// nil: all): h·v/|v|, in the units of the activations, layer -> [prompts][tokens].
// Prompts are token ids. On a view that steers, they are the steered activations:
// with the same vector one then measures one's own edit. Errors name the prompt or
// the layer that is wrong.
func (v *Vector) Project(ctx context.Context, model *lm.Model, prompts [][]int, layers []int) (map[int][][]float64, error) {
	if layers == nil {
		layers = v.ascending()
	}
	out := map[int][][]float64{}
	forward := lm.ForwardOptions{}
	directions := map[int][]float32{} // by the layer of the model
	for _, n := range layers {
		layer, err := v.layer(n)
		if err != nil {
			return nil, fmt.Errorf("project: %w", err)
		}
		at, err := model.Layer(layer)
		if err == nil {
			err = model.CheckSite(at, v.site())
		}
		if err != nil {
			return nil, fmt.Errorf("project: %w", err)
		}
		if v.Rank > 1 {
			return nil, fmt.Errorf("project: the vector has %d rows at each layer, and not one direction", v.Rank)
		}
		if width := model.Width(at, v.site()); len(v.Layers[layer]) != width {
			return nil, fmt.Errorf("project: layer %d of the vector has %d elements, where activations have %d", layer, len(v.Layers[layer]), width)
		}
		if directions[at] != nil {
			return nil, fmt.Errorf("project: layer %d is asked for twice", at)
		}
		if directions[at] = v.Layers[layer]; linear.IsZero(directions[at]) {
			return nil, fmt.Errorf("project: the vector of layer %d is zero: it has no direction", layer)
		}
		forward.Taps = append(forward.Taps, lm.Address{Layer: at, Site: v.site()})
		out[at] = make([][]float64, len(prompts))
	}
	inputs := make([]lm.Input, len(prompts))
	for i, tokens := range prompts {
		inputs[i].Tokens = tokens
		for layer := range out {
			out[layer][i] = make([]float64, len(tokens))
		}
	}
	lengths := map[int]float64{}
	for layer, direction := range directions {
		lengths[layer] = linear.Norm(direction)
	}
	forward.Activation = func(input, position int, at lm.Address, activation []float32) {
		out[at.Layer][input][position] = linear.Dot(activation, directions[at.Layer]) / lengths[at.Layer]
	}
	if _, err := model.Forward(ctx, inputs, forward); err != nil {
		return nil, fmt.Errorf("project: %w", err)
	}
	return out, nil
}
