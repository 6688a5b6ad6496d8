package steer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm"
)

// ConditionOptions say how a condition is trained; the zero value is what most
// want.
type ConditionOptions struct {
	Layers    []int      // among which to choose; nil: all that show the site
	Site      lm.Site    // "": decoder_block
	Measure   lm.Measure // "": CAST
	Read      lm.When    // PromptMean or PromptLast; "": PromptMean
	Seed      uint64     // chooses the halves
	RunTokens int        // tokens computed together; changes memory and speed, never results; 0: 1024
	Progress  func(done, total int)
}

// ConditionReport says what was found and how well it does.
type ConditionReport struct {
	Layer   int      `json:"layer"`
	Above   *float64 `json:"above,omitempty"`
	Below   *float64 `json:"below,omitempty"`
	Chosen  Accuracy `json:"chosen"`   // on the half on which layer, threshold and comparison were chosen
	HeldOut Accuracy `json:"held_out"` // on the other half
	lm.Usage
}

// Accuracy counts how often a condition does what labels say.
type Accuracy struct {
	Positive  int     `json:"positive"` // prompts on which it should hold
	Negative  int     `json:"negative"` // on which it should not
	Hits      int     `json:"hits"`     // positive ones on which it does
	False     int     `json:"false"`    // negative ones on which it does
	F1        float64 `json:"f1"`       // 2·hits/(positive + hits + false)
	FalseFire float64 `json:"false_fire_rate"`
	Miss      float64 `json:"miss_rate"`
}

func accuracy(positive, negative, hits, false int) Accuracy {
	a := Accuracy{Positive: positive, Negative: negative, Hits: hits, False: false}
	a.F1 = 2 * float64(hits) / float64(positive+hits+false)
	a.FalseFire = float64(false) / float64(negative)
	a.Miss = float64(positive-hits) / float64(positive)
	return a
}

// TrainCondition finds a condition that holds on the positive prompts, given as
// tokens, and not on the negative ones. Of one half of each, drawn by the seed, it takes the mean
// difference of their activations as the condition vector of each layer, and
// chooses the layer, the threshold and the comparison of the best F1; of equal ones
// that with the widest gap around the threshold, in standard deviations, and then
// the lowest layer. The other half says how well that does.
//
// The vector has the chosen layer and the condition: `--when FILE`, a [When] that
// names it, or the vector itself, which then acts where its own condition holds.
// Errors about a prompt are [lm.InputError] values; the negative ones come after
// the positive ones.
func TrainCondition(ctx context.Context, model *lm.Model, positive, negative [][]int, opts ConditionOptions) (*Vector, *ConditionReport, error) {
	t := &conditionTraining{ctx: ctx, model: model, opts: opts, prompts: slices.Concat(positive, negative), positive: len(positive)}
	v, report, err := t.run()
	if err != nil {
		return nil, nil, fmt.Errorf("train condition: %w", err)
	}
	return v, report, nil
}

type conditionTraining struct {
	ctx      context.Context
	model    *lm.Model
	opts     ConditionOptions
	prompts  [][]int // the positive ones come first
	positive int
	chosen   []bool // [prompts] of the half on which is chosen
	report   ConditionReport
}

func (t *conditionTraining) run() (*Vector, *ConditionReport, error) {
	if err := t.prepare(); err != nil {
		return nil, nil, err
	}
	vectors, err := t.directions()
	if err != nil {
		return nil, nil, err
	}
	measures, err := t.measure(vectors)
	if err != nil {
		return nil, nil, err
	}
	best := t.choose(measures)
	if best == nil {
		return nil, nil, errors.New("no layer tells the prompts apart: their activations have the same measure")
	}
	r := &t.report
	r.Layer = best.layer
	when := &When{Layer: &best.layer, Measure: t.opts.Measure, Read: t.opts.Read, Above: &best.threshold}
	if best.below {
		when.Above, when.Below = nil, when.Above
	}
	r.Above, r.Below = when.Above, when.Below
	r.Chosen, r.HeldOut = best.on(t, measures[best.layer], true), best.on(t, measures[best.layer], false)
	return &Vector{
		Site: t.opts.Site, Layers: map[int][]float32{best.layer: vectors[best.layer]}, Condition: when,
		Provenance: Provenance{
			Model: t.model.ID(), Family: t.model.Decoder().Family, ModelLayers: t.model.Layers(), WeightsHash: t.model.Fingerprint(),
			Steering: t.model.SteeringID(), Aggregator: Mean().Name(), Version: Version(),
		},
	}, r, nil
}

