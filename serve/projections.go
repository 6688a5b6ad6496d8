package serve

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm"
)

// projection asks how far along a vector the activations of each token go.
type projection struct {
	vector    string
	at        lm.Address
	steered   bool      // of the pass that wrote the text; else of the same tokens unsteered
	direction []float32 // of length 1
}

// projected is what one projection gives: the component of each token's activation
// along the vector, in units of activations.
type projected struct {
	Vector    string    `json:"vector"`
	Layer     int       `json:"layer"`
	LayerType lm.Site   `json:"layer_type"`
	Of        string    `json:"of"` // steered or unsteered
	Prompt    []float32 `json:"prompt"`
	Response  []float32 `json:"response"`
}

// choiceProjections are those of one choice.
type choiceProjections []projected

// parseProjections reads what is to be read of the texts.
func (s *Server) parseProjections(list []json.RawMessage) (reads []projection, p *problem) {
	for i, data := range list {
		path := at("projections", i)
		object := struct {
			Vector string `json:"vector"`
			Layer  *int   `json:"layer"`
			Of     string `json:"of"`
		}{Of: "unsteered"}
		if p := decodeObject(data, &object, path); p != nil {
			return nil, p
		}
		if object.Of != "steered" && object.Of != "unsteered" {
			return nil, invalid(join(path, "of"), "it is steered or unsteered")
		}
		found, p := s.registry.find(object.Vector, join(path, "vector"))
		if p != nil {
			return nil, p
		}
		v := found.vector
		if object.Layer == nil {
			if len(v.Layers) > 1 {
				return nil, invalid(join(path, "layer"), "the vector has several layers, %v; name one", slices.Sorted(maps.Keys(v.Layers)))
			}
			for layer := range v.Layers {
				object.Layer = &layer
			}
		}
		if v.Rank > 1 {
			return nil, invalid(join(path, "vector"), "it has %d rows a layer: there is no one direction to project on", v.Rank)
		}
		one, err := v.Cut(*object.Layer)
		if err != nil {
			return nil, invalid(join(path, "layer"), "%v", err)
		}
		edit, err := one.Edit(1)
		if err == nil {
			_, err = one.Check(s.model, edit)
		}
		if err != nil {
			return nil, invalid(path, "%v", err)
		}
		r := projection{vector: found.name, steered: object.Of == "steered"}
		for n, direction := range one.Layers {
			layer, err := s.model.Layer(n)
			if err != nil {
				return nil, invalid(join(path, "layer"), "%v", err)
			}
			r.at, r.direction = lm.Address{Layer: layer, Site: edit.Site}, unit(direction, one.Norms()[n])
		}
		reads = append(reads, r)
	}
	return reads, nil
}

func unit(direction []float32, norm float64) []float32 {
	out := make([]float32, len(direction))
	for i, x := range direction {
		out[i] = float32(float64(x) / norm)
	}
	return out
}

// project reads the projections of all choices, in one pass for those of the steered
// texts and one for the unsteered: each distinct prefix is computed once, and nothing
// past the last layer that is asked for. nil where none are asked for.
func (j *job) project(ctx context.Context) ([]choiceProjections, *problem) {
	if len(j.reads) == 0 {
		return nil, nil
	}
	select { // not more at a time than the machine has use for
	case j.server.passes <- struct{}{}:
		defer func() { <-j.server.passes }()
	case <-ctx.Done():
		return nil, failed("%v", ctx.Err())
	}
	out := make([]choiceProjections, len(j.choices))
	inputs := make([]lm.Input, len(j.choices))
	for i, c := range j.choices {
		g, _ := c.state()
		inputs[i] = lm.Input{Tokens: slices.Concat(g.Prompt, g.IDs), Prompt: len(g.Prompt)}
		for _, r := range j.reads {
			p := projected{Vector: r.vector, Layer: r.at.Layer, LayerType: r.at.Site, Of: "unsteered", Prompt: make([]float32, len(g.Prompt)), Response: make([]float32, len(g.IDs))}
			if r.steered {
				p.Of = "steered"
			}
			out[i] = append(out[i], p)
		}
	}
	for _, steered := range []bool{false, true} {
		var taps []lm.Address
		for _, r := range j.reads {
			if r.steered == steered && !slices.Contains(taps, r.at) {
				taps = append(taps, r.at)
			}
		}
		if len(taps) == 0 {
			continue
		}
		for i := range inputs {
			if inputs[i].Steering = nil; steered {
				inputs[i].Steering = j.how[i].lm()
			}
		}
		_, err := j.server.model.Forward(ctx, inputs, lm.ForwardOptions{Taps: taps, RunTokens: j.server.opts.RunTokens, Activation: func(input, position int, at lm.Address, activation []float32) {
			for k, r := range j.reads {
				if r.steered == steered && r.at == at {
					out[input][k].set(position, linear.Dot(activation, r.direction))
				}
			}
		}})
		if err != nil {
			return nil, failed("read the projections: %v", err)
		}
	}
	return out, nil
}

// set keeps the value of a position.
func (p *projected) set(position int, value float64) {
	if n := len(p.Prompt); position >= n {
		p.Response[position-n] = float32(value)
	} else {
		p.Prompt[position] = float32(value)
	}
}
