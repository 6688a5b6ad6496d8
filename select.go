package steer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/lm"
)

// SelectOptions say how [SelectDirection] finds a layer and a position. The zero value
// is that of refusal_direction, but for Begins, which must be given.
type SelectOptions struct {
	// Begins are the tokens one of which a response that shows the behaviour begins
	// with, such as that of "I" for refusals.
	Begins []int

	Layers     []int      // that are tried; nil: all but those of LastShare
	Positions  []int      // that are read, negative from the prompt's end; nil: where the ends of all prompts are the same, at most 8
	Aggregator Aggregator // nil: Mean()

	// Validation are the samples that candidates are tried on; nil: every fourth of
	// those that are given, which they are then not trained on.
	Validation []Sample

	MaxKL     float64 // the most that an ablation may change the first token on negative prompts, in nats; 0: 0.1
	MinInduce float64 // the least score of negative prompts to which the vector is added; 0 is as likely as not
	LastShare float64 // the share of layers, the last, that is not tried; 0: 0.2

	RunTokens int                   // tokens computed together; 0: 1024
	Progress  func(done, total int) // candidates tried; nil: none
}

// Candidate is a direction that was tried. A score is log p - log(1-p), p being the
// probability that a response begins as one that shows the behaviour, and the mean of
// that over prompts.
type Candidate struct {
	Layer    int     `json:"layer"`
	Position int     `json:"position"`
	Induce   float64 `json:"induce"`            // score of negative prompts with the vector added at its layer
	Remove   float64 `json:"remove"`            // score of positive prompts with the direction ablated everywhere
	KL       float64 `json:"kl"`                // of the first token of negative prompts, unsteered to ablated, in nats
	Dropped  string  `json:"dropped,omitempty"` // why it was not taken
}

// Selection is what [SelectDirection] has found.
type Selection struct {
	Vector             *Vector     `json:"-"` // of one layer
	Chosen             Candidate   `json:"chosen"`
	Candidates         []Candidate `json:"candidates"` // by layer and position
	Positive, Negative float64     // scores of the prompts without steering
	Usage              lm.Usage
}

// SelectDirection trains a direction for every layer and position, tries each on other
// samples, and returns that which removes the behaviour best: with the lowest score
// under ablation among those that also induce it and that change the first token of
// negative prompts little (Arditi et al. 2024, section 2.3 and appendix C;
// refusal_direction, select_direction.py). Positive prompts call for the behaviour,
// negative ones do not. It takes forward passes only. Where no candidate is left, the
// selection comes with an error and says of each why.
func SelectDirection(ctx context.Context, model *lm.Model, samples []Sample, opts SelectOptions) (*Selection, error) {
	s, err := selectDirection(ctx, model, samples, opts)
	if err != nil {
		return s, fmt.Errorf("select: %w", err)
	}
	return s, nil
}

func selectDirection(ctx context.Context, model *lm.Model, samples []Sample, opts SelectOptions) (*Selection, error) {
	opts.MaxKL, opts.LastShare = cmp.Or(opts.MaxKL, 0.1), cmp.Or(opts.LastShare, 0.2)
	if len(opts.Begins) == 0 {
		return nil, errors.New("the tokens that begin a response are not given")
	}
	for _, token := range opts.Begins {
		if token < 0 || token >= model.Decoder().Vocabulary {
			return nil, fmt.Errorf("token %d is not in the vocabulary of %d", token, model.Decoder().Vocabulary)
		}
	}
	if opts.Layers == nil {
		for _, layer := range model.LayersOf(lm.DecoderBlock) {
			if layer+1 < int(float64(model.Layers())*(1-opts.LastShare)) { // what the next block reads
				opts.Layers = append(opts.Layers, layer)
			}
		}
	}
	training, validation := samples, opts.Validation
	if validation == nil {
		training = nil
		for i, s := range samples {
			if i%4 == 3 {
				validation = append(validation, s)
			} else {
				training = append(training, s)
			}
		}
	}
	if len(training) == 0 || len(validation) == 0 {
		return nil, fmt.Errorf("%d samples to train on and %d to try candidates on", len(training), len(validation))
	}
	t, err := newTrial(ctx, model, validation, opts)
	if err != nil {
		return nil, err
	}
	if opts.Positions == nil {
		opts.Positions = t.commonEnd()
	}
	s := &Selection{Positive: t.scores[0], Negative: t.scores[1]}
	vectors := map[[2]int]*Vector{} // by layer and position
	for _, position := range opts.Positions {
		collected, err := collect(ctx, model, training, TrainOptions{Layers: opts.Layers, Read: ReadAt(position), Aggregator: opts.Aggregator, RunTokens: opts.RunTokens})
		if err != nil {
			return nil, fmt.Errorf("position %d: %w", position, err)
		}
		v, err := collected.Vector()
		if err != nil {
			return nil, fmt.Errorf("position %d: %w", position, err)
		}
		t.usage = t.usage.Add(collected.Usage)
		if v.Operator != "" || v.Rank > 1 {
			return nil, fmt.Errorf("aggregator %s gives no direction to add and to ablate", v.Provenance.Aggregator)
		}
		for _, layer := range v.ascending() {
			vectors[[2]int{layer, position}] = v
			s.Candidates = append(s.Candidates, Candidate{Layer: layer, Position: position})
		}
	}
	slices.SortFunc(s.Candidates, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Position, b.Position))
	})
	defer func() { s.Usage = t.usage }()
	best := -1
	for i := range s.Candidates {
		c := &s.Candidates[i]
		if err := t.try(ctx, c, vectors[[2]int{c.Layer, c.Position}].Layers[c.Layer]); err != nil {
			return nil, fmt.Errorf("layer %d, position %d: %w", c.Layer, c.Position, err)
		}
		switch {
		case !finite.Is(c.Induce) || !finite.Is(c.Remove) || !finite.Is(c.KL):
			c.Dropped = "not finite"
		case c.KL > opts.MaxKL:
			c.Dropped = fmt.Sprintf("ablated, it changes other prompts by %.2g nats", c.KL)
		case c.Induce < opts.MinInduce:
			c.Dropped = "added, it does not induce the behaviour"
		case best < 0 || c.Remove < s.Candidates[best].Remove:
			best = i
		}
		if opts.Progress != nil {
			opts.Progress(i+1, len(s.Candidates))
		}
	}
	if best < 0 {
		return s, fmt.Errorf("none of %d candidates induces the behaviour and leaves other prompts alone", len(s.Candidates))
	}
	s.Chosen = s.Candidates[best]
	s.Vector, err = vectors[[2]int{s.Chosen.Layer, s.Chosen.Position}].Cut(s.Chosen.Layer)
	return s, err
}