// prepare checks the options and draws the halves.
func (t *conditionTraining) prepare() error {
	o := &t.opts
	o.Site, o.Measure, o.Read = cmp.Or(o.Site, lm.DecoderBlock), cmp.Or(o.Measure, lm.CAST), cmp.Or(o.Read, lm.PromptMean)
	if o.Read != lm.PromptMean && o.Read != lm.PromptLast {
		return fmt.Errorf("labelled prompts say nothing of what is read %q; it can be %s or %s", o.Read, lm.PromptMean, lm.PromptLast)
	}
	if n := len(t.prompts) - t.positive; t.positive < 2 || n < 2 {
		return fmt.Errorf("there are %d positive and %d negative prompts; it takes two of each, one to choose by and one to hold out", t.positive, n)
	}
	if o.Layers == nil {
		o.Layers = t.model.LayersOf(o.Site)
	}
	layers := make([]int, len(o.Layers))
	for i, n := range o.Layers {
		layer, err := t.model.Layer(n)
		if err == nil {
			err = t.model.CheckSite(layer, o.Site)
		}
		if err != nil {
			return err
		}
		layers[i] = layer
	}
	slices.Sort(layers)
	if o.Layers = slices.Compact(layers); len(layers) == 0 {
		return errors.New("there are no layers to choose from")
	}
	t.chosen = make([]bool, len(t.prompts))
	r := rand.New(rand.NewPCG(o.Seed, 0xc0d))
	for _, side := range []lm.Span{{From: 0, To: t.positive}, {From: t.positive, To: len(t.prompts)}} {
		n := side.To - side.From
		for _, i := range r.Perm(n)[:n/2] {
			t.chosen[side.From+i] = true
		}
	}
	return nil
}

// read calls f with the activations of some prompts at every layer.
func (t *conditionTraining) read(some func(input int) bool, f func(input, layer int, activation []float32)) error {
	var inputs []lm.Input
	var numbers []int
	for i, tokens := range t.prompts {
		if !some(i) {
			continue
		}
		in := lm.Input{Tokens: tokens, Mean: lm.Span{From: 0, To: len(tokens)}}
		if t.opts.Read == lm.PromptLast {
			in.Mean, in.Read = lm.Span{}, []int{len(tokens) - 1}
		}
		inputs, numbers = append(inputs, in), append(numbers, i)
	}
	forward := lm.ForwardOptions{RunTokens: t.opts.RunTokens, Progress: t.opts.Progress}
	for _, layer := range t.opts.Layers {
		forward.Taps = append(forward.Taps, lm.Address{Layer: layer, Site: t.opts.Site})
	}
	forward.Activation = func(input, _ int, at lm.Address, activation []float32) { f(numbers[input], at.Layer, activation) }
	usage, err := t.model.Forward(t.ctx, inputs, forward)
	t.report.Usage = t.report.Usage.Add(usage)
	if wrong := (*lm.InputError)(nil); errors.As(err, &wrong) {
		return &lm.InputError{Input: numbers[wrong.Input], Err: wrong.Err}
	}
	return err
}

