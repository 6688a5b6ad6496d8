package steer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/modules"
)

// ExtractOptions say which activations of the samples are read. The zero value
// reads the last token of each prompt at every layer's decoder_block.
type ExtractOptions struct {
	LayerType   lm.Site        // "": decoder_block
	LayerConfig modules.Config // finds the layer type by module path where it has an entry; nil: the model's own answer
	Layers      []int          // negative ones count from the last; nil: all that have the layer type

	// ReadToken is the position that is read, negative ones counted from the
	// prompt's end; nil: -1. ReadTokenOf, where it is given, chooses per prompt text
	// instead. A sample's own positions go before both.
	ReadToken   *int
	ReadTokenOf func(prompt string) int

	// MaxTokens is how many tokens are computed together. It bounds memory and
	// never changes results; 0: 1024.
	MaxTokens int

	Progress func(done, total int) // tokens computed; nil: none
	Usage    *lm.Usage             // filled with the counts of tokens; nil: not
}

// Activations are what a model shows at the read token of each sample.
type Activations struct {
	LayerType          lm.Site
	Positive, Negative map[int][][]float32 // layer -> [samples][width]
	Provenance         Provenance
}

// SampleActivations are the activations of one sample.
type SampleActivations struct {
	Sample             int
	Positive, Negative map[int][]float32 // layer -> [width]
}

