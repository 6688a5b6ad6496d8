package steer

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm"
)

// Layers is a selection of layers as it is written, before the model is known
// that says how many there are. In JSON it is a text, or a list of numbers.
type Layers struct {
	text  string
	items []layerRange
}

// LayersSyntax says how layers are written.
const LayersSyntax = "numbers from 0 or negative from the last, and ranges: 1,2,-1 or 1-3 or 8:20 (19 is the last) or 8:20:2"

// layerRange is the layers from one to another, which for a single layer are the
// same.
type layerRange struct {
	text           string
	from, to, step int
	slice          bool // to is the first that is left out
	toEnd          bool // of a slice
}

// String returns the selection as it was written.
func (s *Layers) String() string { return s.text }

// MarshalText returns the selection as it was written.
func (s *Layers) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// UnmarshalJSON reads a text as ParseLayers does, or a list of numbers.
func (s *Layers) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		var numbers []int
		if err := json.Unmarshal(data, &numbers); err != nil {
			return errors.New("layers are a text or a list of whole numbers")
		}
		text = strings.Trim(strings.Join(strings.Fields(fmt.Sprint(numbers)), ","), "[]")
	}
	parsed, err := ParseLayers(text)
	if err == nil {
		*s = *parsed
	}
	return err
}

var (
	oneLayer   = regexp.MustCompile(`^-?\d+$`)
	layersTo   = regexp.MustCompile(`^(-?\d+)-(-?\d+)$`)
	layerSlice = regexp.MustCompile(`^(-?\d+)?:(-?\d+)?(?::(-?\d+)?)?$`)
)

// ParseLayers reads a selection: see [LayersSyntax].
func ParseLayers(text string) (*Layers, error) {
	s := &Layers{text: text}
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
			return nil, fmt.Errorf("%q is not a layer; layers are %s", part, LayersSyntax)
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

// Of returns the layers of a model that are selected, ascending; nil for no
// selection. It is an error where the model lacks one.
func (s *Layers) Of(model *lm.Model) ([]int, error) {
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