// directions returns the mean difference of the half on which is chosen, by layer.
func (t *conditionTraining) directions() (map[int][]float32, error) {
	sums := map[int]*[2][]float64{}
	for _, layer := range t.opts.Layers {
		width := t.model.Width(layer, t.opts.Site)
		sums[layer] = &[2][]float64{make([]float64, width), make([]float64, width)}
	}
	count := [2]int{}
	for i, chosen := range t.chosen {
		if chosen {
			count[t.side(i)]++
		}
	}
	err := t.read(func(i int) bool { return t.chosen[i] }, func(input, layer int, activation []float32) {
		sum := sums[layer][t.side(input)]
		for i, x := range activation {
			sum[i] += float64(x)
		}
	})
	if err != nil {
		return nil, err
	}
	vectors := map[int][]float32{}
	for layer, sum := range sums {
		vector := make([]float32, len(sum[0]))
		for i := range vector {
			vector[i] = float32(sum[0][i]/float64(count[0]) - sum[1][i]/float64(count[1]))
		}
		if !linear.IsZero(vector) {
			vectors[layer] = vector
		}
	}
	return vectors, nil
}

// side is 0 for positive prompts and 1 for negative ones.
func (t *conditionTraining) side(input int) int {
	if input < t.positive {
		return 0
	}
	return 1
}

// measure returns what is measured of every prompt, by layer.
func (t *conditionTraining) measure(vectors map[int][]float32) (map[int][]float64, error) {
	measures, probes := map[int][]float64{}, map[int]func([]float32) float64{}
	for layer, vector := range vectors {
		probe, err := t.opts.Measure.With(vector, len(vector))
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", layer, err)
		}
		measures[layer], probes[layer] = make([]float64, len(t.prompts)), probe
	}
	err := t.read(func(int) bool { return true }, func(input, layer int, activation []float32) {
		if probe := probes[layer]; probe != nil {
			measures[layer][input] = probe(activation)
		}
	})
	return measures, err
}

// cut is a threshold at a layer.
type cut struct {
	layer     int
	threshold float64
	below     bool
	f1, gap   float64
}

// on says how well a cut does on one of the halves.
func (c *cut) on(t *conditionTraining, measures []float64, chosen bool) Accuracy {
	var count, fired [2]int
	for i, x := range measures {
		if t.chosen[i] != chosen {
			continue
		}
		count[t.side(i)]++
		if x > c.threshold && !c.below || x < c.threshold && c.below {
			fired[t.side(i)]++
		}
	}
	return accuracy(count[0], count[1], fired[0], fired[1])
}

// choose returns the best cut of the half on which is chosen; nil: there is none.
func (t *conditionTraining) choose(measures map[int][]float64) (best *cut) {
	for _, layer := range t.opts.Layers {
		var order []int
		sum, square := 0.0, 0.0
		for i, x := range measures[layer] {
			if t.chosen[i] {
				order = append(order, i)
				sum, square = sum+x, square+x*x
			}
		}
		n := float64(len(order))
		spread := math.Sqrt(max(square/n-sum/n*sum/n, 0))
		at := func(k int) float64 { return measures[layer][order[k]] }
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(measures[layer][a], measures[layer][b]) })
		var all, under [2]int // prompts, and those before the cut
		for _, i := range order {
			all[t.side(i)]++
		}
		for k := 1; k < len(order); k++ {
			under[t.side(order[k-1])]++
			gap := at(k) - at(k-1)
			threshold := at(k-1) + gap/2
			if !(at(k-1) < threshold && threshold < at(k)) {
				continue
			}
			for _, c := range []cut{
				{layer, threshold, false, accuracy(all[0], all[1], all[0]-under[0], all[1]-under[1]).F1, gap / spread},
				{layer, threshold, true, accuracy(all[0], all[1], under[0], under[1]).F1, gap / spread},
			} {
				if best == nil || c.f1 > best.f1 || c.f1 == best.f1 && c.gap > best.gap {
					best = &c
				}
			}
		}
	}
	return best
}
