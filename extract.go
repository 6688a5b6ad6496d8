package steer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/tokenizer"
)

// ExtractOptions say which activations of the samples are read. The zero value
// reads the last token of each prompt at every layer's decoder_block.
type ExtractOptions struct {
	Site   lm.Site // "": decoder_block
	Layers []int   // negative ones count from the last; nil: all that have the site
	Read   Reading // of samples that do not say themselves; nil: ReadAt(-1)
	Shard  Shard   // the part of the samples that is extracted

	RunTokens int                   // tokens computed together: bounds memory, never changes results; 0: 1024
	Progress  func(done, total int) // tokens computed; nil: none

	unpaired bool // samples may have one prompt
}

// Activations are what a model shows of each sample where it is read.
type Activations struct {
	Site               lm.Site
	Positive, Negative map[int][][]float32 // layer -> [samples][width]
	Provenance         Provenance
	Instructions       string   // instruction set that computed them
	Usage              lm.Usage // of the extraction; not kept in files

	shards  Shards
	members []int // of shards: the numbers of the samples, ascending
}

// sampleActivations are the activations of one sample.
type sampleActivations struct {
	sample             int
	positive, negative map[int][]float32 // layer -> [width]; nil where the sample has no such prompt
}

// Extract computes all prompts as one prefix forest and returns the activations
// where they are read, in the samples' order; of a shard, those of its samples. Errors name the sample and the
// value that is wrong.
func Extract(ctx context.Context, model *lm.Model, samples []Sample, opts ExtractOptions) (*Activations, error) {
	e, err := prepare(ctx, model, samples, opts)
	if err != nil {
		return nil, err
	}
	out := &Activations{
		shards: opts.Shard.Alone(e.whole), members: e.members, Site: e.site, Positive: map[int][][]float32{}, Negative: map[int][][]float32{},
		Provenance: e.provenance(hashSamples(e.ids())), Instructions: model.Description().Instructions,
	}
	for _, layer := range e.layers {
		out.Positive[layer] = make([][]float32, len(e.samples))
		out.Negative[layer] = make([][]float32, len(e.samples))
	}
	out.Usage, err = e.run(ctx, nil, func(a sampleActivations) error {
		for _, layer := range e.layers {
			out.Positive[layer][a.sample] = slices.Clone(a.positive[layer])
			out.Negative[layer][a.sample] = slices.Clone(a.negative[layer])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// extraction is a checked request.
type extraction struct {
	model   *lm.Model
	samples []Sample
	opts    ExtractOptions
	site    lm.Site
	layers  []int      // ascending
	inputs  []lm.Input // sample i: positive at 2i, negative at 2i+1; no tokens where there is no prompt
	members []int      // of a shard: which of the samples given are its, ascending
	whole   string     // of a shard: the digest of the samples given
}

func prepare(ctx context.Context, model *lm.Model, samples []Sample, opts ExtractOptions) (*extraction, error) {
	if len(samples) == 0 {
		return nil, errors.New("there are no samples")
	}
	if opts.Read == nil {
		opts.Read = ReadAt(-1)
	}
	e := &extraction{model: model, samples: samples, opts: opts, site: cmp.Or(opts.Site, lm.DecoderBlock)}
	var err error
	if e.layers, err = layersOf(model, e.site, opts.Layers); err != nil {
		return nil, err
	}
	e.inputs = make([]lm.Input, 0, 2*len(samples))
	positions := make([]int, 0, 2*len(samples)) // one allocation for all that is read
	steered := model.SteeringID() != ""
	for i := range samples {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s := &samples[i]
		for _, side := range []struct {
			name, text string
			ids        []int
			response   int
			read       Reading
		}{
			{"positive", s.Positive, s.PositiveIDs, s.PositiveResponse, s.ReadPositive},
			{"negative", s.Negative, s.NegativeIDs, s.NegativeResponse, s.ReadNegative},
		} {
			if opts.unpaired && s.lacks(side.name) {
				e.inputs = append(e.inputs, lm.Input{})
				continue
			}
			p := prompt{text: side.text, tokens: side.ids, given: side.ids != nil, response: side.response, encode: e.encode}
			span, err := p.locate(cmp.Or(side.read, opts.Read))
			if err != nil {
				return nil, &SampleError{i, side.name, err}
			}
			in := lm.Input{Tokens: p.tokens, Mean: span}
			if steered && p.response != 0 { // selections of a view mean the sample's own parts
				if in.Prompt, err = p.responseToken(); err != nil {
					return nil, &SampleError{i, side.name, err}
				}
			}
			if span.To-span.From == 1 {
				positions = append(positions, span.From)
				in.Mean, in.Read = lm.Span{}, positions[len(positions)-1:len(positions):len(positions)]
			}
			e.inputs = append(e.inputs, in)
		}
	}
	if opts.Shard != (Shard{}) {
		return e, e.keep(opts.Shard)
	}
	return e, nil
}

// keep leaves of the samples those of a shard.
func (e *extraction) keep(shard Shard) error {
	units := make([][][]int, len(e.samples))
	for i := range units {
		units[i] = [][]int{e.inputs[2*i].Tokens, e.inputs[2*i+1].Tokens}
	}
	members, err := shard.Members(units)
	if err != nil {
		return fmt.Errorf("samples: %w", err)
	}
	e.whole = hashSamples(e.ids())
	var samples []Sample
	var inputs []lm.Input
	for _, i := range members {
		samples, inputs = append(samples, e.samples[i]), append(inputs, e.inputs[2*i], e.inputs[2*i+1])
	}
	e.samples, e.inputs, e.members = samples, inputs, members
	return nil
}

// encode tokenizes a text with the places of its tokens in it.
func (e *extraction) encode(text string) (tokenizer.Encoding, error) {
	t, err := e.model.Tokenizer()
	if err != nil {
		return tokenizer.Encoding{}, err
	}
	return t.Encode(text, tokenizer.EncodeOptions{})
}

// there reports whether a sample has the prompt of a side: 2*sample, or 2*sample+1 for
// the negative one.
func (e *extraction) there(side int) bool { return len(e.inputs[side].Tokens) > 0 }

// spanOf returns the positions that are read of an input.
func spanOf(in lm.Input) lm.Span {
	if len(in.Read) == 1 {
		return lm.Span{From: in.Read[0], To: in.Read[0] + 1}
	}
	return in.Mean
}

// ids returns what tells the samples apart.
func (e *extraction) ids() []sampleID {
	ids := make([]sampleID, len(e.samples))
	for i := range ids {
		ids[i] = identify(&e.samples[i], e.inputs[2*i], e.inputs[2*i+1])
	}
	return ids
}

// provenance says where an extraction's activations come from.
func (e *extraction) provenance(pairsHash string) Provenance {
	return Provenance{
		Model: e.model.ID(), Family: e.model.Decoder().Family, ModelLayers: e.model.Layers(), WeightsHash: e.model.Fingerprint(),
		DType:    e.model.Description().DType,
		Steering: e.model.SteeringID(), PairsHash: pairsHash, Read: e.opts.Read.String(), Version: Version(),
	}
}

// layersOf resolves the layers that are asked for, all that have the site for
// nil, in ascending order.
func layersOf(model *lm.Model, site lm.Site, asked []int) ([]int, error) {
	if asked == nil {
		all := model.LayersOf(site)
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

// run computes the samples that are not done (nil: none is) and visits each when
// both of its prompts are computed, in the forest's order. What the visit is given
// is valid during the call only.
func (e *extraction) run(ctx context.Context, done []bool, visit func(sampleActivations) error) (lm.Usage, error) {
	inputs, sides := e.inputs[:0:0], make([]int, 0, len(e.inputs)) // side: 2*sample, or 2*sample+1 for the negative one
	for side := range e.inputs {
		if e.there(side) && (done == nil || !done[side/2]) {
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
	if len(sides) == 0 {
		return lm.Usage{}, nil
	}
	var taps []lm.Address
	start := map[int]int{} // of each layer's activation in a prompt's
	values := 0
	for _, layer := range e.layers {
		taps = append(taps, lm.Address{Layer: layer, Site: e.site})
		start[layer] = values
		values += e.model.Width(layer, e.site)
	}
	waiting := newPending(values)
	defer waiting.close()
	complete := map[int]bool{}
	positive, negative := map[int][]float32{}, map[int][]float32{}
	usage, err := e.model.Forward(ctx, inputs, lm.ForwardOptions{
		Taps: taps, RunTokens: e.opts.RunTokens, Progress: e.opts.Progress,
		Activation: func(input, _ int, at lm.Address, activation []float32) {
			copy(waiting.open(sides[input])[start[at.Layer]:], activation)
		},
		Completed: func(input int) error {
			side := sides[input]
			if alone := !e.there(side ^ 1); !alone && !complete[side^1] {
				complete[side] = true
				return waiting.put(side)
			}
			delete(complete, side^1)
			sample := sampleActivations{sample: side / 2}
			for _, part := range []struct {
				side   int
				layers map[int][]float32
				to     *map[int][]float32
			}{{side &^ 1, positive, &sample.positive}, {side | 1, negative, &sample.negative}} {
				if !e.there(part.side) {
					continue
				}
				values, err := waiting.take(part.side)
				if err != nil {
					return err
				}
				defer waiting.forget(part.side)
				for _, layer := range e.layers {
					part.layers[layer] = values[start[layer]:][:e.model.Width(layer, e.site)]
				}
				*part.to = part.layers
			}
			return visit(sample)
		},
	})
	if wrong := (*lm.InputError)(nil); errors.As(err, &wrong) {
		side := sides[wrong.Input]
		given := side / 2
		if e.members != nil {
			given = e.members[given]
		}
		err = &SampleError{given, [2]string{"positive", "negative"}[side%2], wrong.Err}
	}
	return usage, err
}
