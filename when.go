package steer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm"
)

// When says when an intervention acts, as data: the JSON form of [lm.Condition].
// It is evidence or a combination of other conditions.
type When struct {
	// Evidence is taken with the vector of this name or file, for who looks it up; or
	// with these values of its layer, little-endian float32s; without both with the
	// vector that acts, or that has the condition. A name alone stands for the
	// condition that the vector's file has.
	Vector string `json:"vector,omitempty"`
	Values []byte `json:"values,omitempty"`

	Layer   *int       `json:"layer,omitempty"`   // nil: the only one that the vector has
	Site    lm.Site    `json:"site,omitempty"`    // "": the vector's
	Measure lm.Measure `json:"measure,omitempty"` // cast, cosine or projection; "": cast
	Read    lm.When    `json:"read,omitempty"`    // prompt-mean, prompt-last or token; "": prompt-mean
	Above   *float64   `json:"above,omitempty"`   // it holds above this, or below that
	Below   *float64   `json:"below,omitempty"`
	Release *float64   `json:"release,omitempty"` // see [lm.Evidence]

	All []When `json:"all,omitempty"`
	Any []When `json:"any,omitempty"`
	Not *When  `json:"not,omitempty"`

	Always bool `json:"always,omitempty"` // whatever the vector's file says
}

// ParseWhen reads a condition as it is written on a command line:
//
//	FILE:LAYER>0.2   the CAST measure of the prompt's mean at a layer is above 0.2
//	FILE:LAYER<0.2   it is below
//	FILE>0.2         the same where the vector has one layer
//	FILE             as the file itself says, which steer train-condition writes
//	always           whatever the vector's file says
//	{"any": […]}     any condition, in JSON
func ParseWhen(text string) (*When, error) {
	w := &When{}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(w); err != nil {
			return nil, fmt.Errorf("it is not a condition in JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
		}
		if decoder.More() {
			return nil, errors.New("there is more after the condition")
		}
		return w, w.Check()
	}
	at := strings.LastIndexAny(text, "<>")
	switch {
	case text == "always":
		w.Always = true
	case at < 0:
		w.Vector = text
	default:
		threshold, err := strconv.ParseFloat(strings.TrimSpace(text[at+1:]), 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a threshold", text[at+1:])
		}
		if w.Vector, w.Above = text[:at], &threshold; text[at] == '<' {
			w.Above, w.Below = nil, &threshold
		}
		if colon := strings.LastIndexByte(w.Vector, ':'); colon >= 0 {
			if layer, err := strconv.Atoi(strings.TrimSpace(w.Vector[colon+1:])); err == nil {
				w.Vector, w.Layer = w.Vector[:colon], &layer
			}
		}
	}
	if w.Vector == "" && !w.Always {
		return nil, errors.New("it names no vector")
	}
	return w, w.Check()
}

// Check returns an error where the condition makes no sense with any vector.
func (w *When) Check() error { return w.check(0) }