// Extract computes all prompts as one prefix forest and returns the activations
// at their read tokens, in the samples' order. Errors name the sample and the
// value that is wrong.
func Extract(ctx context.Context, model *lm.Model, samples []Sample, opts ExtractOptions) (*Activations, error) {
	e, err := prepare(model, samples, opts)
	if err != nil {
		return nil, err
	}
	out := &Activations{e.site, map[int][][]float32{}, map[int][][]float32{}, e.provenance()}
	for _, layer := range e.layers {
		out.Positive[layer] = make([][]float32, len(samples))
		out.Negative[layer] = make([][]float32, len(samples))
	}
	err = e.run(ctx, nil, func(a SampleActivations) error {
		a = a.clone()
		for _, layer := range e.layers {
			out.Positive[layer][a.Sample] = a.Positive[layer]
			out.Negative[layer][a.Sample] = a.Negative[layer]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ExtractEach is Extract as an iterator: samples come as they are completed, in
// an order that depends on the prompts alone. An error is the last that comes.
func ExtractEach(ctx context.Context, model *lm.Model, samples []Sample, opts ExtractOptions) iter.Seq2[SampleActivations, error] {
	return func(yield func(SampleActivations, error) bool) {
		stopped := errors.New("stopped")
		e, err := prepare(model, samples, opts)
		if err == nil {
			err = e.run(ctx, nil, func(a SampleActivations) error {
				if !yield(a.clone(), nil) {
					return stopped
				}
				return nil
			})
		}
		if err != nil && err != stopped {
			yield(SampleActivations{}, err)
		}
	}
}

// extraction is a checked request.
type extraction struct {
	model   *lm.Model
	samples []Sample
	opts    ExtractOptions
	site    lm.Site
	layers  []int      // ascending
	inputs  []lm.Input // sample i: positive at 2i, negative at 2i+1
}

func prepare(model *lm.Model, samples []Sample, opts ExtractOptions) (*extraction, error) {
	if len(samples) == 0 {
		return nil, errors.New("there are no samples")
	}
	e := &extraction{model: model, samples: samples, opts: opts}
	var err error
	if e.site, err = SiteOf(model, opts.LayerType, opts.LayerConfig); err != nil {
		return nil, err
	}
	if e.layers, err = layersOf(model, e.site, opts.Layers); err != nil {
		return nil, err
	}
	e.inputs = make([]lm.Input, 0, 2*len(samples))
	positions := make([]int, 0, 2*len(samples)) // one allocation for all that is read
	for i, s := range samples {
		for _, side := range []struct {
			name, text string
			ids        []int
			read       *int
		}{{"positive", s.Positive, s.PositiveIDs, s.ReadPositive}, {"negative", s.Negative, s.NegativeIDs, s.ReadNegative}} {
			fail := func(err error) (*extraction, error) {
				return nil, fmt.Errorf("sample %d, %s prompt: %w", i, side.name, err)
			}
			tokens := side.ids
			if tokens == nil {
				if side.text == "" {
					return fail(errors.New("it is empty"))
				}
				if tokens, err = model.Tokenize(side.text); err != nil {
					return fail(err)
				}
			}
			position, err := e.readPosition(side.text, side.read, len(tokens))
			if err != nil {
				return fail(err)
			}
			positions = append(positions, position)
			e.inputs = append(e.inputs, lm.Input{Tokens: tokens, Read: positions[len(positions)-1 : len(positions) : len(positions)]})
		}
	}
	return e, nil
}

// readPosition resolves the position that is read of a prompt.
func (e *extraction) readPosition(text string, own *int, tokens int) (int, error) {
	position := -1
	switch {
	case own != nil:
		position = *own
	case e.opts.ReadTokenOf != nil:
		position = e.opts.ReadTokenOf(text)
	case e.opts.ReadToken != nil:
		position = *e.opts.ReadToken
	}
	if position < -tokens || position >= tokens {
		return 0, fmt.Errorf("read token %d is outside its %d tokens", position, tokens)
	}
	if position < 0 {
		position += tokens
	}
	return position, nil
}

// SiteOf says which site of the model a layer type is: the one of that name, or
// the one whose module the config's matcher finds.
func SiteOf(model *lm.Model, layerType lm.Site, config modules.Config) (lm.Site, error) {
	if layerType == "" {
		layerType = lm.DecoderBlock
	}
	matcher, ok := config[layerType]
	if !ok {
		return layerType, nil
	}
	sites := model.Modules()
	paths, err := modules.Collect(slices.Collect(maps.Keys(sites)), matcher)
	if err != nil {
		return "", err
	}
	if len(paths) == 0 {
		return "", fmt.Errorf("the matcher for layer type %q finds no module of model %s", layerType, model.ID())
	}
	return sites[paths[0]].Site, nil
}

// layersOf resolves the layers that are asked for, all that show the site for
// nil, in ascending order.
func layersOf(model *lm.Model, site lm.Site, asked []int) ([]int, error) {
	if asked == nil {
		var all []int
		for layer := range model.Layers() {
			if model.CheckSite(layer, site) == nil {
				all = append(all, layer)
			}
		}
		if len(all) == 0 {
			return nil, model.CheckSite(0, site)
		}
		return all, nil
	}
	if len(asked) == 0 {
		return nil, errors.New("the list of layers is empty")
	}
	var layers []int
	for _, n := range asked {
		layer, err := model.Layer(n)
		if err != nil {
			return nil, err
		}
		if err := model.CheckSite(layer, site); err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	slices.Sort(layers)
	return slices.Compact(layers), nil
}

// run computes the samples that are not done (nil: none is) and visits each when both of
// its prompts are computed, in the forest's order. What the visit is given is
// valid during the call only.
func (e *extraction) run(ctx context.Context, done []bool, visit func(SampleActivations) error) error {
	inputs, sides := e.inputs[:0:0], make([]int, 0, len(e.inputs)) // side: 2*sample, or 2*sample+1 for the negative one
	for side := range e.inputs {
		if done == nil || !done[side/2] {
			sides = append(sides, side)
		}
	}
	if len(sides) == len(e.inputs) {
		inputs = e.inputs
	} else {
		for _, side := range sides {
			inputs = append(inputs, e.inputs[side])
		}
	}
	var taps []lm.Address
	start := map[int]int{} // of each layer's activation in a prompt's
	values := 0
	for _, layer := range e.layers {
		taps = append(taps, lm.Address{Layer: layer, Site: e.site})
		start[layer] = values
		values += e.model.Decoder().Width(layer, e.site)
	}
	held := newHeld(values)
	defer held.close()
	complete := map[int]bool{}
	sample := SampleActivations{Positive: map[int][]float32{}, Negative: map[int][]float32{}}
	usage, err := e.model.Forward(ctx, inputs, lm.ForwardOptions{
		Taps: taps, RunTokens: e.opts.MaxTokens, Progress: e.opts.Progress,
		Activation: func(input, _ int, tap lm.Address, activation []float32) {
			copy(held.open(sides[input])[start[tap.Layer]:], activation)
		},
		Completed: func(input int) error {
			side := sides[input]
			if !complete[side^1] {
				complete[side] = true
				return held.put(side)
			}
			delete(complete, side^1)
			sample.Sample = side / 2
			for _, part := range []struct {
				side   int
				layers map[int][]float32
			}{{side &^ 1, sample.Positive}, {side | 1, sample.Negative}} {
				values, err := held.take(part.side)
				if err != nil {
					return err
				}
				defer held.forget(part.side)
				for _, layer := range e.layers {
					part.layers[layer] = values[start[layer]:][:e.model.Decoder().Width(layer, e.site)]
				}
			}
			return visit(sample)
		},
	})
	if e.opts.Usage != nil {
		*e.opts.Usage = usage
	}
	return err
}

// clone returns activations that stay valid.
func (a SampleActivations) clone() SampleActivations {
	for _, side := range []*map[int][]float32{&a.Positive, &a.Negative} {
		copied := make(map[int][]float32, len(*side))
		for layer, activation := range *side {
			copied[layer] = slices.Clone(activation)
		}
		*side = copied
	}
	return a
}
