// Package doctor examines vector files: what a file is, who wrote it, where each of
// its directions acts here and elsewhere, and what is wrong with it.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/vecfile"
)

// Report is what is to be known of a file.
type Report struct {
	File       string         `json:"file"`
	Format     vecfile.Format `json:"format"`
	Producer   string         `json:"producer"`             // "": not certain, see Candidates
	Certain    bool           `json:"certain"`              // the file tells it itself
	Candidates []string       `json:"candidates,omitempty"` // who may have written it, and how each counts
	Numbering  string         `json:"numbering,omitempty"`
	LayerType  lm.Site        `json:"layer_type,omitempty"`
	Operator   string         `json:"operator,omitempty"`
	Rows       int            `json:"rows"`  // of each layer
	Width      int            `json:"width"` // of each row
	TrainedOn  string         `json:"trained_on,omitempty"`
	Family     string         `json:"family,omitempty"`
	Model      string         `json:"model,omitempty"` // that it is held against
	Weights    string         `json:"weights,omitempty"`
	LlamaCpp   string         `json:"llama_cpp,omitempty"` // what llama.cpp does with it
	Elsewhere  string         `json:"elsewhere,omitempty"` // the producer, or the program that it writes for
	Layers     []Layer        `json:"layers"`
	Traps      []string       `json:"traps"`
	Problems   []string       `json:"problems"`
}

// Layer is one of the file's directions. Blocks are counted from 0; each tells at
// whose output the direction is added.
type Layer struct {
	Number         int     `json:"number"`                    // in the file
	Layer          *int    `json:"layer"`                     // here; nil: not certain
	LlamaCpp       *int    `json:"llama_cpp"`                 // nil: it is not added there
	Elsewhere      *int    `json:"elsewhere"`                 // in the program of that name in the report; nil: not certain
	Norm           float64 `json:"norm"`                      // of all rows together; 0 where a number is not finite
	ActivationNorm float64 `json:"activation_norm,omitempty"` // the mean length of the model's own activations there; 0: not known
}

// The states of [Report.Weights].
const (
	SameWeights    = "the model has the weights that it was trained on"
	OtherWeights   = "it was trained on other weights than the model's"
	UnknownWeights = "the file does not tell the weights that it was trained on"
)

// Examine reads a file, told what it does not tell itself, and holds it against a
// model, which may be nil. An error means that the file could not be looked at:
// what is wrong with the vector in it is part of the report.
func Examine(ctx context.Context, path string, opts vecfile.Options, model *lm.Model) (*Report, error) {
	opts.Damaged = true
	r := &Report{File: path, Traps: []string{}, Problems: []string{}}
	v, origin, err := steer.LoadVectorFrom(path, opts)
	if ask := (*vecfile.AskError)(nil); errors.As(err, &ask) {
		if v, origin, err = r.guess(path, opts, ask); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	} else {
		r.Producer, r.Certain, r.Numbering, r.Elsewhere = origin.Producer.Name, origin.Certain, origin.Producer.Numbering, origin.Producer.By
	}
	r.Format, r.Rows = origin.Format, max(1, v.Rank)
	r.LayerType, r.Operator = cmp.Or(v.Site, lm.DecoderBlock), cmp.Or(v.Operator, steer.Add().Name())
	r.TrainedOn, r.Family = v.Provenance.Model, v.Provenance.Family
	r.Problems = append(r.Problems, faults(v)...)
	layers := slices.Sorted(maps.Keys(v.Layers))
	for _, layer := range layers {
		r.Width = max(r.Width, len(v.Layers[layer])/r.Rows)
		r.Layers = append(r.Layers, r.place(layer, origin, v))
	}
	if r.Producer == "" {
		return r, nil
	}
	r.llamaCpp(v, origin)
	r.traps(origin.Producer, layers, model)
	if model != nil {
		return r, r.against(ctx, v, model)
	}
	return r, nil
}

// guess reads a file whose producer is not certain as if the first who may have
// written it had, to tell what does not depend on it.
func (r *Report) guess(path string, opts vecfile.Options, ask *vecfile.AskError) (*steer.Vector, vecfile.Origin, error) {
	for _, p := range ask.Candidates {
		r.Candidates = append(r.Candidates, fmt.Sprintf("%s (%s)", p.Name, p.Numbering))
	}
	if len(ask.Candidates) == 0 {
		first := 0
		opts.Layer = &first
		r.Problems = append(r.Problems, "the file has one direction and does not tell its layer")
	} else {
		opts.From = ask.Candidates[0].Name
		r.Problems = append(r.Problems, "the file does not tell how it numbers layers")
	}
	return steer.LoadVectorFrom(path, opts)
}

// place says where a layer's direction acts.
func (r *Report) place(layer int, origin vecfile.Origin, v *steer.Vector) Layer {
	l := Layer{Number: origin.Numbers[layer]}
	if values := v.Layers[layer]; finite.All(values) {
		l.Norm = v.Norms()[layer]
		l.ActivationNorm = v.ActivationNorms[layer]
	}
	if r.Producer != "" {
		elsewhere := l.Number + origin.Producer.Added
		l.Layer, l.Elsewhere = &layer, &elsewhere
	}
	return l
}

