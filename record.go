package steer

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/steervec/steer/lm"
)

// RecordOptions say what of a prompt is recorded. The zero value records every
// layer's decoder_block.
type RecordOptions struct {
	Site   lm.Site // "": decoder_block
	Layers []int   // negative ones count from the last; nil: all that have the site
	Logits bool
}

// Recording is what a model shows while it reads a prompt.
type Recording struct {
	Site   lm.Site
	Layers map[int][][]float32 // layer -> [tokens][width]
	Logits [][]float32         // [tokens][vocabulary]; nil where they were not asked for
}

// Record computes one prompt, given as token ids, and returns the activations
// of every token; for a steered view of a model, as the steered model has them.
func Record(ctx context.Context, model *lm.Model, tokens []int, opts RecordOptions) (*Recording, error) {
	site := cmp.Or(opts.Site, lm.DecoderBlock)
	layers, err := layersOf(model, site, opts.Layers)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	r := &Recording{Site: site, Layers: map[int][][]float32{}}
	forward := lm.ForwardOptions{Activation: func(_, position int, at lm.Address, activation []float32) {
		r.Layers[at.Layer][position] = slices.Clone(activation)
	}}
	for _, layer := range layers {
		r.Layers[layer] = make([][]float32, len(tokens))
		forward.Taps = append(forward.Taps, lm.Address{Layer: layer, Site: site})
	}
	if opts.Logits {
		r.Logits = make([][]float32, len(tokens))
		forward.Logits = func(_, position int, logits []float32) { r.Logits[position] = slices.Clone(logits) }
	}
	if _, err := model.Forward(ctx, []lm.Input{{Tokens: tokens}}, forward); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return r, nil
}