func (w *When) check(depth int) error {
	const most = 32
	if depth > most {
		return fmt.Errorf("it is nested more than %d deep", most)
	}
	parts := slices.Concat(w.All, w.Any)
	combined := 0
	for _, is := range []bool{w.All != nil, w.Any != nil, w.Not != nil, w.Always} {
		if is {
			combined++
		}
	}
	if w.Not != nil {
		parts = append(parts, *w.Not)
	}
	isEvidence := w.Vector != "" || w.Values != nil || w.says()
	switch {
	case combined == 0 && !isEvidence:
		return errors.New("it says nothing")
	case combined > 1 || combined == 1 && isEvidence:
		return errors.New("it is more than one of evidence, all, any, not and always")
	case combined == 1 && !w.Always && len(parts) == 0:
		return errors.New("it is a combination of no conditions")
	case w.Always && depth > 0:
		return errors.New("always is no part of a condition")
	case w.Vector != "" && w.Values != nil:
		return errors.New("it has both a vector's name and its values")
	case w.Above != nil && w.Below != nil:
		return errors.New("it has both above and below; give one of them, or two conditions under all")
	case w.says() && w.Above == nil && w.Below == nil:
		return errors.New("it has no threshold: give above or below")
	case w.Values != nil && (len(w.Values)%4 != 0 || w.Layer == nil || !w.says()):
		return errors.New("values are float32s of a layer, with a threshold")
	}
	for i := range parts {
		if err := parts[i].check(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// says reports whether evidence says more than whose it is.
func (w *When) says() bool {
	return w.Layer != nil || w.Site != "" || w.Measure != "" || w.Read != "" || w.Above != nil || w.Below != nil || w.Release != nil
}

// Embed returns the condition with the values of every vector that it names, which
// find looks up. own is the vector that acts, or that has the condition. A name
// alone stands for the condition that its file has.
func (w *When) Embed(own *Vector, find func(name string) (*Vector, error)) (*When, error) {
	if err := w.Check(); err != nil {
		return nil, err
	}
	return w.embed(own, find)
}

func (w *When) embed(own *Vector, find func(name string) (*Vector, error)) (*When, error) {
	out := *w
	combined := w.All != nil || w.Any != nil || w.Not != nil
	for _, list := range []*[]When{&out.All, &out.Any} {
		*list = slices.Clone(*list)
		for i := range *list {
			part, err := (*list)[i].embed(own, find)
			if err != nil {
				return nil, err
			}
			(*list)[i] = *part
		}
	}
	if w.Not != nil {
		part, err := w.Not.embed(own, find)
		if err != nil {
			return nil, err
		}
		out.Not = part
	}
	if combined || w.Always || w.Values != nil {
		return &out, nil
	}
	vector, name := own, "the vector"
	if w.Vector != "" {
		var err error
		if name = "vector " + w.Vector; find == nil {
			return nil, fmt.Errorf("%s has not been looked up", name)
		}
		if vector, err = find(w.Vector); err != nil {
			return nil, err
		}
	}
	switch {
	case !w.says() && vector.Condition == nil:
		return nil, fmt.Errorf("%s has no condition of its own: give a layer and a threshold, as in %s:3>0.2", name, w.Vector)
	case !w.says():
		return vector.Condition.Embed(vector, nil)
	}
	out.Vector = ""
	layers := vector.ascending()
	if out.Layer == nil {
		if len(layers) != 1 {
			return nil, fmt.Errorf("%s has layers %v; say which one the condition reads", name, layers)
		}
		out.Layer = &layers[0]
	}
	at, err := vector.layer(*out.Layer)
	if err != nil {
		return nil, fmt.Errorf("the condition's layer: %w", err)
	}
	if out.Site == "" {
		out.Site = vector.site()
	}
	for _, x := range vector.Layers[at] {
		out.Values = binary.LittleEndian.AppendUint32(out.Values, math.Float32bits(x))
	}
	return &out, nil
}

// condition returns what an edit has of an embedded condition; nil: it always acts.
func (w *When) condition() *lm.Condition {
	list := func(parts []When) (out []lm.Condition) {
		for i := range parts {
			out = append(out, *parts[i].condition())
		}
		return out
	}
	switch {
	case w == nil || w.Always:
		return nil
	case w.All != nil:
		return &lm.Condition{All: list(w.All)}
	case w.Any != nil:
		return &lm.Condition{Any: list(w.Any)}
	case w.Not != nil:
		return &lm.Condition{Not: w.Not.condition()}
	}
	e := &lm.Evidence{Layer: *w.Layer, Site: w.Site, Measure: w.Measure, When: w.Read, Release: w.Release}
	if e.Below = w.Below != nil; e.Below {
		e.Threshold = *w.Below
	} else {
		e.Threshold = *w.Above
	}
	for at := 0; at < len(w.Values); at += 4 {
		e.Vector = append(e.Vector, math.Float32frombits(binary.LittleEndian.Uint32(w.Values[at:])))
	}
	return &lm.Condition{Evidence: e}
}
