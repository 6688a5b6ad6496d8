package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm"
)

// layersHelp says how layers are written.
const layersHelp = "numbers from 0 or negative from the last, and ranges: 1,2,-1 or 1-3 or 8:20 (19 is the last) or 8:20:2"

// layerSelection is what a list of layers asks for, before the model is known
// that says how many there are.
type layerSelection struct {
	text  string
	items []layerRange
}

// layerRange is the layers from one to another, which for a single layer are the
// same.
type layerRange struct {
	text           string
	from, to, step int
	slice          bool // to is the first that is left out
	toEnd          bool // of a slice
}

func (s *layerSelection) String() string { return s.text }

// layersFlag is a flag for a selection of layers.
func layersFlag(flags *pflag.FlagSet, target **layerSelection, name, help string) {
	flags.Var(&parsed[*layerSelection]{target, "", "LAYERS", parseLayers}, name, help+": "+layersHelp)
}

var (
	oneLayer   = regexp.MustCompile(`^-?\d+$`)
	layersTo   = regexp.MustCompile(`^(-?\d+)-(-?\d+)$`)
	layerSlice = regexp.MustCompile(`^(-?\d+)?:(-?\d+)?(?::(-?\d+)?)?$`)
)

func parseLayers(text string) (*layerSelection, error) {
	s := &layerSelection{text: text}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		r := layerRange{text: part, step: 1}
		var ends []string
		switch {
		case oneLayer.MatchString(part):
			ends = []string{part, part}
		case layersTo.MatchString(part):
			ends = layersTo.FindStringSubmatch(part)[1:]
		case layerSlice.MatchString(part):
			ends = layerSlice.FindStringSubmatch(part)[1:]
			r.slice, r.toEnd = true, ends[1] == ""
		default:
			return nil, fmt.Errorf("%q is not a layer; layers are %s", part, layersHelp)
		}
		for i, to := range []*int{&r.from, &r.to, &r.step} {
			if i >= len(ends) || ends[i] == "" {
				continue
			}
			var err error
			if *to, err = strconv.Atoi(ends[i]); err != nil {
				return nil, fmt.Errorf("%q is not the number of a layer", ends[i])
			}
		}
		if r.step < 1 {
			return nil, fmt.Errorf("%q: the step %d is not positive", part, r.step)
		}
		s.items = append(s.items, r)
	}
	return s, nil
}

// of returns the layers of a model that are selected, ascending; nil for no
// selection.
func (s *layerSelection) of(model *lm.Model) ([]int, error) {
	if s == nil {
		return nil, nil
	}
	var layers []int
	for _, r := range s.items {
		from, err := model.Layer(r.from)
		if err != nil {
			return nil, err
		}
		last := model.Layers() - 1
		switch {
		case r.slice && !r.toEnd:
			// One past the last layer may be named, and nothing beyond.
			end := r.to
			if end < 0 {
				end += model.Layers()
			}
			if end < 0 || end > model.Layers() {
				_, err := model.Layer(r.to)
				return nil, err
			}
			last = end - 1
		case !r.slice:
			if last, err = model.Layer(r.to); err != nil {
				return nil, err
			}
		}
		if last < from {
			return nil, fmt.Errorf("%q selects none of the layers of model %s, which has %d", r.text, model.ID(), model.Layers())
		}
		for n := from; n <= last; n += r.step {
			layers = append(layers, n)
		}
	}
	slices.Sort(layers)
	return slices.Compact(layers), nil
}

// layerList writes ascending layers as 0-3,7.
func layerList(layers []int) string {
	text := ""
	for i := 0; i < len(layers); {
		j := i
		for j+1 < len(layers) && layers[j+1] == layers[j]+1 {
			j++
		}
		if text != "" {
			text += ","
		}
		text += strconv.Itoa(layers[i])
		if j > i {
			text += "-" + strconv.Itoa(layers[j])
		}
		i = j + 1
	}
	return text
}