// llamaCpp says what llama.cpp does with the file: it adds direction.N at the output
// of block N, and refuses a file with direction.0.
func (r *Report) llamaCpp(v *steer.Vector, origin vecfile.Origin) {
	if origin.Format == vecfile.GGUF {
		for _, l := range r.Layers {
			if l.Number < 1 {
				r.LlamaCpp = "it refuses the file, which has direction.0"
				return
			}
		}
		r.LlamaCpp = "it reads the file as it is"
		for i := range r.Layers {
			r.Layers[i].LlamaCpp = &r.Layers[i].Number
		}
		return
	}
	f, err := v.File()
	var lost []string
	if err == nil {
		lost, err = f.Losses(vecfile.GGUF)
	}
	switch {
	case err != nil:
		r.LlamaCpp = "it reads control vectors in GGUF, which cannot hold this one: " + err.Error()
	case len(lost) > 0:
		r.LlamaCpp = "it reads control vectors in GGUF, which cannot hold all of this one: " + lost[0]
	default:
		r.LlamaCpp = "it reads what steer convert --to gguf makes of the file"
		for i := range r.Layers {
			at := *r.Layers[i].Layer
			if at < 0 {
				at += v.Provenance.ModelLayers
			}
			r.Layers[i].LlamaCpp = &at
		}
	}
}

// traps adds the producer's trap where the file is in it. Without a model, nobody
// knows which block is the last.
func (r *Report) traps(p vecfile.Producer, layers []int, model *lm.Model) {
	switch p.TrapAt {
	case vecfile.LastBlock:
		last := layers[len(layers)-1]
		if model == nil {
			r.Traps = append(r.Traps, fmt.Sprintf("if block %d is the model's last: %s", last, p.Trap))
		} else if last == model.Layers()-1 {
			r.Traps = append(r.Traps, p.Trap)
		}
	case vecfile.FirstBlock:
		if layers[0] == 0 {
			r.Traps = append(r.Traps, p.Trap)
		}
	default:
		if p.Trap != "" {
			r.Traps = append(r.Traps, p.Trap)
		}
	}
}

// faults are what is wrong with a vector whatever the model.
func faults(v *steer.Vector) (problems []string) {
	layers := slices.Sorted(maps.Keys(v.Layers))
	width := len(v.Layers[layers[0]])
	for i, layer := range layers {
		values := v.Layers[layer]
		if err := finite.Check(values); err != nil {
			problems = append(problems, fmt.Sprintf("layer %d is not finite: %v", layer, err))
			continue
		}
		if len(values) != width {
			problems = append(problems, fmt.Sprintf("layer %d has %d elements where layer %d has %d", layer, len(values), layers[0], width))
		}
		if v.Norms()[layer] == 0 {
			problems = append(problems, fmt.Sprintf("layer %d is zero: it steers nothing", layer))
			continue
		}
		for _, before := range layers[:i] {
			if slices.Equal(values, v.Layers[before]) {
				problems = append(problems, fmt.Sprintf("layer %d is the same as layer %d", layer, before))
				break
			}
		}
	}
	return problems
}

// neutral is the text over which a model's own activations are measured.
const neutral = "The town lies at a river, between two hills. In the morning the baker opens his shop, and the bus brings people from the villages. " +
	"There is a school, a library and a small park with old trees. On Saturdays farmers sell vegetables, bread and flowers at the market."

// against holds a vector against a model.
func (r *Report) against(ctx context.Context, v *steer.Vector, model *lm.Model) error {
	r.Model = model.ID()
	switch v.Provenance.WeightsHash {
	case "":
		r.Weights = UnknownWeights
	case model.Fingerprint():
		r.Weights = SameWeights
	default:
		r.Weights = OtherWeights
	}
	if family := model.Decoder().Family; r.Family != "" && r.Family != family {
		r.Problems = append(r.Problems, fmt.Sprintf("it is for models of family %s; the model is of family %s", r.Family, family))
	}
	var fits []int
	for _, l := range r.Layers {
		edit, err := v.Edit(1, steer.AtLayers(*l.Layer))
		if err == nil {
			_, err = model.Steering(edit)
		}
		if err == nil {
			fits = append(fits, *l.Layer)
		} else if finite.All(v.Layers[*l.Layer]) && l.Norm > 0 { // else it is told already
			r.Problems = append(r.Problems, err.Error())
		}
	}
	if len(fits) == 0 {
		return nil
	}
	norms, err := activationNorms(ctx, model, r.LayerType, fits)
	if err != nil {
		return err
	}
	for i, l := range r.Layers {
		if norm, ok := norms[*l.Layer]; ok {
			r.Layers[i].ActivationNorm = norm
		}
	}
	return nil
}

// activationNorms returns the mean length of a model's activations over the tokens
// of a neutral text, by layer. The first token, on which attention rests and which
// is far longer than all others in many models, is left out.
func activationNorms(ctx context.Context, model *lm.Model, site lm.Site, layers []int) (map[int]float64, error) {
	tokens, err := model.Tokenize(neutral)
	if err != nil {
		return nil, fmt.Errorf("measure the model's activations: %w", err)
	}
	if most := model.Decoder().MaxPositions; most > 0 && len(tokens) > most {
		tokens = tokens[:most]
	}
	recording, err := steer.Record(ctx, model, tokens, steer.RecordOptions{Site: site, Layers: layers})
	if err != nil {
		return nil, fmt.Errorf("measure the model's activations: %w", err)
	}
	norms := map[int]float64{}
	for _, layer := range layers {
		at, err := model.Layer(layer)
		if err != nil {
			return nil, err
		}
		rows := recording.Layers[at][min(1, len(tokens)-1):]
		for _, row := range rows {
			norms[layer] += linear.Norm(row) / float64(len(rows))
		}
	}
	return norms, nil
}