// trial is what candidates are tried with.
type trial struct {
	model  *lm.Model
	opts   SelectOptions
	inputs [2][]lm.Input // positive and negative prompts, read at their last token
	plain  [][]float64   // log-probabilities of each negative prompt's first token, unsteered
	scores [2]float64    // unsteered
	usage  lm.Usage
}

func newTrial(ctx context.Context, model *lm.Model, samples []Sample, opts SelectOptions) (*trial, error) {
	e, err := prepare(ctx, model, samples, ExtractOptions{Read: ReadAt(-1)})
	if err != nil {
		return nil, err
	}
	t := &trial{model: model, opts: opts}
	for i, in := range e.inputs {
		in.Read, in.Mean = []int{len(in.Tokens) - 1}, lm.Span{}
		t.inputs[i%2] = append(t.inputs[i%2], in)
	}
	t.plain = make([][]float64, len(t.inputs[1]))
	for side := range t.inputs {
		t.scores[side], err = t.score(ctx, model, side, func(input int, logProbabilities []float64) {
			if side == 1 {
				t.plain[input] = slices.Clone(logProbabilities)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// score returns the mean score of one side's prompts on a view of the model, and shows
// the log-probabilities of each one's first token, which are valid during the call.
func (t *trial) score(ctx context.Context, view *lm.Model, side int, show func(input int, logProbabilities []float64)) (float64, error) {
	scores := make([]float64, len(t.inputs[side])) // summed in their order
	row := make([]float64, t.model.Decoder().Vocabulary)
	usage, err := view.Forward(ctx, t.inputs[side], lm.ForwardOptions{RunTokens: t.opts.RunTokens, Logits: func(input, _ int, logits []float32) {
		logSoftmax(row, logits)
		p := 0.0
		for _, token := range t.opts.Begins {
			p += math.Exp(row[token])
		}
		const least = 1e-8 // as refusal_direction has it
		scores[input] = math.Log(p+least) - math.Log(max(0, 1-p)+least)
		show(input, row)
	}})
	t.usage = t.usage.Add(usage)
	return meanOfScores(scores), err
}

func meanOfScores(scores []float64) float64 {
	sum := 0.0
	for _, s := range scores {
		sum += s
	}
	return sum / float64(len(scores))
}

// logSoftmax writes the log-probabilities of logits.
func logSoftmax(out []float64, logits []float32) {
	largest := float64(slices.Max(logits))
	sum := 0.0
	for _, x := range logits {
		sum += math.Exp(float64(x) - largest)
	}
	norm := largest + math.Log(sum)
	for i, x := range logits {
		out[i] = float64(x) - norm
	}
}

// try measures a candidate.
func (t *trial) try(ctx context.Context, c *Candidate, direction []float32) error {
	adding, err := t.model.With(lm.Edit{Layers: map[int][]float32{c.Layer: direction}, Operator: Add()})
	if err != nil {
		return err
	}
	ablating, err := t.model.With(t.everywhere(direction)...)
	if err != nil {
		return err
	}
	nothing := func(int, []float64) {}
	if c.Induce, err = t.score(ctx, adding, 1, nothing); err != nil {
		return err
	}
	if c.Remove, err = t.score(ctx, ablating, 0, nothing); err != nil {
		return err
	}
	divergences := make([]float64, len(t.plain))
	_, err = t.score(ctx, ablating, 1, func(input int, ablated []float64) {
		for i, plain := range t.plain[input] {
			divergences[input] += math.Exp(plain) * (plain - ablated[i])
		}
	})
	c.KL = meanOfScores(divergences)
	return err
}

// everywhere ablates a direction in what each block writes and leaves.
func (t *trial) everywhere(direction []float32) (edits []lm.Edit) {
	for _, site := range []lm.Site{lm.SelfAttn, lm.MLP, lm.DecoderBlock} {
		layers := map[int][]float32{}
		for _, layer := range t.model.LayersOf(site) {
			layers[layer] = direction
		}
		edits = append(edits, lm.Edit{Site: site, Layers: layers, Operator: Ablate()})
	}
	return edits
}

// commonEnd returns the last positions at which all prompts have the same tokens: those
// of a chat template behind the user's message. Where there are none it is the last.
func (t *trial) commonEnd() []int {
	const most = 8
	all := slices.Concat(t.inputs[0], t.inputs[1])
	n := most
	for _, in := range all {
		end, same := in.Tokens, 0
		for same < min(n, len(end), len(all[0].Tokens)) && end[len(end)-1-same] == all[0].Tokens[len(all[0].Tokens)-1-same] {
			same++
		}
		n = same
	}
	var positions []int
	for p := -max(n, 1); p < 0; p++ {
		positions = append(positions, p)
	}
	return positions
}
